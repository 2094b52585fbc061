"""A pipeline from start to end: run in a thread while its progress is shown, its counters, and what stopped it."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from jobs.progress import Tally, watch
from pipelines.load import Plan, build
from pipelines.metrics import NAMESPACE, live, reset
from schemas.errors import JobError, WarpbeamError, WorldError

LOCAL = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@dataclass
class Outcome:
    """How the pipeline ended: its counters, and what stopped it, if anything."""

    counters: dict[str, int] = field(default_factory=dict)
    error: BaseException | None = None


def executed(plan: Plan, beam_args: Sequence[str], console: Console, quiet: bool) -> Outcome:
    """Run the pipeline in a thread, and show how it goes."""
    outcome = Outcome()
    reset()

    def work() -> None:
        try:
            with _CalmLogs():
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


class _CalmLogs:
    """Beam's chatter below a warning is for its developers; a failing bundle is told once, by us."""

    def __enter__(self) -> None:
        self.loggers = [logging.getLogger(n) for n in ("apache_beam", "root", "httpx", "sentence_transformers")]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.CRITICAL if logger.name == "apache_beam" else logging.WARNING)

    def __exit__(self, *exc: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


def _options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's own options, after `--`; without a runner, the one in this process."""
    local = [f"--runner={LOCAL}", "--direct_running_mode=multi_threading", f"--direct_num_workers={local_workers()}"]
    return PipelineOptions([*([] if names_runner(beam_args) else local), *beam_args])


def names_runner(beam_args: Sequence[str]) -> bool:
    """Whether Beam's own flags choose a runner."""
    return any(a.startswith("--runner") for a in beam_args)


def local_workers() -> int:
    """Threads of the local runner: one encodes while another reads or writes; more only where there are cores for them."""
    return max(2, min(8, (os.cpu_count() or 2) // 2))


def counters_of(result: Any) -> dict[str, int]:
    """Warpbeam's own counters of a finished pipeline, added up over its steps."""
    counters: dict[str, int] = {}
    for metric in result.metrics().query()["counters"]:
        if metric.key.metric.namespace == NAMESPACE:
            name = metric.key.metric.name
            counters[name] = counters.get(name, 0) + (metric.committed or metric.attempted or 0)
    return counters


def problem_of(error: BaseException | None) -> WarpbeamError | None:
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
