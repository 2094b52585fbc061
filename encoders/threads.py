"""The cores that this process may really use, and libraries that take no more.

torch and Arrow count the cores that a process may be scheduled on. A container's CPU limit is a quota of time instead:
with more threads than it pays for, all of them are stopped for most of each period. The tokenisers' threads (Rust)
know of quotas themselves.
"""

import math
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pyarrow as pa

PROC = Path("/proc/self")


def usable_cores(proc: Path = PROC, allowed: int | None = None) -> int:
    """The cores this process may use: those it may be scheduled on (`allowed`), or what its cgroups' quotas pay for, rounded up; at least 1.

    `proc` has `cgroup` and `mountinfo` as Linux writes them; without them there is no quota.
    """
    if allowed is None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas(proc))]))


def limit_arrow() -> None:
    """Have Arrow compute with no more threads than there are usable cores; once a process. OMP_NUM_THREADS, which Arrow reads too, wins."""
    _limit_arrow(os.getpid())


def limit_torch() -> None:
    """The same for torch, if it is imported; to be called before the first model is loaded."""
    if "torch" in sys.modules:
        _limit_torch(os.getpid())


@cache
def _limit_arrow(process: int) -> None:
    if "OMP_NUM_THREADS" not in os.environ and pa.cpu_count() > (cores := usable_cores()):
        pa.set_cpu_count(cores)


@cache
def _limit_torch(process: int) -> None:
    import torch

    # never more than torch's own number: that may be the physical cores, or what somebody chose
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > (cores := usable_cores()):
        torch.set_num_threads(cores)


def _quotas(proc: Path) -> Iterator[float]:
    """The cores that each quota pays for, of the process's cgroup and those above it, as far up as they are mounted."""
    own = {controller: path for line in _lines(proc / "cgroup") for controller, path in _membership(line)}
    for controller, root, top in _mounts(proc):
        if controller in own:
            inner = _below(own[controller], root).parts
            for n in range(len(inner) + 1):
                yield from _quota(top.joinpath(*inner[:n]))


def _membership(line: str) -> list[tuple[str, str]]:
    """(controller, path) of a line of /proc/self/cgroup; version 2 has one path, and no name for it."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    return [(controller, path) for controller in controllers.split(",")]


def _mounts(proc: Path) -> Iterator[tuple[str, str, Path]]:
    """Where cgroups are mounted that may have quotas: controller (empty for version 2), the cgroup that is mounted, and where."""
    for line in _lines(proc / "mountinfo"):
        before, _, after = line.partition(" - ")
        place, what = [_spelled(word) for word in before.split()[3:5]], after.split()
        if len(place) < 2 or len(what) < 2:
            continue
        if what[0] == "cgroup2":
            yield "", place[0], Path(place[1])
        elif what[0] == "cgroup" and "cpu" in what[-1].split(","):
            yield "cpu", place[0], Path(place[1])


def _below(path: str, root: str) -> PurePosixPath:
    """`path` seen from where `root` is mounted; a path outside, as a container may see its host's, is the mount itself."""
    within = path == root or path.startswith(root.rstrip("/") + "/")
    found = PurePosixPath(path[len(root) :].lstrip("/") if within else "")
    return PurePosixPath() if ".." in found.parts else found


def _quota(folder: Path) -> Iterator[float]:
    """The cores that a cgroup's own quota pays for; nothing where it has none."""
    words = [word for line in _lines(folder / "cpu.max") for word in line.split()]  # version 2: `200000 100000`, or `max 100000`
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]  # version 1; -1 is no quota
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[0]) and int(words[1]):
        yield int(words[0]) / int(words[1])


def _lines(path: Path) -> list[str]:
    """The lines of a file of the kernel's; none where it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()
    except (OSError, ValueError):  # a path may be none at all
        return []


def _spelled(word: str) -> str:
    """A word of mountinfo, which writes blanks and such as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)
