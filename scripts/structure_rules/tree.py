"""The files under inspection, and what a rule says about one of them."""

import dataclasses
import os
import subprocess

CPP_SUFFIXES = (".h", ".cc", ".cu", ".cuh")
HEADER_SUFFIXES = (".h", ".cuh")
# What a walk of a tree without git leaves out; git's own ignore rules serve elsewhere.
UNTRACKED_FOLDERS = {".git", ".cache", "build", "runs", "__pycache__"}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """A broken rule; `line` counts from 1."""

    path: str
    line: int
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.message}"


@dataclasses.dataclass
class File:
    """A file of the repository: `path` is relative to its root, with slashes. `text` is None where
    the content is not UTF-8."""

    path: str
    size: int
    text: str | None

    @property
    def lines(self):
        return (self.text or "").splitlines()

    @property
    def is_cpp(self):
        return self.text is not None and self.path.endswith(CPP_SUFFIXES)

    @property
    def is_python(self):
        return self.text is not None and (self.path.endswith(".py") or "python" in self._shebang())

    @property
    def is_code(self):
        """Whether the limits on lines hold: everything that people write and that is not prose."""
        name = os.path.basename(self.path)
        return self.text is not None and (
            self.is_cpp
            or self.is_python
            or bool(self._shebang())
            or name == "CMakeLists.txt"
            or name.endswith((".cmake", ".sh", ".yaml"))
        )

    def _shebang(self):
        return self.lines[0] if self.text and self.text.startswith("#!") else ""


def list_paths(root):
    """Paths of the files that are, or may be, committed: tracked ones and those not ignored."""
    command = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if os.path.exists(os.path.join(root, ".git")):
        listed = subprocess.run(command, check=True, capture_output=True).stdout.decode()
        return sorted(path for path in set(listed.split("\0")) if path)
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in UNTRACKED_FOLDERS]
        paths += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(paths)


def read_tree(root):
    """Every file of the repository as a File, in the order of the paths."""
    files = []
    for path in list_paths(root):
        full = os.path.join(root, path)
        if os.path.islink(full) or not os.path.isfile(full):
            continue  # A link, or deleted and not yet committed.
        with open(full, "rb") as stream:
            content = stream.read()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if b"\0" in content:
            text = None
        files.append(File(path, len(content), text))
    return files
