"""What Flink's JobManager says over its REST interface: slots, the jobs that hold them, their counters and failures."""

import base64
import json
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from schemas.errors import WorldError

TIMEOUT_S = 5
HOLDING = ("INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING")  # states of a job that has or wants slots
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


def cancel(address: str, job: str) -> None:
    """Ask the JobManager to cancel the job."""
    ask(address, f"/jobs/{job}?mode=cancel", "PATCH")


def _varint(data: bytes) -> int:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    return sum((byte & 127) << (7 * i) for i, byte in enumerate(data))
