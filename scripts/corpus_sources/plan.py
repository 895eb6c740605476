"""Which packages a build uses: resolved once with apt, downloaded, then kept in the cache."""

import hashlib
import json
import os
import pathlib
import time

from .apt import Apt
from .errors import CorpusError
from .extract import Package
from .sources import DESCRIPTIONS, SOURCES, selected_packages

DESCRIPTIONS_NAME = "package-descriptions"


def make_plan(cache, languages, full, progress):
    """The packages of the build in order of precedence, all of them on this disk.

    The first call uses apt and writes the plan; later ones need no network.
    """
    cache = pathlib.Path(cache)
    key = json.dumps([languages, full, [repr(source) for source in SOURCES]])
    path = cache / f"plan-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
    if path.exists():
        plan = [Package(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
        if all(os.path.exists(cache / package.path) for package in plan):
            progress(f"packages: {len(plan)} in the cache, nothing to download")
            return _absolute(cache, plan)
    plan = _resolve_and_download(cache, languages, full, progress)
    partial = path.with_suffix(".partial")
    text = json.dumps([vars(package) for package in plan], indent=1)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)
    return _absolute(cache, plan)


def _absolute(cache, plan):
    return [
        Package(package.name, package.version, package.source, str(cache / package.path))
        for package in plan
    ]


def _resolve_and_download(cache, languages, full, progress):
    start = time.monotonic()
    apt = Apt(cache / "apt", languages)
    progress("packages: reading the package lists (apt-get update, in the cache folder)")
    apt.update()
    chosen, missing = selected_packages(apt.package_names(), languages, full)
    if not chosen:
        raise CorpusError("the apt sources of this machine have none of the wanted packages")
    if missing:
        progress("packages: not available here, skipped:\n  " + "\n  ".join(missing))
    source_of = dict(chosen)
    candidates = apt.candidates(list(source_of))
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    absent = [item for item in candidates if not (debs / item[2]).exists()]
    if absent:
        megabytes = sum(item[3] for item in absent) / 1e6
        progress(f"packages: downloading {len(absent)} of {len(candidates)}, {megabytes:.0f} MB")
        apt.download([item[0] for item in absent], debs)
    lost = [item[2] for item in candidates if not (debs / item[2]).exists()]
    if lost:
        raise CorpusError(f"apt-get download left out {', '.join(lost)}; run again")
    plan = [
        Package(name, version, source_of[name], f"debs/{file}")
        for name, version, file, _ in candidates
    ]
    plan.append(_descriptions(apt, cache))
    progress(f"packages: ready after {time.monotonic() - start:.1f} s")
    return sorted(plan, key=lambda package: (package.source, package.name))


def _descriptions(apt, cache):
    """Keeps the fetched translations apart from apt's own state, named by their content."""
    digest = hashlib.sha256()
    files = sorted(path for path in apt.lists.iterdir() if "_i18n_Translation-" in path.name)
    contents = [(path.name, path.read_bytes()) for path in files]
    for name, data in contents:
        digest.update(name.encode() + b"\0" + data)
    version = digest.hexdigest()[:12]
    folder = cache / "descriptions" / version
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents:
        (folder / name).write_bytes(data)
    relative = str(folder.relative_to(cache))
    return Package(DESCRIPTIONS_NAME, version, DESCRIPTIONS, relative)
