"""SDK workers that die in their first second, or never start: the run ends in a bounded time, with 3 and one line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.flink.cluster import Cluster, free_ports
from jobs.flink.process import Process, start_process
from jobs.flink.rest import HOLDING, flink_jobs, free_slots
from tests.conftest import Load
from tests.flink.conftest import Start, slow, wait_for
from tests.flink.test_flink import job_of, report_of, rows

# The worker connects to its runner, and is killed before it has been told what to run: once, where `first` is there yet.
DIES = """
import os, signal, sys
from apache_beam.portability.api import beam_fn_api_pb2_grpc as api
from jobs.flink import worker

class Stub(api.BeamFnControlStub):
    def __init__(self, channel):
        super().__init__(channel)
        control = self.Control
        self.Control = lambda responses: dying(control(responses))

def dying(requests):
    for request in requests:
        try:
            os.remove({first!r})
            os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            yield request

api.BeamFnControlStub = Stub
worker.main()
"""
SHORT = {"WARPBEAM_WORKER_START_S": "20"}


def ended(load: Load, cluster: Cluster, warpbeam: Start, flags: list[str]) -> None:
    """The run ends with 3 and one line that says what to do, and its job holds no slot."""
    code, said = warpbeam("run", job_of(load, rows(40)), "--", *flags, environment=SHORT).end()
    assert code == 3, said
    problem = report_of(load)["problem"]
    assert "no SDK worker took up its work in" in problem and "WARPBEAM_WORKER_START_S" in problem, said
    assert len(problem.splitlines()) == 1 and "Traceback" not in said, said
    wait_for(lambda: free_slots(cluster.rest) == 4)
    assert not [j for j in flink_jobs(cluster.rest) if j.state in HOLDING]


@pytest.fixture
def dying(cluster: Cluster, tmp_path: Path) -> list[str]:
    """Flags of a run whose first worker is killed by `kill -9` in its first second."""
    (tmp_path / "first").touch()
    (tmp_path / "dies.py").write_text(DIES.format(first=str(tmp_path / "first")))
    program = tmp_path / "worker.sh"
    program.write_text((cluster.folder / "worker.sh").read_text().replace("-m jobs.flink.worker", str(tmp_path / "dies.py")))
    program.chmod(0o755)
    return cluster.beam_args(environment_config=json.dumps({"command": str(program)}))


def test_a_worker_is_killed_in_its_first_second(load: Load, cluster: Cluster, warpbeam: Start, dying: list[str]) -> None:
    """Less than the three minutes that Beam would wait for it."""
    ended(load, cluster, warpbeam, dying)
    assert not (load.folder / "first").exists()


@pytest.mark.slow  # three minutes
def test_beam_itself_replaces_such_a_worker_after_three_minutes(load: Load, warpbeam: Start, dying: list[str]) -> None:
    """The usual limit is longer than that: the job recovers, and the collection is exact."""
    code, said = warpbeam("run", job_of(load, rows(40)), "--", *dying).end()
    assert code == 0, said
    assert len(load.objects()) == 40 and not (load.folder / "first").exists()


@pytest.mark.slow  # a bundle of forty seconds
def test_a_long_bundle_is_not_mistaken_for_a_worker_that_does_not_start(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    """Nothing moves that Flink tells of for twice the limit, while the model works."""
    code, said = warpbeam("run", job_of(load, rows(400)), "--", *slow(cluster, 200), environment=SHORT).end()
    assert code == 0, said
    assert report_of(load)["counts"]["loaded"] == 400


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[str]:
    """Beam's own worker pool, whose workers end at once; its address."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    started: Process = start_process([*command, "--container_executable=/bin/false"], tmp_path / "pool.log")
    yield f"localhost:{port}"
    started.stop()


def test_a_pool_whose_workers_cannot_start(load: Load, cluster: Cluster, warpbeam: Start, pool: str) -> None:
    """Flink would wait for them without an end."""
    ended(load, cluster, warpbeam, cluster.beam_args(parallelism=1, environment_type="EXTERNAL", environment_config=pool))
