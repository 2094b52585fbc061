"""Ctrl-C in a terminal while a job runs on Flink: the question, both answers, and no answer."""

from contextlib import closing

import pytest

from jobs.flink.cluster import Cluster
from jobs.flink.rest import flink_jobs, free_slots
from tests.conftest import Load
from tests.flink.conftest import Start, running_job, slow, wait_for
from tests.flink.terminal import CTRL_C, CTRL_D, Terminal
from tests.flink.test_flink import job_of, rows

QUESTION = "Cancel the job over there too? [y/N]"


def flags(cluster: Cluster) -> list[str]:
    """A slow job that takes all four slots."""
    return [f for f in slow(cluster, 200) if not f.startswith("--parallelism")] + ["--parallelism=4"]


def state_of(cluster: Cluster, job: str) -> str:
    return next(j.state for j in flink_jobs(cluster.rest) if j.id == job)


def asked(screen: Terminal, cluster: Cluster) -> str:
    """The job's id, once its rows are being read and Ctrl-C has brought the question."""
    job = running_job(cluster)
    screen.type(CTRL_C)
    screen.wait_for(QUESTION)
    assert state_of(cluster, job.id) == "RUNNING"
    return job.id


def test_yes_cancels_the_job(load: Load, cluster: Cluster) -> None:
    with closing(Terminal("run", job_of(load, rows(400)), "--", *flags(cluster))) as screen:
        job = asked(screen, cluster)
        screen.type("y\n")
        code, shown = screen.end()
    assert code == 130 and f"The job {job} is cancelled" in shown and "Traceback" not in shown, shown
    assert state_of(cluster, job) == "CANCELED"
    wait_for(lambda: free_slots(cluster.rest) == 4)


def test_no_leaves_it_and_the_next_run_names_it(load: Load, cluster: Cluster, warpbeam: Start) -> None:
    path = job_of(load, rows(400))
    with closing(Terminal("run", path, "--", *flags(cluster))) as screen:
        job = asked(screen, cluster)
        screen.type("n\n")
        code, shown = screen.end()
    command = f"warpbeam cancel {job} -- --flink_master={cluster.rest}"
    assert code == 130 and f"The job goes on. To cancel it: {command}" in shown, shown
    assert state_of(cluster, job) == "RUNNING" and free_slots(cluster.rest) == 0
    with closing(Terminal("run", path, "--", *flags(cluster))) as second:
        second.wait_for("this job waits for slots")
        second.wait_for(command)
        assert warpbeam("cancel", job, "--", f"--flink_master={cluster.rest}").end()[0] == 0
        assert state_of(cluster, job) == "CANCELED"
        later = wait_for(lambda: [j.id for j in flink_jobs(cluster.rest) if j.state == "RUNNING"])
        assert later != [job]


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl-c", "ctrl-d"])
def test_no_answer_leaves_it_too(load: Load, cluster: Cluster, key: str) -> None:
    """A second Ctrl-C, or the end of the input, at the question."""
    with closing(Terminal("run", job_of(load, rows(400)), "--", *flags(cluster))) as screen:
        job = asked(screen, cluster)
        screen.type(key)
        code, shown = screen.end()
    assert code == 130 and f"The job goes on. To cancel it: warpbeam cancel {job} --" in shown and "Traceback" not in shown, shown
    assert state_of(cluster, job) == "RUNNING"
