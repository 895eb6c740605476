"""The build: plan, extraction and documents in parallel, publication in one rename."""

import concurrent.futures
import dataclasses
import fcntl
import json
import multiprocessing
import os
import pathlib
import shutil
import time

from . import extract as extraction
from .documents import make_documents, write_documents
from .errors import CorpusError
from .plan import make_plan
from .sources import DESCRIPTIONS, SOURCES

VERSION = 1
SPLITS = ("train", "heldout")
SMALL_CAP = 8_000_000  # bytes of text per language in the small build
MIN_HELD_OUT = 20_000


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user asked for. `min_bytes`: text that every language must reach."""

    out: pathlib.Path
    cache: pathlib.Path
    languages: list
    full: bool = False
    jobs: int = 1
    force: bool = False
    min_bytes: int = 1_500_000


def build(options, progress):
    """Makes the corpus, or finds it complete; returns its manifest."""
    options.cache.mkdir(parents=True, exist_ok=True)
    with open(options.cache / "lock", "w", encoding="utf-8") as lock:
        _wait_for(lock, progress)
        manifest = None if options.force else complete_manifest(options)
        if manifest:
            progress(f"{options.out} is complete and is reused (--force builds it again)")
            return manifest
        # English is always read: what is identical to it in another language is untranslated.
        wanted = ["en"] + [language for language in options.languages if language != "en"]
        plan = make_plan(options.cache, wanted, options.full, progress)
        return build_from(options, plan, progress)


def _wait_for(lock, progress):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress("waiting for another run that uses the same cache")
        fcntl.flock(lock, fcntl.LOCK_EX)


def build_from(options, plan, progress):
    """The build from packages that are on this disk."""
    code = extraction.code_digest()
    _extract_all(options, plan, code, progress)
    partial = options.out.with_name(options.out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split in SPLITS:
        (partial / split).mkdir(parents=True)
    files = _write_all(options, plan, code, partial, progress)
    manifest = _manifest(options, plan, files)
    _copy_licences(options, plan, code, partial)
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    short = languages_below(manifest, options.min_bytes)
    if short:
        progress(table(manifest))
        raise CorpusError(
            f"below the minimum of {options.min_bytes} bytes of text or {MIN_HELD_OUT} held out: "
            f"{', '.join(short)}. Were packages skipped above? --languages leaves languages out, "
            "--min-bytes lowers the minimum, --full adds packages."
        )
    _publish(partial, options.out)
    return manifest


def _executor(jobs):
    context = multiprocessing.get_context("fork")
    return concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context)


def _extract_all(options, plan, code, progress):
    start = time.monotonic()
    # Large packages first: the last worker to finish then has a small one.
    order = sorted(plan, key=lambda package: -_size(package.path))
    read = 0
    with _executor(options.jobs) as pool:
        futures = [pool.submit(extraction.extract, options.cache, p, code) for p in order]
        try:
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                read += future.result()
                if done % 20 == 0 or done == len(futures):
                    seconds = time.monotonic() - start
                    progress(f"text: {done}/{len(futures)} packages, {seconds:.0f} s")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress(f"text: {read} packages read, {len(plan) - read} from the cache")
    for old in (options.cache / "text").iterdir():
        if old.name != code:  # read by another version of the code
            shutil.rmtree(old)


def _size(path):
    if os.path.isdir(path):
        return sum(entry.stat().st_size for entry in os.scandir(path))
    return os.path.getsize(path)


_english = frozenset()  # shared with the forked workers of _write_all


def _write_all(options, plan, code, folder, progress):
    global _english
    start = time.monotonic()
    _english = frozenset(
        paragraph
        for package in plan
        for unit in extraction.read_units(options.cache, package, code, "en")
        for paragraph in unit["paragraphs"]
    )
    arguments = [(options, plan, code, folder, language) for language in options.languages]
    with _executor(options.jobs) as pool:
        results = list(pool.map(_write_language, arguments))
    progress(f"documents: {len(results)} languages, {time.monotonic() - start:.0f} s")
    return dict(sorted(item for result in results for item in result.items()))


def _write_language(arguments):
    options, plan, code, folder, language = arguments
    packages = [
        (package.name, SOURCES[package.source].licence,
         extraction.read_units(options.cache, package, code, language),
         package.source == DESCRIPTIONS)
        for package in plan
    ]
    cap = None if options.full else SMALL_CAP
    english = frozenset() if language == "en" else _english
    documents = make_documents(language, packages, english, cap)
    result = {}
    for split in SPLITS:
        name = f"{split}/{language}.jsonl"
        result[name] = write_documents(folder / name, documents[split])
        result[name]["sources"] = _sizes_by_source(documents[split])
    return result


def _sizes_by_source(documents):
    """{package: [documents, bytes of text]}."""
    sizes = {}
    for document in documents:
        entry = sizes.setdefault(document["source"], [0, 0])
        entry[0] += 1
        entry[1] += len(document["text"].encode())
    return dict(sorted(sizes.items()))


def _manifest(options, plan, files):
    packages = []
    for package in plan:
        sizes = [entry["sources"].get(package.name, [0, 0]) for entry in files.values()]
        if any(documents for documents, _ in sizes):
            packages.append({
                "package": package.name,
                "version": package.version,
                "licence": SOURCES[package.source].licence,
                "documents": sum(documents for documents, _ in sizes),
                "bytes": sum(size for _, size in sizes),
            })
    return {
        "version": VERSION,
        "code": extraction.code_digest("documents"),
        "languages": options.languages,
        "full": options.full,
        "packages": packages,
        "files": files,
    }


def _copy_licences(options, plan, code, folder):
    (folder / "licences").mkdir()
    for package in plan:
        path = extraction.text_folder(options.cache, package, code) / "copyright"
        if path.exists():
            shutil.copyfile(path, folder / "licences" / package.name)


def _publish(partial, out):
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.rename(out, old)
    os.rename(partial, out)
    shutil.rmtree(old, ignore_errors=True)


def complete_manifest(options):
    """The manifest of a finished corpus of the same options and code, or None."""
    try:
        manifest = json.loads((options.out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = (
        manifest.get("version") == VERSION
        and manifest.get("code") == extraction.code_digest("documents")
        and manifest.get("languages") == options.languages
        and manifest.get("full") == options.full
    )
    names = manifest.get("files", {})
    if not same or not all((options.out / name).is_file() for name in names):
        return None
    return None if languages_below(manifest, options.min_bytes) else manifest


def languages_below(manifest, min_bytes):
    """Languages with too little text, in the order of the manifest."""
    files = manifest["files"]
    short = []
    for language in manifest["languages"]:
        sizes = [files[f"{split}/{language}.jsonl"]["bytes"] for split in SPLITS]
        if sum(sizes) < min_bytes or sizes[1] < min(MIN_HELD_OUT, min_bytes):
            short.append(language)
    return short


def table(manifest):
    """Bytes and documents by language, as text."""
    names = ("language", "train MB", "documents", "held-out kB", "documents")
    lines = ["{:<10}{:>10}{:>11}{:>13}{:>11}".format(*names)]
    totals = [0, 0, 0, 0]
    for language in manifest["languages"]:
        train, held_out = (manifest["files"][f"{split}/{language}.jsonl"] for split in SPLITS)
        row = [train["bytes"], train["documents"], held_out["bytes"], held_out["documents"]]
        totals = [total + value for total, value in zip(totals, row)]
        lines.append(_row(language, row))
    return "\n".join(lines + [_row("total", totals)])


def _row(name, row):
    return f"{name:<10}{row[0] / 1e6:>10.2f}{row[1]:>11}{row[2] / 1e3:>13.1f}{row[3]:>11}"
