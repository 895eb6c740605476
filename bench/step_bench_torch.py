"""PyTorch's side of step_bench: the same model, weights and tokens, in plain eager PyTorch.

usage: step_bench_torch.py START_FILE THREADS

Started by step_bench, which writes START_FILE (one line of JSON, then raw values). Reads commands
from standard input, one a line, and answers each with one line of JSON: `step` trains one step,
`end` reports memory. Written as its users write it: fused QKV, scaled_dot_product_attention, fused
AdamW, and the loop over experts that Hugging Face's Mixtral and DeepSeek models have.
"""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["heads"]
        self.qkv = linear(c["hidden"], 3 * c["hidden"])
        self.output = linear(c["hidden"], c["hidden"])

    def forward(self, x, cos, sin):
        rows, length, hidden = x.shape
        q, k, v = (
            part.view(rows, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).reshape(rows, length, hidden))


class FeedForward(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_up = linear(hidden, 2 * width)
        self.down = linear(width, hidden)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.router = linear(c["hidden"], c["experts"])
        hidden, width = c["hidden"], c["width"]
        self.experts = nn.ModuleList(FeedForward(hidden, width) for _ in range(c["experts"]))
        self.shared = FeedForward(hidden, width)
        self.register_buffer("bias", torch.zeros(c["experts"]))

    def forward(self, x):
        c = self.c
        rows, length, hidden = x.shape
        x = x.reshape(-1, hidden)
        scores = torch.sigmoid(self.router(x))
        chosen = torch.topk(scores.detach() + self.bias, c["top_k"], dim=-1).indices
        weights = scores.gather(1, chosen)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        hits = F.one_hot(chosen, c["experts"]).permute(2, 1, 0)  # [E, K, T]
        self.load = hits.sum(dim=(1, 2))
        y = torch.zeros_like(x)
        for hit, expert in zip(hits, self.experts):
            slot, token = torch.where(hit)
            out = expert(x.index_select(0, token)) * weights[token, slot, None]
            y.index_add_(0, token, out)
        y = y + self.shared(x)
        return y.view(rows, length, hidden), self.sequence_loss(scores.view(rows, length, -1))

    def sequence_loss(self, scores):
        """DeepSeek-V3 (arXiv 2412.19437), equations 17 to 20; mean over the sequences."""
        c, length = self.c, scores.shape[1]
        best = torch.topk(scores.detach(), c["top_k"], dim=-1).indices
        chosen = F.one_hot(best, c["experts"]).sum(dim=(1, 2))
        share = chosen * (c["experts"] / (c["top_k"] * length))
        mean = (scores / scores.sum(dim=-1, keepdim=True)).mean(dim=1)
        return c["sequence_loss"] * (share * mean).sum(dim=-1).mean()

    @torch.no_grad()
    def update_bias(self):
        load = self.load.to(torch.float32)
        self.bias -= self.c["bias_speed"] * torch.sign(load - load.mean())


class Block(nn.Module):
    def __init__(self, c, layer):
        super().__init__()
        self.attention_norm = RmsNorm(c["hidden"], c["norm_eps"])
        self.attention = Attention(c)
        self.ffn_norm = RmsNorm(c["hidden"], c["norm_eps"])
        if c["experts"] and layer >= c["dense_layers"]:
            self.moe = Experts(c)
        else:
            self.moe = None
            self.ffn = FeedForward(c["hidden"], c["ffn"])

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attention_norm(x), cos, sin)
        if self.moe is None:
            return x + self.ffn(self.ffn_norm(x)), None
        y, loss = self.moe(self.ffn_norm(x))
        return x + y, loss


class Transformer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c["vocab"], c["hidden"])
        self.layers = nn.ModuleList(Block(c, i) for i in range(c["layers"]))
        self.final_norm = RmsNorm(c["hidden"], c["norm_eps"])
        self.head = linear(c["hidden"], c["vocab"])
        width = c["hidden"] // c["heads"]
        frequency = c["rotary_base"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = torch.arange(c["length"], dtype=torch.float64)[:, None] * frequency
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos().float())
        self.register_buffer("sin", angle.sin().float())

    def forward(self, tokens, labels):
        """Cross-entropy, and the sum of the balance losses (None in a dense model)."""
        x = self.embedding(tokens)
        balance = None
        for layer in self.layers:
            x, loss = layer(x, self.cos, self.sin)
            if loss is not None:
                balance = loss if balance is None else balance + loss
        logits = self.head(self.final_norm(x))
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()), balance


class StartFile:
    """Header, tokens, then parameters in the header's order."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.header = json.loads(self.file.readline())

    def read(self, shape, dtype):
        values = np.empty(shape, dtype)
        if self.file.readinto(memoryview(values).cast("B")) != values.nbytes:
            sys.exit("step_bench_torch: the start file ends early")
        return torch.from_numpy(values)

    @torch.no_grad()
    def load(self, model):
        """Choir's fused weights in PyTorch's usual order: q of all heads, then k, then v; all of
        gate, then all of up."""
        parameters = dict(model.named_parameters())
        for name, shape in self.header["tensors"]:
            value = self.read(shape, np.float32)
            prefix, _, kind = name.rpartition(".")
            if prefix.endswith(".experts"):
                for e, one in enumerate(value):
                    one = one.transpose(0, 1).flatten(0, 1) if kind == "gate_up" else one
                    parameters.pop(f"{prefix}.{e}.{kind}.weight").copy_(one)
                continue
            if kind in ("qkv", "gate_up"):
                value = value.transpose(0, 1).reshape(-1, value.shape[-1])
            parameters.pop(name + ".weight").copy_(value)
        if parameters:
            sys.exit(f"step_bench_torch: the start file has no {sorted(parameters)}")


def memory(key):
    """Bytes of a line of /proc/self/status: VmRSS (now), VmHWM (highest)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def make_optimizer(model, o):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": o["weight_decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], fused=True
    )


def step(model, optimizer, batch, clip_norm):
    start = time.perf_counter()
    optimizer.zero_grad()
    loss, balance = model(*batch)
    forward = time.perf_counter()
    (loss if balance is None else loss + balance).backward()
    backward = time.perf_counter()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    for layer in model.layers:
        if layer.moe is not None:
            layer.moe.update_bias()
    result = {"loss": loss.item(), "grad_norm": norm.item()}
    end = time.perf_counter()
    return result | {
        "seconds": end - start,
        "forward": forward - start,
        "backward": backward - forward,
        "update": end - backward,
    }


def main():
    torch.set_num_threads(int(sys.argv[2]))
    start = StartFile(sys.argv[1])
    config = start.header
    before = memory("VmRSS")
    model = Transformer(config)
    tokens = start.read((config["rows"], config["length"] + 1), np.int32).long()
    start.load(model)
    batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    optimizer = make_optimizer(model, config["optim"])
    reply = {"version": "PyTorch " + torch.__version__.partition("+")[0]}
    print(json.dumps(reply), flush=True)
    for command in sys.stdin:
        if command.strip() == "step":
            reply = step(model, optimizer, batch, config["optim"]["clip_norm"])
        else:
            reply = {"peak": memory("VmHWM") - before}
        print(json.dumps(reply), flush=True)


main()
