"""A pipeline on other machines, as its launcher sees it: state and counters while it runs, who holds the slots, and how it is cancelled."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions

from jobs.flink.rest import HOLDING, FlinkJob, cancel, counters, failure, first_failure, flink_jobs, free_slots, not_started
from pipelines.metrics import NAMESPACE
from schemas.errors import JobError, WarpbeamError, WorldError

POLL_S = 2.0
COUNT_S = 10.0
CANCEL_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 10.0
START_S = "WARPBEAM_WORKER_START_S"  # an environment variable: how long an SDK worker may take until it takes up its work
DEFAULT_START_S = 900.0  # Beam itself gives up after three minutes where it can tell, and tries again
STUCK = f"it died as it started, or cannot start; the workers' logs say more. Run it again, or allow more with {START_S}"
OURS = "JobError:"  # in the text of a failure: no second try will mend it


@dataclass(frozen=True)
class Service:
    """Where a runner's jobs are to be asked about, from Beam's own flags."""

    job_endpoint: str = ""  # host:port of Beam's job server
    flink: str = ""  # host:port of Flink's JobManager
    parallelism: int = 1

    @staticmethod
    def of(beam_args: Sequence[str]) -> "Service":
        """The service that the flags name; empty addresses where they name none."""
        options = PipelineOptions(list(beam_args))
        flink = options.view_as(FlinkRunnerOptions)
        master = (flink.flink_master or "").removeprefix("http://").rstrip("/")
        endpoint = options.view_as(PortableOptions).job_endpoint or ""
        return Service("" if endpoint == "embed" else endpoint, "" if master.startswith("[") else master, max(1, flink.parallelism))

    @property
    def flags(self) -> str:
        """The flags that find it again."""
        return " ".join(f"--{name}={value}" for name, value in (("flink_master", self.flink), ("job_endpoint", self.job_endpoint)) if value)

    def holders(self) -> list[FlinkJob]:
        """The jobs that have or want slots; Beam's job server knows only those that it started itself. Raises WorldError."""
        if self.flink:
            return [job for job in flink_jobs(self.flink) if job.state in HOLDING]
        return list(self._served()) if self.job_endpoint else []

    def cancel(self, job: str) -> None:
        """Cancel a job of `holders`, and wait until it has gone. Raises JobError (no such job), WorldError."""
        if not any(h.id == job for h in self.holders()):
            raise JobError(f"no job {job} runs there; there are: {', '.join(h.id for h in self.holders()) or 'none'}")
        if self.flink:
            cancel(self.flink, job)
        else:
            self._call("Cancel", "CancelJobRequest", job_id=job)
        end = time.monotonic() + CANCEL_TIMEOUT_S
        while any(h.id == job for h in self.holders()):
            if time.monotonic() > end:
                raise WorldError(f"job {job} was told to end, and still has not after {CANCEL_TIMEOUT_S:.0f} s")
            time.sleep(0.5)

    def _served(self) -> Iterator[FlinkJob]:
        from apache_beam.portability.api import beam_job_api_pb2

        for job in self._call("GetJobs", "GetJobsRequest").job_info:
            state = beam_job_api_pb2.JobState.Enum.Name(job.state)
            if state in ("STARTING", "RUNNING", "UPDATING", "CANCELLING", "DRAINING"):
                yield FlinkJob(job.job_id, job.job_name, state, 0.0)

    def _call(self, method: str, request: str, **fields: str) -> Any:
        import grpc
        from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

        with closing(grpc.insecure_channel(self.job_endpoint)) as channel:
            stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
            try:
                return getattr(stub, method)(getattr(beam_job_api_pb2, request)(**fields), timeout=ASK_TIMEOUT_S)
            except grpc.RpcError as error:
                raise WorldError(f"Beam's job server does not answer at {self.job_endpoint}: {error.code().name}") from error

    def waits_for(self) -> str:
        """A sentence about older jobs that hold the slots; empty if there are enough. Raises WorldError."""
        holders = self.holders()
        if not holders or (self.flink and free_slots(self.flink) >= self.parallelism):
            return ""
        named = ", ".join(f"{job.name} ({job.state}" + (f" for {job.seconds:,.0f} s)" if job.seconds else ")") for job in holders)
        return f"this job waits for slots: {named} has them. To cancel it: warpbeam cancel {holders[0].id} -- {self.flags}"


