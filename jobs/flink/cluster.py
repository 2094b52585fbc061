"""A standalone Flink cluster on this machine: one JobManager, TaskManagers, Beam's job server; all on the loopback."""

import json
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from jobs.flink.jar import find_jar
from jobs.flink.process import Process, start_process
from jobs.flink.rest import free_slots
from jobs.flink.settings import SLOTS, WORKER_CACHE_MS, flink_config, java
from schemas.errors import WorldError

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 90.0


@dataclass
class Cluster:
    """A cluster that runs; as a context manager it is stopped at the end."""

    folder: Path  # configuration, logs, the workers' program
    rest: str  # host:port of the JobManager
    job_endpoint: str  # host:port of Beam's job server
    processes: dict[str, Process] = field(default_factory=dict)  # by name: jobmanager, tm1, tm2, jobserver
    slots: int = SLOTS  # of a TaskManager

    def beam_args(self, parallelism: int = 2, **flags: object) -> list[str]:
        """Beam's flags of a pipeline that runs here; `flags` adds to them."""
        command = {"command": str(self.folder / "worker.sh")}
        chosen = {
            "runner": "PortableRunner",
            "job_endpoint": self.job_endpoint,
            "flink_master": self.rest,
            "environment_type": "PROCESS",
            "environment_config": json.dumps(command),
            "environment_cache_millis": WORKER_CACHE_MS,
            "parallelism": parallelism,
            **flags,
        }
        return [f"--{name}={value}" for name, value in chosen.items()]

    def start_task_manager(self, name: str) -> Process:
        """One more TaskManager, or one in the place of one that died; it registers by itself."""
        data = ["-D", f"taskmanager.resource-id={name}"]
        self.processes[name] = self._java(name, "taskmanager", "--configDir", str(self.folder / "conf"), *data)
        return self.processes[name]

    def start_job_server(self) -> Process:
        """Beam's job server at its port, the first or one in the place of one that died."""
        job, (artifacts, expansion) = self.job_endpoint.rpartition(":")[2], free_ports(2)
        ports = ["--job-port", job, "--artifact-port", str(artifacts), "--expansion-port", str(expansion)]
        where = ["--job-host=127.0.0.1", "--flink-master", self.rest, f"--artifacts-dir={self.folder}/artifacts"]
        self.processes["jobserver"] = self._java("jobserver", "jobserver", *where, *ports)
        return self.processes["jobserver"]

    def stop(self) -> None:
        """End every process that was started, workers before their TaskManagers, and wait for them."""
        for process in reversed(self.processes.values()):
            process.stop()

    def answers(self) -> bool:
        """Whether all slots are there and the job server takes connections."""
        managers = sum(name.startswith("tm") for name in self.processes)
        host, _, port = self.job_endpoint.rpartition(":")
        with suppress(OSError, WorldError), socket.create_connection((host, int(port)), timeout=2):
            return free_slots(self.rest) >= self.slots * managers
        return False

    def _java(self, name: str, kind: str, *arguments: str) -> Process:
        return start_process(java(kind, find_jar(), *arguments), self.folder / f"{name}.log")

    def __enter__(self) -> "Cluster":
        """The cluster itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


def start_cluster(folder: Path, task_managers: int = 2, settings: Mapping[str, str] | None = None, slots: int = SLOTS) -> Cluster:
    """A new cluster on free ports, with so many slots a TaskManager; its configuration and logs lie in `folder`.

    `settings` adds to Flink's configuration.

    Raises WorldError, with the last lines of a log, if it is not up within 90 s.
    """
    rpc, rest, job = free_ports(3)
    folder = folder.resolve()
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "conf" / "config.yaml").write_text(
        flink_config(rpc, rest, str(folder), {"taskmanager.numberOfTaskSlots": str(slots), **(settings or {})})
    )
    _write_worker(folder / "worker.sh")
    cluster = Cluster(folder, f"127.0.0.1:{rest}", f"localhost:{job}", slots=slots)
    try:
        cluster.processes["jobmanager"] = cluster._java("jobmanager", "jobmanager", "--configDir", str(folder / "conf"))
        for n in range(task_managers):
            cluster.start_task_manager(f"tm{n + 1}")
        cluster.start_job_server()
        _wait_until_up(cluster)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _wait_until_up(cluster: Cluster) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not cluster.answers():
        for name, process in cluster.processes.items():
            if not process.runs():
                raise WorldError(f"Flink's {name} ended at its start; the end of its log:\n{process.last_lines()}")
        if time.monotonic() > end:
            raise WorldError(f"the Flink cluster was not up in {START_TIMEOUT_S:.0f} s; its logs: {cluster.folder}")
        time.sleep(0.2)


def _write_worker(path: Path) -> None:
    """The program that a TaskManager starts for each SDK worker: Flink's PROCESS environment takes a path, and adds arguments."""
    log = shlex.quote(str(path.parent / "workers.log"))
    lines = [
        "#!/bin/sh",
        f"cd {shlex.quote(str(path.parent))}",
        f"export PYTHONPATH={shlex.quote(str(ROOT))} OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}",
        f'exec {shlex.quote(sys.executable)} -m jobs.flink.worker "$@" >>{log} 2>&1',
    ]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)


def free_ports(n: int) -> list[int]:
    """`n` ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
