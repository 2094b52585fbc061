"""The cluster of a folder, which keeps running from one command to the next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from jobs.flink.cluster import Cluster, start_cluster
from jobs.flink.process import Process


def running_cluster(home: Path, task_managers: int = 2) -> Cluster:
    """The cluster of `home`: the one that runs, or a new one that keeps running after this command."""
    cluster = recorded(home)
    if cluster and cluster.answers():
        return cluster
    if cluster:
        cluster.stop()  # half of it has ended
    cluster = start_cluster(home, task_managers)
    (home / "cluster.json").write_text(json.dumps(asdict(cluster), default=str, indent=2) + "\n")
    return cluster


def recorded(home: Path) -> Cluster | None:
    """The cluster that was started last for `home`, running or not."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads((home / "cluster.json").read_text())
        processes = {name: Process(p["pid"], p["started"], Path(p["log"])) for name, p in found["processes"].items()}
        return Cluster(Path(found["folder"]), found["rest"], found["job_endpoint"], processes, found["slots"])
    return None


def stop_running(home: Path) -> bool:
    """Stop the cluster of `home` and forget it; whether one was recorded."""
    cluster = recorded(home)
    if cluster:
        cluster.stop()
        (home / "cluster.json").unlink()
    return cluster is not None


@contextmanager
def kept_as_found(home: Path) -> Iterator[Cluster]:
    """The cluster of `home`; one that was not there before is stopped afterwards."""
    there = recorded(home)
    ran = there is not None and there.answers()
    try:
        yield running_cluster(home)
    finally:
        if not ran:
            stop_running(home)
