"""What Flink's JobManager says over its REST interface: slots, the jobs that hold them, their counters and failures."""

import base64
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException
from typing import Any

from schemas.errors import WorldError

TIMEOUT_S = 5
HOLDING = ("INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING")  # states of a job that has or wants slots
KEPT = 16  # failures that a JobManager remembers unless it is told otherwise
SUM = "beam:metric:user:sum_int64:v1"  # the name of Beam's counters in its monitoring data


@dataclass(frozen=True)
class FlinkJob:
    """A job as the JobManager lists it."""

    id: str
    name: str
    state: str
    seconds: float


def ask(address: str, path: str, method: str = "GET") -> Any:
    """The JSON that `http://address/path` answers. Raises WorldError."""
    try:
        with closing(HTTPConnection(address, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            found = json.loads(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise WorldError(f"Flink's JobManager does not answer at http://{address}{path}: {error}") from error
    if answer.status >= 300:  # it starts, or knows no such job
        raise WorldError(f"Flink's JobManager says {answer.status} to http://{address}{path}: {found}")
    return found


def free_slots(address: str) -> int:
    """Slots that no job holds."""
    return int(ask(address, "/overview")["slots-available"])


def flink_jobs(address: str) -> list[FlinkJob]:
    """Every job that the JobManager remembers."""
    return [FlinkJob(j["jid"], j["name"], j["state"], j["duration"] / 1000) for j in ask(address, "/jobs/overview")["jobs"]]


def counters(address: str, job: str, namespace: str) -> dict[str, int]:
    """Beam's counters in `namespace` so far, added up over the steps: those of the bundles that are finished."""
    found: dict[str, int] = {}
    for accumulator in ask(address, f"/jobs/{job}/accumulators")["user-task-accumulators"]:
        if accumulator["name"] == "__metricscontainers":
            for info in json.loads(accumulator["value"])["metrics"].get("attempted", []):
                if info["urn"] == SUM and info["labels"]["NAMESPACE"] == namespace:
                    name = info["labels"]["NAME"]
                    found[name] = found.get(name, 0) + _varint(base64.b64decode(info["payload"]))
    return found


def failure(address: str, job: str) -> str:
    """What the job's tasks failed with last, as text; empty if nothing has failed."""
    history = ask(address, f"/jobs/{job}/exceptions?maxExceptions=1")["exceptionHistory"]["entries"]
    return str(history[0]["stacktrace"]) if history else ""


def first_failure(address: str, job: str) -> datetime | None:
    """When tasks of the job failed first, by the JobManager's clock; None if nothing has, the beginning of time where it forgot. Raises WorldError."""
    history = ask(address, f"/jobs/{job}/exceptions?maxExceptions={KEPT}")["exceptionHistory"]
    failed = [entry["timestamp"] for entry in history["entries"]]
    if not failed:
        return None
    return datetime.fromtimestamp(0 if history["truncated"] or len(failed) >= KEPT else min(failed) / 1000, timezone.utc)


def not_started(address: str, job: str) -> tuple[str, float]:
    """The task that has waited longest for its first record, and for how many seconds; ("", 0) if there is none.

    It runs, and all that it reads from is finished: records are there for it, and its SDK worker is yet to take up its work.
    """
    found = ask(address, f"/jobs/{job}")
    vertices = {v["id"]: v for v in found["vertices"]}
    waiting = [("", 0.0)]
    for node in found["plan"]["nodes"]:
        inputs = [vertices[i["id"]]["status"] for i in node.get("inputs", [])]
        if inputs and set(inputs) == {"FINISHED"} and vertices[node["id"]]["tasks"]["RUNNING"]:
            tasks = ask(address, f"/jobs/{job}/vertices/{node['id']}")["subtasks"]
            idle = [t["duration"] / 1000 for t in tasks if t["status"] == "RUNNING" and _has_read_nothing(t["metrics"])]
            waiting += [(vertices[node["id"]]["name"], seconds) for seconds in idle]
    return max(waiting, key=lambda task: task[1])


def _has_read_nothing(metrics: Mapping[str, Any]) -> bool:
    """Whether Flink knows of a task that it has read no record; as long as it knows nothing of it, it says 0 as well."""
    return bool(metrics["read-records-complete"]) and metrics["read-records"] == 0


def cancel(address: str, job: str) -> None:
    """Ask the JobManager to cancel the job."""
    ask(address, f"/jobs/{job}?mode=cancel", "PATCH")


def _varint(data: bytes) -> int:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    return sum((byte & 127) << (7 * i) for i, byte in enumerate(data))
