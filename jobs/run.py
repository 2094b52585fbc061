"""`warpbeam run`: examine the job, create the collection if it is missing, load, report."""

import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from threading import Thread
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from rich.console import Console

from jobs.check import tell_faults
from jobs.examine import Findings, examined
from jobs.progress import Tally, watch
from jobs.report import Report, finish, tell_report
from jobs.sample import take_sample
from pipelines.load import Plan, build
from pipelines.metrics import NAMESPACE, live, reset
from pipelines.sources import Shard
from pipelines.targets.weaviate import WeaviateTarget
from schemas.columns import Rejection
from schemas.errors import JobError, WarpbeamError, WorldError
from schemas.job import Job

LOCAL = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
LOCAL_SPREAD_BYTES = 256 << 20  # the local runner holds what it reshuffles in memory


@dataclass
class Outcome:
    """How the pipeline ended: its counters, and what stopped it, if anything."""

    counters: dict[str, int] = field(default_factory=dict)
    error: BaseException | None = None


def run(job: Job, console: Console, limit: int | None = None, beam_args: Sequence[str] = (), as_json: bool = False) -> int:
    """Load; the exit code: 0 done, 1 too many rows failed, 2 the job is wrong, 3 the world is."""
    started = datetime.now(timezone.utc)
    say = (lambda text: None) if as_json else (lambda text: console.print(text, highlight=False))
    say("Looking at the job: source, server, models …")
    with examined(job) as found:
        if found.layout is not None and not found.away:
            found.attempt(lambda: take_sample(found))
        if not found.exit_code:
            found.attempt(lambda: _created(found, say))
        if found.exit_code:
            tell_faults(console, found.faults, found.away, as_json)
            return found.exit_code
        plan = plan_of(found, limit, beam_args)
    say(_sentence(plan))
    outcome = _executed(plan, beam_args, console, as_json)
    report = finish(Report(plan, started, outcome.counters, _problem(outcome.error)))
    tell_report(console, report, as_json)
    return report.exit_code


def _created(found: Findings, say: Any) -> None:
    assert found.target and found.collection
    if found.creates:
        found.collection = found.target.create(found.collection.definition)
        say(f"Made collection {found.collection.name} from {found.job.target.create}.")


def plan_of(found: Findings, limit: int | None = None, beam_args: Sequence[str] = ()) -> Plan:
    """The plan of a run, from findings without faults."""
    assert found.source and found.layout and found.collection
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    job = found.job
    failures = f"{job.resolve(job.failures.path).rstrip('/')}/{run_id}"
    shards = limited(found, limit) if limit is not None else found.shards
    zero_allowed = frozenset(n for n, v in found.collection.vectors.items() if v.distance != "cosine")
    plan = Plan(job, found.source, WeaviateTarget(job.target, found.collection), found.layout, shards, failures, f"{failures}/notes")
    return replace(plan, reshuffle=_too_few(shards, beam_args), zero_allowed=zero_allowed, unique_keys=job.source.files is not None)


def limited(found: Findings, limit: int) -> list[Shard]:
    """The first shards that together have `limit` rows, the last one cut short."""
    assert found.source and found.layout
    chosen: list[Shard] = []
    for shard in found.shards:
        if limit <= 0:
            break
        rows = shard.rows
        if rows is None:
            items = found.source.read(replace(shard, limit=limit), found.layout.id_columns)
            rows = sum(1 if isinstance(i, Rejection) else i.num_rows for i in items)
        chosen.append(replace(shard, limit=min(limit, rows), rows=min(limit, rows)))
        limit -= rows
    return chosen


def _too_few(shards: Sequence[Shard], beam_args: Sequence[str]) -> bool:
    """Whether batches must be spread over the workers: fewer than four shards a worker, and no more than the local runner can hold."""
    few = len(shards) < 4 * local_workers()
    return few and (_names_runner(beam_args) or sum(s.size for s in shards) <= LOCAL_SPREAD_BYTES)


def local_workers() -> int:
    """Threads of the local runner: one encodes while another reads or writes; more only where there are cores for them."""
    return max(2, min(8, (os.cpu_count() or 2) // 2))


def _names_runner(beam_args: Sequence[str]) -> bool:
    return any(a.startswith("--runner") for a in beam_args)


def _options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's own options, after `--`; without a runner, the one in this process."""
    local = [f"--runner={LOCAL}", "--direct_running_mode=multi_threading", f"--direct_num_workers={local_workers()}"]
    options = PipelineOptions([*([] if _names_runner(beam_args) else local), *beam_args])
    options.view_as(StandardOptions)  # refuses values that no runner knows
    return options


def _executed(plan: Plan, beam_args: Sequence[str], console: Console, quiet: bool) -> Outcome:
    """Run the pipeline in a thread, and show how it goes."""
    outcome = Outcome()
    reset()

    def work() -> None:
        try:
            with _calm_logs():
                pipeline = beam.Pipeline(options=_options(beam_args))
                build(pipeline, plan)
                result = pipeline.run()
                result.wait_until_finish()
            outcome.counters = counters_of(result)
        except BaseException as error:
            outcome.error, outcome.counters = error, live()

    thread = Thread(target=work, name="pipeline", daemon=True)
    thread.start()
    rows = [s.rows for s in plan.shards]
    total = sum(r for r in rows if r is not None) if None not in rows else None
    tally = Tally(live, total, [n for n, v in plan.job.vectors.items() if v.model])
    watch(thread, tally, Console(quiet=True) if quiet else console)
    return outcome


class _calm_logs:  # noqa: N801  (a context manager reads like a function)
    """Beam's chatter below a warning is for its developers; a failing bundle is told once, by us."""

    def __enter__(self) -> None:
        self.loggers = [logging.getLogger(n) for n in ("apache_beam", "root", "httpx", "sentence_transformers")]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.CRITICAL if logger.name == "apache_beam" else logging.WARNING)

    def __exit__(self, *exc: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


def counters_of(result: Any) -> dict[str, int]:
    """Warpbeam's own counters of a finished pipeline, added up over its steps."""
    counters: dict[str, int] = {}
    for metric in result.metrics().query()["counters"]:
        if metric.key.metric.namespace == NAMESPACE:
            name = metric.key.metric.name
            counters[name] = counters.get(name, 0) + (metric.committed or metric.attempted or 0)
    return counters


def _problem(error: BaseException | None) -> WarpbeamError | None:
    """What stopped the pipeline, as one of our errors: Beam wraps what a stage raises."""
    while error is not None and not isinstance(error, WarpbeamError):
        inner = error.__cause__ or error.__context__
        if inner is None:
            return _from_text(error)
        error = inner
    return error


def _from_text(error: BaseException) -> WarpbeamError:
    """Beam sends a worker's exception as text; its last line names the class and what it said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    for line in reversed(lines):
        for kind in (JobError, WorldError):
            if f"{kind.__name__}:" in line:
                return kind(line.split(f"{kind.__name__}:", 1)[1].strip())
    return WorldError(f"the pipeline stopped: {lines[-1]}")


def _sentence(plan: Plan) -> str:
    rows = [s.rows for s in plan.shards]
    known = f"{sum(r or 0 for r in rows):,} rows" if None not in rows else "rows"
    spread = "; few shards, so batches are spread over the workers" if plan.reshuffle else ""
    return f"Loading {known} in {len(plan.shards):,} shards into {plan.job.target.collection}{spread}."


