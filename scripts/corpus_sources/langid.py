"""A small fastText model for language identification, trained from the corpus itself.

Reproducible: the lines depend on the training documents only, and fastText runs with one thread
and a fixed seed.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from .errors import CorpusError

NAME = "langid.ftz"
_BYTES_PER_LANGUAGE = 400_000  # as many for each, so that no language is the likeliest answer
_LINE = 300  # characters; what is identified later is about as long
_SHORTEST = 20
_TRAIN = ("-dim 16 -minn 2 -maxn 4 -minCount 100 -bucket 100000 -epoch 4 -lr 0.5 -loss softmax "
          "-thread 1 -seed 1 -verbose 0").split()
_QUANTIZE = "-qnorm -cutoff 50000 -thread 1 -verbose 0".split()


def ensure_model(corpus, progress):
    """Writes corpus/langid.ftz if it is not there; without the fasttext program says so."""
    path = pathlib.Path(corpus) / NAME
    if path.exists():
        return
    program = shutil.which("fasttext")
    if program is None:
        progress(f"{NAME}: left out, there is no program fasttext (scripts/setup installs it)")
        return
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=corpus, prefix=".langid-") as folder:
        lines = pathlib.Path(folder) / "lines.txt"
        lines.write_text("".join(training_lines(corpus)), encoding="utf-8")
        model = pathlib.Path(folder) / "model"
        files = ["-input", str(lines), "-output", str(model)]
        _run([program, "supervised", *files, *_TRAIN])
        _run([program, "quantize", *files, *_QUANTIZE])
        os.replace(model.with_suffix(".ftz"), path)
    size = path.stat().st_size
    progress(f"{NAME}: {size / 1e6:.2f} MB, {time.monotonic() - start:.0f} s")


def training_lines(corpus):
    """Labelled lines of every language's training documents, in an order that mixes them."""
    keyed = []
    for path in sorted((pathlib.Path(corpus) / "train").glob("*.jsonl")):
        keyed += _lines_of(path)
    return [line for _, line in sorted(keyed)]


def _lines_of(path):
    """(key, line) of documents in the order of their keys until there are enough bytes."""
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    documents = sorted((_key(record["id"]), record["text"]) for record in records)
    keyed, size = [], 0
    for key, text in documents:
        text = " ".join(text.split())
        for begin in range(0, len(text), _LINE):
            piece = text[begin:begin + _LINE]
            if len(piece) < _SHORTEST:
                continue
            size += len(piece.encode())
            keyed.append((_key(f"{key}/{begin}"), f"__label__{path.stem} {piece}\n"))
        if size >= _BYTES_PER_LANGUAGE:
            break
    return keyed


def _key(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _run(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CorpusError(f"`{' '.join(command)}` failed: {result.stderr.strip()}")
