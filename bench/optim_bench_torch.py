"""PyTorch's side of optim_bench: one step of fused AdamW over a float32 tensor.

usage: optim_bench_torch.py ELEMENTS THREADS

Started by optim_bench. Answers every line on standard input with one line of JSON.
"""

import json
import sys
import time

import torch


def main():
    elements, threads = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    p = torch.nn.Parameter(torch.full((elements // 1024, 1024), 0.5))
    p.grad = torch.full_like(p, 1e-3)
    optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1, fused=True)
    optimizer.step()  # makes the moments
    print(json.dumps({"version": torch.__version__}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.step()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
