"""From the units of one language to documents: deduplicated, packed, capped, split."""

import hashlib
import json

from .split import HELD_OUT_ONE_IN, is_held_out, stable_hash

TARGET_BYTES = 1500  # a document is closed at this size ...
MAX_BYTES = 4000  # ... and grows no further than this, unless one paragraph does
MIN_BYTES = 300  # a shorter rest joins the document before it
DROP_BYTES = 120  # a whole unit shorter than this is dropped


def pack(paragraphs):
    """Lists of consecutive paragraphs, each list one document."""
    documents, current, size = [], [], 0
    for paragraph in paragraphs:
        length = len(paragraph.encode()) + 1
        if current and (size >= TARGET_BYTES or size + length > MAX_BYTES):
            documents.append(current)
            current, size = [], 0
        current.append(paragraph)
        size += length
    if size < MIN_BYTES and documents and _bytes(documents[-1]) + size <= MAX_BYTES:
        documents[-1].extend(current)
    elif size >= DROP_BYTES:
        documents.append(current)
    return documents


def _bytes(paragraphs):
    return sum(len(paragraph.encode()) + 1 for paragraph in paragraphs)


def _fresh(paragraphs, seen, english):
    """Paragraphs not seen before and not left in English; they count as seen from now on."""
    kept = []
    for paragraph in paragraphs:
        if paragraph not in seen and paragraph not in english:
            seen.add(paragraph)
            kept.append(paragraph)
    return kept


def make_documents(language, packages, english, cap=None):
    """{"train": [...], "heldout": [...]} of one language.

    `packages`: [(package name, licence, units, is filler)] in order of precedence. `english`:
    paragraphs that are untranslated when they turn up (empty for English itself). `cap`: bytes of
    text in both splits together; documents are chosen by a hash that translations share, so the
    same pages survive in every language. Units marked as filler only get what the others leave.
    """
    seen, documents = set(), {"heldout": [], "train": []}
    # Held-out first: a text that occurs in both splits is taken out of the training part.
    for split in documents:
        for source, licence, units, filler in packages:
            for unit in units:
                if is_held_out(unit["group"]) != (split == "heldout"):
                    continue
                parts = pack(_fresh(unit["paragraphs"], seen, english))
                for number, part in enumerate(parts):
                    document = _document(language, unit, number, part, source)
                    document.update(licence=licence, filler=filler)
                    documents[split].append(document)
    shares = {"heldout": 1 / HELD_OUT_ONE_IN, "train": 1 - 1 / HELD_OUT_ONE_IN}
    return {
        split: _capped(documents[split], None if cap is None else cap * shares[split])
        for split in sorted(documents)
    }


def _document(language, unit, number, paragraphs, source):
    identity = f"{language}\n{source}\n{unit['group']}\n{unit['name']}\n{number}"
    shared_name = unit["name"].rsplit("@", 1)[0]
    return {
        "rank": stable_hash(f"rank:{unit['group']}\n{shared_name}\n{number}"),
        "id": f"{language}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
        "text": "\n".join(paragraphs),
        "language": language,
        "source": source,
        "group": unit["group"],
    }


def _capped(documents, cap):
    """In the order of the shared hash, so that every beginning of the file is a fair sample."""
    kept, size = [], 0
    for document in sorted(documents, key=lambda item: (item["filler"], *_order(item))):
        size += len(document["text"].encode())
        if cap is not None and size > cap:
            break
        kept.append(document)
    return sorted(kept, key=_order)


def _order(document):
    return document["rank"], document["id"]


def write_documents(path, documents):
    """Writes JSON lines; returns {"documents", "bytes" (text only), "sha256"}."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as out:
        for document in documents:
            fields = ("text", "language", "source", "licence", "group", "id")
            line = json.dumps({name: document[name] for name in fields}, ensure_ascii=False)
            data = line.encode() + b"\n"
            digest.update(data)
            out.write(data)
            size += len(document["text"].encode())
    return {"documents": len(documents), "bytes": size, "sha256": digest.hexdigest()}
