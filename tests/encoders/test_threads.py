"""The cores of this process: what it may be scheduled on, what quotas pay for, and libraries that take no more."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.threads import usable_cores
from jobs.execute import local_workers
from tests.encoders.tiny_models import tiny_text_model

ROOT = Path(__file__).parent.parent.parent
V1, V2 = "cgroup cgroup rw,cpu,cpuacct", "cgroup2 cgroup2 rw,nsdelegate"


def proc_of(folder: Path, cgroup: str, mount: str, root: str = "/") -> Path:
    """A made-up /proc/self: one line of `cgroup`, and `root` mounted at `folder`/fs."""
    proc = folder / "proc"
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "cgroup").write_text(f"12:pids:/elsewhere\n{cgroup}\n")
    place = str(folder / "fs").replace(" ", "\\040")
    (proc / "mountinfo").write_text(
        f"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n31 22 0:26 {root} {place} rw,nosuid shared:4 - {mount}\n"
    )
    return proc


def quota_of(folder: Path, inner: str, quota: str, version: int = 2, period: int = 100_000) -> None:
    """Give the cgroup `inner` a quota, as its version writes it."""
    place = folder / "fs" / inner
    place.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (place / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (place / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (place / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_cgroups_it_is_what_the_scheduler_allows(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, 64) == 64
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("max", 64), ("150000", 2), ("20000", 1), ("9900000", 64)])
def test_a_pod_sees_its_own_cgroup_as_the_root(tmp_path: Path, quota: str, cores: int) -> None:
    quota_of(tmp_path, "", quota)
    assert usable_cores(proc_of(tmp_path, "0::/", V2), 64) == cores


def test_the_smallest_quota_up_to_the_root_counts(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, "0::/kubepods/pod1/worker", V2)
    quota_of(tmp_path, "kubepods/pod1/worker", "max")
    assert usable_cores(proc, 64) == 64
    quota_of(tmp_path, "kubepods", "1600000")
    assert usable_cores(proc, 64) == 16
    quota_of(tmp_path, "kubepods/pod1", "300000")
    quota_of(tmp_path, "kubepods/pod2", "100000")  # somebody else's
    assert usable_cores(proc, 64) == 3
    assert usable_cores(proc, 2) == 2


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("-1", 64), ("0", 64), ("50000", 1), ("250000", 3)])
def test_version_1_has_two_files(tmp_path: Path, quota: str, cores: int) -> None:
    quota_of(tmp_path, "docker/a1", quota, version=1)
    assert usable_cores(proc_of(tmp_path, "3:cpu,cpuacct:/docker/a1", V1), 64) == cores


def test_a_container_whose_path_is_the_hosts_has_its_cgroup_mounted(tmp_path: Path) -> None:
    quota_of(tmp_path, "", "200000", version=1)
    assert usable_cores(proc_of(tmp_path, "3:cpu,cpuacct:/docker/a1", V1, root="/docker/a1"), 64) == 2
    quota_of(tmp_path, "inner", "100000", version=1)
    assert usable_cores(proc_of(tmp_path, "3:cpu,cpuacct:/docker/a1/inner", V1, root="/docker/a1"), 64) == 1
    assert usable_cores(proc_of(tmp_path, "3:cpu,cpuacct:/../other", V1), 64) == 2
    assert usable_cores(proc_of(tmp_path, "3:cpu,cpuacct:/docker/a10", V1, root="/docker/a1"), 64) == 2


def test_only_the_controller_of_cores_is_read(tmp_path: Path) -> None:
    quota_of(tmp_path, "", "100000", version=1)
    assert usable_cores(proc_of(tmp_path, "3:memory:/", V1), 64) == 64
    assert usable_cores(proc_of(tmp_path, "3:cpu:/", "cgroup cgroup rw,cpuset"), 64) == 64


def test_a_mount_point_may_have_blanks(tmp_path: Path) -> None:
    folder = tmp_path / "a folder ü"
    quota_of(folder, "", "100000")
    assert usable_cores(proc_of(folder, "0::/", V2), 64) == 1


@given(
    st.integers(1, 256),
    st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 10**8), st.integers(1000, 10**6))), min_size=1, max_size=5),
    st.sampled_from([1, 2]),
)
@settings(max_examples=100, deadline=None)
def test_any_tree_gives_the_scarcest_rounded_up(
    tmp_path_factory: pytest.TempPathFactory, allowed: int, quotas: list[tuple[int, int] | None], version: int
) -> None:
    folder, names = tmp_path_factory.mktemp("tree"), [f"c{i}" for i in range(len(quotas) - 1)]
    for depth, quota in enumerate(quotas):
        written = {1: "-1", 2: "max"}[version] if quota is None else str(quota[0])
        quota_of(folder, "/".join(names[:depth]), written, version, quota[1] if quota else 100_000)
    path = "/" + "/".join(names)
    proc = proc_of(folder, f"0::{path}" if version == 2 else f"1:cpu:{path}", V2 if version == 2 else V1)
    assert usable_cores(proc, allowed) == min([allowed, *(math.ceil(q / period) for q, period in filter(None, quotas))])


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_whatever_the_files_say_there_is_one_core_at_least(
    tmp_path_factory: pytest.TempPathFactory, cgroup: str, mount: str, quota: str
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    proc = proc_of(folder, "0::/", V2)
    (folder / "fs").mkdir()
    (folder / "fs" / "cpu.max").write_text(quota, errors="replace")
    assert 1 <= usable_cores(proc, 8) <= 8
    (proc / "cgroup").write_text(cgroup, errors="replace")
    (proc / "mountinfo").write_text(f"{mount} - cgroup2\n{mount}", errors="replace")
    assert usable_cores(proc, 8) == 8


def test_beam_has_half_the_cores_within_bounds() -> None:
    assert [local_workers(n) for n in (1, 2, 4, 6, 16, 64)] == [2, 2, 2, 3, 8, 8]
    assert local_workers() == local_workers(usable_cores())


def in_use(model: Path, start: Sequence[str] = (), **environment: str) -> dict[str, int]:
    """The threads of a process of its own, started by the command `start`."""
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS")}
    settings = clean | {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | environment
    command = [*start, sys.executable, "-m", "tests.encoders.threads_in_use", str(model)]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_model(tmp_path_factory.mktemp("model"))


ONE = {"tokenisers": 1, "torch": 1, "batches": 1, "arrow": 1, "usable": 1, "beam": 2}  # one of Beam's two waits


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset (util-linux)")
def test_on_one_core_everything_takes_one(model: Path) -> None:
    core = min(os.sched_getaffinity(0))
    assert in_use(model, ["taskset", "-c", str(core)]) == ONE


@pytest.fixture
def one_core_quota() -> Iterator[Path]:
    """A cgroup below this process's own whose quota pays for one core; skips where none can be made."""
    own = next((line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines() if ":cpu" in line), ["0", "", "/"])
    mounts = {"cpu": Path("/sys/fs/cgroup/cpu"), "": Path("/sys/fs/cgroup")}
    folder = mounts["cpu" if own[1] else ""] / own[2].lstrip("/") / f"warpbeam-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if (folder / "cpu.cfs_quota_us").exists():
            (folder / "cpu.cfs_quota_us").write_text((folder / "cpu.cfs_period_us").read_text())
        elif (folder / "cpu.max").exists():
            (folder / "cpu.max").write_text("100000 100000")
        else:
            pytest.skip("a new cgroup has no quota here")
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a quota shows only where there are more cores")
def test_with_a_real_quota_of_one_core_everything_takes_one(model: Path, one_core_quota: Path) -> None:
    inside = ["sh", "-c", f'echo $$ > {one_core_quota}/cgroup.procs && exec "$@"', "sh"]
    assert in_use(model, inside) == ONE
    assert in_use(model, inside, OMP_NUM_THREADS="2") == ONE | {"torch": 2, "batches": 2, "arrow": 2}


def test_without_a_limit_all_cores_are_taken(model: Path) -> None:
    found, cores = in_use(model), usable_cores()
    assert found["usable"] == found["arrow"] == cores
    assert 1 <= found["torch"] == found["batches"] <= cores
