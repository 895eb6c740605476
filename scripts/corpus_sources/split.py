"""Groups of parallel text and the held-out split.

A group is everything that says the same thing in the languages: a page of a book, a package
description, a translated string. Its key never depends on the language, and the key alone
decides the split, so no translation of a held-out text is in the training part.
"""

import hashlib

HELD_OUT_ONE_IN = 40
_STRING_BUCKETS = 8
_STRING_PREFIX = "string:"


def stable_hash(text):
    """The same 64-bit number in every run and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def string_group(key):
    """The group of a translated string: a bucket of its key (English text or message name).

    Documents hold several strings; all strings of a bucket are in the same split, whatever
    package they come from. Bucket 0 is the held-out one. Keyboard mnemonics and case do not count.
    """
    number = stable_hash("string:" + key.casefold()) % HELD_OUT_ONE_IN
    bucket = 0 if number == 0 else 1 + number % _STRING_BUCKETS
    return f"{_STRING_PREFIX}{bucket}"


def page_group(source, path):
    """The group of a page of a book or help system."""
    return f"{source}/{path}"


def is_held_out(group):
    """True where the group belongs to the held-out split."""
    if group.startswith(_STRING_PREFIX):
        return group == f"{_STRING_PREFIX}0"
    return stable_hash("page:" + group) % HELD_OUT_ONE_IN == 0
