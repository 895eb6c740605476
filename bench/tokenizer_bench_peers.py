#!/usr/bin/env python3
"""Choir's encoder beside other libraries on the same texts, in one call.

    python3 -m pip install tokenizers==0.23.3 tiktoken==0.14.0 quicktok-v1==0.4.0
    bench/tokenizer_bench_peers.py build/cpu/bench/tokenizer_bench MODEL... --text FILE.jsonl...

Each runs in one thread; the figure is MB for a second of processor time, the best of three runs
over all texts (of five for Choir). A rank file is compared with tiktoken and quicktok, a
tokenizer.json with Hugging Face tokenizers.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def speed(encode, texts):
    best, tokens = 1e30, 0
    for _ in range(3):
        start = time.process_time()
        tokens = sum(encode(text) for text in texts)
        best = min(best, time.process_time() - start)
    return sum(len(text.encode()) for text in texts) / best / 1e6, tokens


def rank_peers(model):
    import tiktoken
    import tiktoken_ext.openai_public as public

    name = os.path.basename(model).removesuffix(".tiktoken")
    with open(model, "rb") as lines:
        ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines)}
    public.load_tiktoken_bpe = lambda *_, **__: ranks
    encoding = tiktoken.Encoding(**public.ENCODING_CONSTRUCTORS[name]())
    yield "tiktoken", lambda text: len(encoding.encode_ordinary(text))
    try:
        import quicktok
    except ImportError:
        return
    quick = quicktok.get_encoding(name)
    yield "quicktok", lambda text: len(quick.encode(text))


def json_peers(model):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(model)
    tokenizer.encode_special_tokens = True
    yield "tokenizers", lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", nargs="+", required=True)
    arguments = parser.parse_args()
    texts = []
    for name in arguments.text:
        with open(name, encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    print("| model | library | MB/s | Choir / library | tokens |\n|---|---|---|---|---|")
    for model in arguments.models:
        command = [arguments.bench, *arguments.text, "--", model]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        match = re.search(r": ([\d.]+) MB/s, .*?, (\d+) tokens", line)
        if match is None:
            sys.exit(f"no figure in: {line}")
        choir, tokens = float(match[1]), int(match[2])
        short = "/".join(model.split("/")[-2:])
        print(f"| {short} | choir | {choir:.1f} | 1 | {tokens} |", flush=True)
        peers = rank_peers if model.endswith(".tiktoken") else json_peers
        for library, encode in peers(model):
            rate, count = speed(encode, texts)
            cells = [short, library, f"{rate:.1f}", f"{choir / rate:.1f}", count]
            print("|", *(f"{cell} |" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
