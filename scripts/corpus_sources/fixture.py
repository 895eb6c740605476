"""Cuts the small test fixture out of a finished corpus."""

import json
import pathlib
import shutil

from .errors import CorpusError

FOLDER = "tests/fixtures/corpus"
LICENCES = ("MPL-2.0", "CC-BY-SA-3.0")  # may be committed, with attribution
BYTES = {"train": 13_500, "heldout": 3_500}  # of text in each language
TOLERANCE = 1_500  # the last document may be skipped if it does not fit; never less than this below

_README = """# Fixture of multilingual text

`train/` and `heldout/` hold {train} and {heldout} kB of text in {count} languages, for tests only.
Both were cut from the corpus of `scripts/corpus`; no group of parallel text is in both.

Regenerate with `scripts/corpus --fixture` (builds the corpus first if it is not there). The result
depends on the package versions of the distribution; this one was made from:

| package | version | licence | documents |
|---|---|---|---|
{rows}

Only packages under these licences are taken: {licences}. The text is by the authors and
translators of LibreOffice (<https://www.libreoffice.org>), Mozilla Firefox and Thunderbird
(<https://www.mozilla.org>; both MPL-2.0, <https://www.mozilla.org/MPL/2.0/>) and the GNOME
documentation project (<https://help.gnome.org>; CC-BY-SA-3.0,
<https://creativecommons.org/licenses/by-sa/3.0/>). Changes: markup removed, white space folded,
short paragraphs left out, paragraphs put together. The text keeps these licences; the licence of
this repository does not apply to it. `licences/` has the copyright file of each family.
"""


def write_fixture(corpus, manifest, root):
    """Writes the fixture below `root`; returns {split: bytes of the file}."""
    folder = pathlib.Path(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    used, sizes, text = {}, {}, {}
    for split, limit in BYTES.items():
        (folder / split).mkdir(exist_ok=True)
        for language in manifest["languages"]:
            chosen = choose(_documents(corpus / split / f"{language}.jsonl"), limit)
            _check(language, split, chosen, limit)
            lines = []
            for document in chosen:
                used[document["source"]] = used.get(document["source"], 0) + 1
                lines.append(json.dumps(document, ensure_ascii=False) + "\n")
                text[split] = text.get(split, 0) + len(document["text"].encode())
            data = "".join(lines).encode()
            (folder / split / f"{language}.jsonl").write_bytes(data)
            sizes[split] = sizes.get(split, 0) + len(data)
    _write_readme(folder, manifest, used, text)
    _copy_licences(corpus, folder, used)
    return sizes


def _documents(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            if document["licence"] in LICENCES:
                yield document


def choose(documents, limit):
    """Documents of `limit` bytes of text together: half from help pages, the rest in file order."""
    documents = list(documents)
    pages = [document for document in documents if not document["group"].startswith("string:")]
    chosen, size = [], 0
    for candidates, until in ((pages, limit // 2), (documents, limit)):
        for document in candidates:
            length = len(document["text"].encode())
            if document not in chosen and size + length <= until:
                chosen.append(document)
                size += length
            if size >= until - 200:
                break
    return chosen


def _check(language, split, chosen, limit):
    size = sum(len(document["text"].encode()) for document in chosen)
    if size < limit - TOLERANCE:
        raise CorpusError(f"only {size} bytes of {language} for {split}, {limit} are wanted")


def _write_readme(folder, manifest, used, text):
    rows = [
        f"| {p['package']} | {p['version']} | {p['licence']} | {used[p['package']]} |"
        for p in manifest["packages"]
        if p["package"] in used
    ]
    readme = _README.format(
        train=text["train"] // 1000,
        heldout=text["heldout"] // 1000,
        count=len(manifest["languages"]),
        rows="\n".join(rows),
        licences=", ".join(LICENCES),
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _copy_licences(corpus, folder, used):
    """One copyright file for each family: those of its languages are alike."""
    target = folder / "licences"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    families = {}
    for package in sorted(used):
        families.setdefault(package.split("-l10n-")[0].split("-help-")[0], package)
    for family, package in families.items():
        shutil.copyfile(corpus / "licences" / package, target / family)
