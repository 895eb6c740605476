"""Which file may include what: the order of the folders, and who sees CUDA, MPI and HDF5."""

import re

from structure_rules import cpp_source
from structure_rules.tree import Finding

# An include may only point to the same folder or an earlier one.
ORDER = (
    "base",
    "tensor",
    "ops",
    "data",
    "parallel",
    "model",
    "optim",
    "checkpoint",
    "plan",
    "eval",
    "train",
)
# Folders that may include anything.
FREE = ("tests", "bench")
# Beyond the order: the only folders that data may use, and those that checkpoint may not.
ONLY = {"data": {"base", "tensor", "data"}}
NEVER = {"checkpoint": {"model", "optim", "data"}}

# (library, its headers, the files that may include them).
LIBRARIES = (
    (
        "CUDA and NCCL",
        re.compile(
            r"(cuda|cublas|cudnn|curand|cusparse|cusolver|cufft|cufile|nvrtc|nvml|nvtx|nvToolsExt"
            r"|nccl|cooperative_groups|device_launch_parameters|driver_types)[^/]*\.(h|hpp|cuh)$"
            r"|(cuda|cub|thrust|cutlass|cute|nvtx3|cooperative_groups)/|mma\.h$"
            r"|cooperative_groups$"
        ),
        re.compile(r"tensor/cuda|.*\.cuh?$|parallel/(.*/)?nccl_comm[^/]*$"),
        "tensor/cuda*, *.cu and parallel/nccl_comm*",
    ),
    (
        "MPI",
        re.compile(r"(openmpi/|mpi/)?mpi(-ext|x)?\.h$"),
        re.compile(r"parallel/(.*/)?mpi_comm[^/]*$|train/main\.cc$"),
        "parallel/mpi_comm* and train/main.cc",
    ),
    (
        "HDF5",
        re.compile(r"(hdf5/)?(serial/|openmpi/)?(hdf5(_hl)?|H5\w*)\.h$"),
        re.compile(r"checkpoint/hdf5_file[^/]*$|data/(\w+/)?hdf5_[^/]*$"),
        "checkpoint/hdf5_file* and hdf5_* below data/",
    ),
)

# What nvcc must not meet, as far as a .cu file's own and the project's headers bring it in.
NOT_FOR_NVCC = re.compile(
    r"(absl|yaml-cpp|spdlog|fmt|CLI|nlohmann)/|base/(config|status)|ops/tape|parallel/(.*/)?mesh"
)


def folder_of(path):
    return path.split("/", 1)[0]


def check(files):
    """Findings over all C++ files."""
    sources = [file for file in files if file.is_cpp]
    included = {file.path: cpp_source.includes(cpp_source.tokenize(file.text)) for file in sources}
    findings = []
    for path, entries in included.items():
        for line, mark, target in entries:
            findings += [Finding(path, line, message) for message in _judge(path, mark, target)]
        if path.endswith((".cu", ".cuh")) and folder_of(path) not in FREE:
            findings += _check_cuda_file(path, included)
    return findings


def _judge(path, mark, target):
    """What is wrong with one include."""
    if not mark:
        return ["an include named by a macro hides the dependency; write the path"]
    if folder_of(target) in ORDER + FREE and mark == "<":
        return [f'write "{target}" for a file of this project, <...> is for libraries']
    if target.startswith((".", "/")) or (mark == '"' and "/" not in target):
        return [f'write "folder/file.h" in place of "{target}"']
    user = folder_of(path)
    if user in FREE:
        return []
    messages = []
    for library, headers, users, names in LIBRARIES:
        if headers.match(target) and not users.match(path):
            messages.append(f"{target}: only {names} may see the headers of {library}")
    if mark == '"' and user in ORDER:
        messages += _judge_order(user, folder_of(target), target)
    return messages


def _judge_order(user, used, target):
    if used in FREE:
        return [f"{target}: {user}/ must not depend on {used}/"]
    if used not in ORDER:
        return []
    if ORDER.index(used) > ORDER.index(user):
        return [f"{target}: {user}/ comes before {used}/ and must not depend on it"]
    if user in ONLY and used not in ONLY[user]:
        allowed = " and ".join(sorted(ONLY[user] - {user}))
        return [f"{target}: {user}/ may use only {allowed}"]
    if used in NEVER.get(user, ()):
        return [f"{target}: {user}/ must not depend on {used}/"]
    return []


def _check_cuda_file(path, included):
    """A CUDA file must not reach what nvcc cannot read, be it through other headers."""
    findings = []
    for line, _, first in included[path]:
        chain = _find_chain(first, included, {path})
        if chain:
            via = f" (through {' -> '.join(chain[:-1])})" if len(chain) > 1 else ""
            message = f"{chain[-1]}{via}: a CUDA file includes only plain structs and CUDA headers"
            findings.append(Finding(path, line, message))
    return findings


def _find_chain(target, included, seen):
    """The includes from `target` to the first header that is not for nvcc; [] without one."""
    if NOT_FOR_NVCC.match(target):
        return [target]
    seen.add(target)
    for _, _, further in included.get(target, ()):
        if further not in seen:
            chain = _find_chain(further, included, seen)
            if chain:
                return [target, *chain]
    return []
