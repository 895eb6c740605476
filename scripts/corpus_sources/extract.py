"""Reads the text out of one package, with a cache: a package is never read twice."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

from .errors import CorpusError
from .readers import READERS, Units
from .sources import SOURCES

_CODE_FILES = ("languages", "cleaning", "formats", "split", "readers", "extract", "sources")


@dataclasses.dataclass(frozen=True)
class Package:
    """One item of the plan. `path` is a .deb file or, for descriptions, a folder."""

    name: str
    version: str
    source: int  # index into SOURCES
    path: str


def code_digest(*more):
    """Names the version of the reading code (and of `more` modules): old results are not used."""
    digest = hashlib.sha256()
    folder = pathlib.Path(__file__).parent
    for name in _CODE_FILES + more:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def text_folder(cache, package, code):
    """Where the text of the package is kept: <language>.jsonl and `copyright`."""
    version = hashlib.sha256(f"{package.version} {package.source}".encode()).hexdigest()[:12]
    return pathlib.Path(cache) / "text" / code / f"{package.name}_{version}"


def extract(cache, package, code):
    """Makes text_folder(); True where it had to be read, False where it was there."""
    target = text_folder(cache, package, code)
    if target.is_dir():
        return False
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    source = SOURCES[package.source]
    units = Units(source.name, package.name)
    readers = [READERS[name](units, package.name) for name in source.readers]
    for path, data in _files(package, readers):
        if path.endswith(f"/usr/share/doc/{package.name}/copyright"):
            (partial / "copyright").write_bytes(data)
        for reader in readers:
            if reader.wants(path):
                reader.read(path, data)
    for reader in readers:
        reader.finish()
    for language, items in units.by_language().items():
        with open(partial / f"{language}.jsonl", "w", encoding="utf-8") as out:
            for item in items:
                out.write(json.dumps(item, ensure_ascii=False) + "\n")
    os.rename(partial, target)
    return True


def read_units(cache, package, code, language):
    """The units of the package in this language: {"group", "name", "paragraphs"}."""
    path = text_folder(cache, package, code) / f"{language}.jsonl"
    if not path.exists():
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _files(package, readers):
    """(path, bytes) of the wanted files, in the sorted or archive order of the package."""

    def wanted(path):
        is_copyright = path.endswith(f"/usr/share/doc/{package.name}/copyright")
        return is_copyright or any(reader.wants(path) for reader in readers)

    if os.path.isdir(package.path):
        for name in sorted(os.listdir(package.path)):
            path = os.path.join(package.path, name)
            if wanted(path) and os.path.isfile(path):
                yield path, pathlib.Path(path).read_bytes()
        return
    yield from _deb_files(package.path, wanted)


def _deb_files(deb, wanted):
    # The archive is read as a stream: nothing is unpacked to disk.
    command = ["dpkg-deb", "--fsys-tarfile", deb]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise CorpusError("dpkg-deb not found: the corpus needs Debian or Ubuntu") from None
    with process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.lstrip(".")
                    if member.isfile() and wanted(path):
                        yield path, archive.extractfile(member).read()
            process.stdout.read()
        except tarfile.TarError as error:
            process.kill()
            raise CorpusError(f"{deb}: {error}; delete the file and run again") from None
        message = process.stderr.read().decode("utf-8", "replace").strip()
    if process.returncode != 0:
        raise CorpusError(
            f"`{' '.join(command)}` failed ({process.returncode}): {message}; "
            "delete the file and run again"
        )
