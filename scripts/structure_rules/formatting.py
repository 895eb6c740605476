"""clang-format: every C++ file is as version 14 lays it out."""

import collections
import concurrent.futures
import os
import re
import shutil
import subprocess

from structure_rules.tree import Finding

VERSION = "14"
FILES_A_PROCESS = 16


class ToolError(Exception):
    """clang-format is missing or failed."""


def find_clang_format():
    """The program of the right version. Raises ToolError."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        program = shutil.which(name)
        if program is None:
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if re.search(rf"version {VERSION}\.", said.stdout):
            return program
    raise ToolError(f"clang-format {VERSION} is not installed; run scripts/setup")


def check(root, files):
    """One finding for each file that clang-format would change. Raises ToolError."""
    paths = [file.path for file in files if file.is_cpp]
    program = find_clang_format()
    batches = [paths[i : i + FILES_A_PROCESS] for i in range(0, len(paths), FILES_A_PROCESS)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outputs = list(pool.map(lambda batch: _dry_run(program, root, batch), batches))
    places = collections.defaultdict(list)
    for path, line in (place for output in outputs for place in output):
        places[path].append(line)
    advice = "run scripts/check_structure --fix"
    return [
        Finding(path, lines[0], f"clang-format {VERSION} changes {len(lines)} places; {advice}")
        for path, lines in places.items()
    ]


def fix(root, files):
    """Lays out every C++ file in place. Raises ToolError."""
    paths = [file.path for file in files if file.is_cpp]
    if paths:
        command = [find_clang_format(), "-i", "--style=file", *paths]
        subprocess.run(command, cwd=root, check=True)


def _dry_run(program, root, paths):
    """(path, line) of each place that would change."""
    command = [program, "--dry-run", "-Werror", "--style=file", *paths]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    place = r"^(\S.*?):(\d+):\d+: error: code should be clang-formatted"
    found = re.findall(place, run.stderr, re.M)
    if run.returncode != 0 and not found:
        raise ToolError(f"clang-format failed: {run.stderr.strip()}")
    return [(path, int(line)) for path, line in found]