@dataclass
class Remote:
    """One job that was submitted."""

    service: Service
    result: Any  # Beam's
    polled: float = 0.0
    state: str = "STARTING"
    job: FlinkJob | None = None
    found: dict[str, int] = field(default_factory=dict)
    why: str = ""  # the failure for which it was cancelled
    count: Callable[[], int] | None = None  # the collection's objects; Flink's counters stand still while a bundle runs
    counted: float = 0.0
    objects: int | None = None

    @property
    def id(self) -> str:
        """What the service calls it: Flink's own id where its JobManager is asked."""
        if self.job is None:  # nobody has asked yet
            with suppress(WorldError, KeyError, ValueError):
                self._poll()
        if self.job is not None:
            return self.job.id
        own = getattr(self.result, "_job_id", "") or getattr(self.result, "job_id", "")
        return str(own() if callable(own) else own)

    def counters(self) -> dict[str, int]:
        """The counters so far, at most two seconds old; the last known ones while the service does not answer."""
        if self.count is not None and time.monotonic() - self.counted > COUNT_S:
            with suppress(WarpbeamError):
                self.objects = self.count()
            self.counted = time.monotonic()
        if time.monotonic() - self.polled > POLL_S:
            with suppress(WorldError, KeyError, ValueError):
                self._poll()
            self.polled = time.monotonic()
        return self.found

    def told(self) -> str:
        """Its state, and how far the collection is."""
        return self.state + (f", {self.objects:,} objects in the collection" if self.objects is not None else "")

    def _poll(self) -> None:
        if not self.service.flink:
            return
        beam_id = str(getattr(self.result, "_job_id", ""))
        self.job = next((j for j in flink_jobs(self.service.flink) if j.name and beam_id.startswith(f"{j.name}_")), self.job)
        if self.job is not None:
            self.state = self.job.state
            self.found = counters(self.service.flink, self.job.id, NAMESPACE) or self.found
            self._stop_if_wrong(self.service.flink, self.job)
            self._stop_if_stuck(self.service.flink, self.job)

    def _stop_if_wrong(self, flink: str, job: FlinkJob) -> None:
        """A wrong job stays wrong: the restart strategy need not try it again."""
        if job.state in ("RESTARTING", "FAILING", "RUNNING") and OURS in failure(flink, job.id):
            self.why = failure(flink, job.id)
            cancel(flink, job.id)

    def _stop_if_stuck(self, flink: str, job: FlinkJob) -> None:
        """Flink waits without an end for some workers that died as they started, or cannot start."""
        limit = float(os.environ.get(START_S) or DEFAULT_START_S)
        if self.why or job.state != "RUNNING" or job.seconds < limit:
            return
        task, seconds = not_started(flink, job.id)
        if seconds > limit:
            self.why = f"WorldError: no SDK worker took up its work in {seconds:,.0f} s ({task[:60]} waits): {STUCK}"
            cancel(flink, job.id)

    def broke(self) -> datetime | None:
        """When workers or tasks of it were lost first; None if none were, or nobody can be asked. Raises WorldError."""
        return first_failure(self.service.flink, self.id) if self.service.flink and self.id and self.job is not None else None

    def cancel(self) -> None:
        """Cancel it, and wait until it has gone. Raises JobError (it has gone already), WorldError."""
        if self.service.flink or self.service.job_endpoint:
            self.service.cancel(self.id)
        else:
            self.result.cancel()

    def leave(self) -> str:
        """What is said when its launcher goes away and it stays."""
        return f"The job goes on. To cancel it: warpbeam cancel {shlex.quote(self.id)} -- {self.service.flags}"
