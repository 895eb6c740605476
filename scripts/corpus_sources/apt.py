"""Package lists and downloads through apt, in a state folder of our own.

The machine's apt sources are used, but its lists, caches and packages are neither read nor
changed: no root is needed, and images that switch off translations still get them.
"""

import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

from .errors import CorpusError
from .languages import apt_translations

_URI_LINE = re.compile(r"^'(\S+)' (\S+) (\d+)")


class Apt:
    """apt with its state in `folder`."""

    def __init__(self, folder, languages):
        self._folder = pathlib.Path(folder).resolve()
        self.lists = self._folder / "lists"
        self._config = self._folder / "apt.conf"
        for name in ("lists/partial", "cache/archives/partial", "state"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._config.write_text(self._settings(languages), encoding="utf-8")

    def _settings(self, languages):
        # "Languages" is a list that settings append to, so the machine's value is cleared first;
        # the same for hooks, which would touch the machine's own caches.
        lines = [
            "#clear Acquire::Languages;",
            "#clear APT::Update::Pre-Invoke;",
            "#clear APT::Update::Post-Invoke;",
            "#clear APT::Update::Post-Invoke-Success;",
            f'Dir::State "{self._folder}/state";',
            f'Dir::State::lists "{self.lists}";',
            f'Dir::Cache "{self._folder}/cache";',
            f'Dir::Cache::archives "{self._folder}/cache/archives";',
            'Acquire::GzipIndexes "false";',
            'Acquire::Retries "3";',
            'Acquire::http::Timeout "60";',
            'APT::Sandbox::User "root";',
        ]
        codes = ", ".join(f'"{code}"' for code in apt_translations(languages))
        lines.append("Acquire::Languages { " + codes.replace(",", ";") + "; };")
        return "\n".join(lines) + "\n"

    def _run(self, *command, folder=None):
        """Standard output and standard error of an apt command; its failure is a CorpusError."""
        shown = "`" + " ".join(command[:3]) + (" …`" if len(command) > 3 else "`")
        command = [command[0], "-c", str(self._config), *command[1:]]
        environment = dict(os.environ, LC_ALL="C")
        try:
            result = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            message = f"{command[0]} not found: the corpus needs Debian or Ubuntu"
            raise CorpusError(message) from None
        if result.returncode != 0:
            raise CorpusError(
                f"{shown} failed ({result.returncode}):\n{_last_lines(result.stderr)}\n"
                "Check the network and the apt sources of this machine, then run again: "
                "what was downloaded is kept."
            )
        return result.stdout, result.stderr

    def update(self):
        """Fetches the package lists."""
        _, errors = self._run("apt-get", "-q", "update")
        if not any("_Packages" in path.name for path in self.lists.iterdir()):
            raise CorpusError(
                f"`apt-get update` fetched no package list:\n{_last_lines(errors)}\n"
                "Check the network and the apt sources of this machine, then run again."
            )

    def package_names(self):
        """Names of all packages that can be downloaded."""
        output, _ = self._run("apt-cache", "dumpavail")
        return sorted(set(re.findall(r"^Package: (\S+)$", output, re.MULTILINE)))

    def candidates(self, names):
        """[(name, version, file name, bytes)] of the newest versions of these packages."""
        if not names:
            return []
        output, _ = self._run("apt-get", "-q", "--print-uris", "download", *names)
        found = {}
        for line in output.splitlines():
            match = _URI_LINE.match(line)
            if match:
                name, version = urllib.parse.unquote(match[2]).split("_")[:2]
                found[name] = (name, version, match[2], int(match[3]))
        return [found[name] for name in names if name in found]

    def download(self, names, folder):
        """Downloads packages into the folder; only complete files appear there."""
        partial = pathlib.Path(folder) / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "-q", "download", *names, folder=partial)
        for path in sorted(partial.glob("*.deb")):
            os.rename(path, pathlib.Path(folder) / path.name)
        shutil.rmtree(partial, ignore_errors=True)


def _last_lines(text, count=8):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join("  " + line for line in lines[-count:]) or "  (no message)"
