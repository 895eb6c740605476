"""datasketch's side of clean_bench: MinHash of word 5-grams with 112 permutations.

usage: clean_bench_datasketch.py CORPUS

Prints MB/s (processor time) over documents of all languages, about two seconds of them. Shingles as
in Choir: runs of five words, or of ten characters where scripts have no spaces (here: zh, ja, th).
"""

import itertools
import json
import pathlib
import re
import sys
import time

from datasketch import MinHash

WORDS = re.compile(r"\w+")


def shingles(text, language):
    spaceless = language in ("zh", "ja", "th")
    pieces = [c for c in text if c.isalnum()] if spaceless else WORDS.findall(text)
    n = 10 if spaceless else 5
    ends = range(max(1, len(pieces) - n + 1))
    return [" ".join(pieces[i:i + n]).encode() for i in ends]


def documents(corpus):
    """In turn from every language."""
    files = [open(path, encoding="utf-8")
             for path in sorted((pathlib.Path(corpus) / "train").glob("*.jsonl"))]
    for lines in itertools.zip_longest(*files):
        for line in lines:
            if line is not None:
                record = json.loads(line)
                yield record["text"], record["language"]


def main():
    size = seconds = 0
    for text, language in documents(sys.argv[1]):
        start = time.thread_time()
        MinHash(num_perm=112).update_batch(shingles(text, language))
        seconds += time.thread_time() - start
        size += len(text.encode())
        if seconds > 2:
            break
    print(size / 1e6 / seconds)


if __name__ == "__main__":
    main()
