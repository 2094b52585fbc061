"""A real Flink cluster for the tests of this folder, and `warpbeam` as a process of its own beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoders.fake import SLOWNESS
from jobs.flink.cluster import ROOT, Cluster, start_cluster
from jobs.flink.jar import missing_programs
from jobs.flink.rest import HOLDING, FlinkJob, cancel, counters, flink_jobs


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A JobManager, two TaskManagers with two slots each and Beam's job server; the jar is built if it is missing."""
    if missing := missing_programs():
        pytest.skip(f"a Flink cluster needs {' and '.join(missing)}")
    with start_cluster(tmp_path_factory.mktemp("flink")) as running:
        yield running


@pytest.fixture(autouse=True)
def free_again(cluster: Cluster) -> Iterator[None]:
    """Every test finds all slots free, both TaskManagers and the job server there, whatever the one before left."""
    yield
    for job in flink_jobs(cluster.rest):
        if job.state in HOLDING:
            cancel(cluster.rest, job.id)
    for name in ("tm1", "tm2"):
        if not cluster.processes[name].runs():
            cluster.start_task_manager(name)
    if not cluster.processes["jobserver"].runs():
        cluster.start_job_server()
    wait_for(cluster.answers)


def slow(cluster: Cluster, ms: float) -> list[str]:
    """Beam's flags with which the fake encoder sleeps so long for every value."""
    return cluster.beam_args(environment_config=json.dumps({"command": str(cluster.folder / "worker.sh"), "env": {SLOWNESS: str(ms)}}))


def wait_for(condition: Callable[[], Any], timeout_s: float = 240) -> Any:
    """What `condition` gives once it gives something."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s in vain"
        time.sleep(0.2)
    return found


def running_job(cluster: Cluster) -> FlinkJob:
    """The job that runs, once its rows are read: the vectors are being made."""

    def reading() -> FlinkJob | None:
        running = [j for j in flink_jobs(cluster.rest) if j.state == "RUNNING"]
        return next((j for j in running if counters(cluster.rest, j.id, "warpbeam").get("rows/read")), None)

    return wait_for(reading)  # type: ignore[no-any-return]


@dataclass
class Command:
    """`warpbeam ...` that runs."""

    process: "subprocess.Popen[str]"
    cluster: Cluster

    def job(self) -> FlinkJob:
        """Its job, once Flink runs it and the rows are read: the vectors are being made."""
        return running_job(self.cluster)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self, timeout_s: float = 400) -> tuple[int, str]:
        """Exit code and everything that it said."""
        said, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, said


Start = Callable[..., Command]  # `warpbeam` with these arguments


def command_line(*arguments: str | Path) -> list[str]:
    """`warpbeam ARGUMENTS` of this checkout."""
    return [sys.executable, "-m", "jobs.cli", *(str(a) for a in arguments)]


def surroundings(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of such a command, with `more` in it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "500", **more}


def take_interrupts() -> None:
    """As in a terminal: what runs in the background, such as these tests, may ignore Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def warpbeam(cluster: Cluster) -> Iterator[Start]:
    """Starts the command line in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, environment: dict[str, str] | None = None) -> Command:
        started.append(
            subprocess.Popen(
                command_line(*arguments),
                env=surroundings(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=take_interrupts,
            )
        )
        return Command(started[-1], cluster)

    yield start
    for process in started:
        process.kill()
        process.communicate()
