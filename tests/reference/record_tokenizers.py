#!/usr/bin/env python3
"""Writes tests/fixtures/tokenizers: small tokenizers of every family, trained by Hugging Face
tokenizers on the fixture corpus, and what that library and tiktoken encode with them.

    python3 -m pip install tokenizers==0.23.3 tiktoken==0.14.0 xxhash
    tests/reference/record_tokenizers.py

texts.jsonl holds adversarial strings; the held-out texts of tests/fixtures/corpus come after them.
NAME.ids has for each text, in this order, the number of ids and the XXH3-64 of the ids as 32-bit
little-endian integers. For a tokenizer.json the special tokens are found in the text on the second
line of a pair, on the first they are not.
"""

import base64
import glob
import json
import os
import random
import struct

import tiktoken
import tokenizers
import xxhash
from compare_tokenizers import TILES
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

ROOT = os.path.join(os.path.dirname(__file__), "..")
OUT = os.path.join(ROOT, "fixtures/tokenizers")
VOCABULARY = 900
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = (
    rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{REST}"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = (
    rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{REST}"
)
PREFIX = r"[^\r\n\p{L}\p{N}]?"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
O200K = (
    rf"{PREFIX}{UPPER}*{LOWER}+{CONTRACTIONS}?|{PREFIX}{UPPER}+{LOWER}*{CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{SIGNS}|{REST}"
)
TEKKEN = rf"{PREFIX}{UPPER}*{LOWER}+|{PREFIX}{UPPER}+{LOWER}*|\p{{N}}|{SIGNS}|{REST}"
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"""
    "\r\n"
    r"""\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["""
    "\r\n"
    r"""]*|\s*["""
    "\r\n"
    r"""]+|\s+(?!\S)|\s+"""
)


def split(regex, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


def byte_level(use_regex=False, add_prefix_space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def sequence(*steps):
    return pre_tokenizers.Sequence([*steps, byte_level()])


FAMILIES = {
    "gpt2": byte_level(use_regex=True),
    "llama3": sequence(split(LLAMA3)),
    "o200k": sequence(split(O200K, "removed", True)),
    "tekken": sequence(split(TEKKEN)),
    "qwen2": sequence(split(QWEN2)),
    "qwen35": sequence(split(QWEN35)),
    "deepseek": sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK)),
    # No family: the regex library does the work.
    "starcoder": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(True)]),
    "merged": sequence(split(r"\p{P}", "merged_with_previous"), split(" ", "merged_with_next")),
    "prefix": byte_level(use_regex=True, add_prefix_space=True),
}


def added(content, **flags):
    return tokenizers.AddedToken(content, normalized=False, **flags)


def train(name, pre_tokenizer, texts):
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    if name.startswith("qwen"):
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"],
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([added("<think>"), added("  \t\n")])
    tokenizer.add_tokens([tokenizers.AddedToken("e\u0301t\u00e9")])
    if name == "deepseek":
        tokenizer.add_tokens([added("def", single_word=True)])
        tokenizer.add_tokens([added("strip", lstrip=True, rstrip=True)])
    tokenizer.add_special_tokens([added("<|endoftext|>"), added("<|im_end|>", lstrip=True)])
    return tokenizer


def line(ids):
    return f"{len(ids)} {xxhash.xxh3_64_hexdigest(struct.pack(f'<{len(ids)}i', *ids))}\n"


def record_json(name, tokenizer, texts):
    path = f"{OUT}/{name}/tokenizer.json"
    os.makedirs(f"{OUT}/{name}", exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        json.dump(json.loads(tokenizer.to_str()), out, ensure_ascii=False, separators=(",", ":"))
    plain = tokenizers.Tokenizer.from_file(path)
    plain.encode_special_tokens = True
    with open(f"{OUT}/{name}.ids", "w", encoding="ascii") as out:
        for text in texts:
            out.write(line(plain.encode(text, add_special_tokens=False).ids))
            out.write(line(tokenizer.encode(text, add_special_tokens=False).ids))


def record_ranks(name, tokenizer, texts):
    """The text tokens of a trained tokenizer as ranks, encoded by tiktoken."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    assert sorted(byte_of) == characters
    model = json.loads(tokenizer.to_str())["model"]["vocab"]
    tokens = [t for t, i in sorted(model.items(), key=lambda item: item[1]) if i >= 3]
    ranks = {bytes(byte_of[c] for c in token): rank for rank, token in enumerate(tokens)}
    with open(f"{OUT}/{name}_base.tiktoken", "w", encoding="ascii") as out:
        for token, rank in ranks.items():
            out.write(f"{base64.b64encode(token).decode()} {rank}\n")
    public = __import__("tiktoken_ext.openai_public", fromlist=["load_tiktoken_bpe"])
    public.load_tiktoken_bpe = lambda *_, **__: ranks
    pattern = public.ENCODING_CONSTRUCTORS[f"{name}_base"]()["pat_str"]
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    with open(f"{OUT}/{name}_base.ids", "w", encoding="ascii") as out:
        for text in texts:
            out.write(line(encoding.encode_ordinary(text)))


def corpus(split_name):
    texts = []
    for name in sorted(glob.glob(f"{ROOT}/fixtures/corpus/{split_name}/*.jsonl")):
        with open(name, encoding="utf-8") as lines:
            texts += [json.loads(text)["text"] for text in lines]
    return texts


def adversarial():
    tiles = TILES + ["def", "strip", "  \t\n", "<|im_end|>", "e\u0301t\u00e9", "\u00e9t\u00e9", "_"]
    tiles.append("<|end_of_text|>")
    generator = random.Random(7)
    yield from ("", " ", "\n", "a" * 3000, " " * 700, "\n" * 300, "ab" * 500, "\u0301" * 300)
    for _ in range(700):
        yield "".join(generator.choices(tiles, k=generator.randrange(1, 25)))


def main():
    os.makedirs(OUT, exist_ok=True)
    hostile = list(adversarial())
    with open(f"{OUT}/texts.jsonl", "w", encoding="ascii") as out:
        out.writelines(json.dumps(text) + "\n" for text in hostile)
    texts = hostile + corpus("heldout")
    trained = {}
    for name, pre_tokenizer in FAMILIES.items():
        trained[name] = train(name, pre_tokenizer, corpus("train"))
        record_json(name, trained[name], texts)
    record_ranks("cl100k", trained["llama3"], texts)
    record_ranks("o200k", trained["o200k"], texts)


if __name__ == "__main__":
    main()
