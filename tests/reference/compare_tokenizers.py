#!/usr/bin/env python3
"""Compares Choir's encoding, token by token, with tiktoken and Hugging Face tokenizers.

    python3 -m pip install tokenizers==0.23.3 tiktoken==0.14.0
    tests/reference/compare_tokenizers.py build/cpu/train/choir MODEL... --text FILE.jsonl...

MODEL is a rank file named after its family (cl100k_base.tiktoken, o200k_base.tiktoken), compared
with tiktoken, or a tokenizer.json, compared with tokenizers. Texts are encoded as plain text
(special tokens are text), adversarial strings also with special tokens. Prints a table and exits 1
if any text differs.
"""

import argparse
import base64
import importlib
import json
import random
import subprocess
import sys
import tempfile

import tiktoken
import tokenizers

TILES = [
    " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b",
    "\u200d", "\ufeff", "\u180e", "'s", "'S", "'ll", "'LL", "'\u017f", "'", "\u2019s", "a", "B",
    "Ab", "\u01c5", "\u02b0", "\u00e9", "e\u0301", "\u0301", "\u0e01\u0e33\u0e49",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u4e2d\u6587", "\u30ab\u30ca", "\u30fc", "\u3099",
    "\ud55c\uad6d", "\u1112\u1161\u11ab", "1", "12", "1234567", "\u0663", "\u00bd", "\u2167",
    ".", "...", "!?", "/", "//", "-", "_", "$", "+", "=", "\u20ac", "\u3002", "\uff0c",
    "\u201c", "\u201d", "#", "\x00", "\x7f", "\x1b[0m",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "<|endoftext|>", "<think>", "\U0010ffff", "\ufffd",
    "\uffff", "\U000e0001", "\U0001d400", "\u0130", "\ufb01",
]  # fmt: skip


def adversarial():
    yield from ("", " ", "\n", "a" * 1_000_000, " " * 100_000, "\n" * 50_000, "ab" * 50_000)
    yield from ("\u4e2d" * 50_000, "1" * 50_000, "'s" * 20_000, "\u0301" * 20_000, "." * 100_000)
    yield "the \U0001f468\u200d\U0001f469\u200d\U0001f467 " * 5_000
    generator = random.Random(1)
    for _ in range(20_000):
        yield "".join(generator.choices(TILES, k=generator.randrange(1, 30)))
    # Every assigned-looking character, between letters and alone.
    for first in range(0, 0x30000, 64):
        characters = [chr(c) for c in range(first, first + 64) if not 0xD800 <= c < 0xE000]
        yield " ".join(characters)
        yield "a".join(characters)
        yield "".join(characters)


def read_texts(files):
    texts = []
    for name in files:
        with open(name, encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    return texts


def choir_ids(choir, model, texts, special):
    """The ids of each text, read one after the other."""
    command = [choir, "tokenizer", "encode", model, "--jsonl"] + ["--special"] * special
    with tempfile.TemporaryFile("w+") as lines:
        for text in texts:
            lines.write(json.dumps(text) + "\n")
        lines.seek(0)
        process = subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            yield [int(word) for word in line.split()]
        if process.wait() != 0:
            sys.exit(f"{' '.join(command)} failed")


def rank_reference(model):
    name = model.rsplit("/", 1)[-1].removesuffix(".tiktoken")
    constructors = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    with open(model, "rb") as lines:
        ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines)}
    public = importlib.import_module("tiktoken_ext.openai_public")
    public.load_tiktoken_bpe = lambda *_, **__: ranks
    encoding = tiktoken.Encoding(**constructors[name]())
    return {
        "plain": lambda text: encoding.encode_ordinary(text),
        "special": lambda text: encoding.encode(text, allowed_special="all"),
    }


def json_reference(model):
    plain = tokenizers.Tokenizer.from_file(model)
    plain.encode_special_tokens = True
    special = tokenizers.Tokenizer.from_file(model)
    return {
        "plain": lambda text: plain.encode(text, add_special_tokens=False).ids,
        "special": lambda text: special.encode(text, add_special_tokens=False).ids,
    }


def compare(choir, model, texts, kind):
    """Prints one row; the number of texts that differ."""
    is_ranks = model.endswith(".tiktoken")
    reference = (rank_reference if is_ranks else json_reference)(model)[kind]
    tokens = differing = 0
    for text, ids in zip(texts, choir_ids(choir, model, texts, kind == "special")):
        try:
            expected = reference(text)
        except BaseException as error:  # tiktoken panics on very long runs of white space
            print(f"  the reference fails on {text[:20]!r} of {len(text)}: {str(error)[:60]}")
            continue
        tokens += len(ids)
        if ids != expected:
            differing += 1
            if differing <= 3:
                at = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), -1)
                print(f"  {text[:60]!r} from token {at}: {ids[at:][:8]}, not {expected[at:][:8]}")
    size = sum(len(text.encode()) for text in texts)
    name = "/".join(model.split("/")[-2:])
    row = [name, kind, len(texts), f"{size / 1e6:.1f}", tokens, differing]
    print("|", *(f"{cell} |" for cell in row), flush=True)
    return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("choir")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", nargs="*", default=[])
    arguments = parser.parse_args()
    texts = read_texts(arguments.text)
    hostile = list(adversarial())
    print("| tokenizer | mode | texts | MB | tokens | differing |\n|---|---|---|---|---|---|")
    differing = 0
    for model in arguments.models:
        differing += compare(arguments.choir, model, texts, "plain") if texts else 0
        for kind in ("plain", "special"):
            differing += compare(arguments.choir, model, hostile, kind)
    sys.exit(differing != 0)


if __name__ == "__main__":
    main()
