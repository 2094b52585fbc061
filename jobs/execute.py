"""A pipeline from start to end: run in a thread while its progress is shown, its counters, and what stopped it."""

import logging
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import PurePosixPath
from threading import Thread
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult
from rich.console import Console
from rich.markup import escape

from encoders.threads import usable_cores
from jobs.local_runner import local_runner
from jobs.progress import Tally, watch
from jobs.remote import Remote, Service
from pipelines.load import Plan, build
from pipelines.metrics import NAMESPACE, live, reset
from pipelines.targets.weaviate import WeaviateTarget
from schemas.errors import JobError, WarpbeamError, WorldError

EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b.*: ")
SIGNS = (  # what runners and workers say -> whose fault it is, and what would be right
    (
        "No module named",
        JobError,
        "the workers cannot import what the job needs ({}): install Warpbeam with the extras of this job in the workers' environment or image, or stage it with --setup_file",
    ),
    (
        "CANCELLED: call already cancelled",
        WorldError,
        "an SDK worker died, and Beam went on with the dead one ({}): let the restart strategy wait longer than --environment_cache_millis",
    ),
    ("NoResourceAvailable", WorldError, "Flink had no free slots for the job: {}; other jobs may hold them, or TaskManagers are missing"),
    ("in state CANCELLED", WorldError, "the job was cancelled over there ({})"),
    ("failed to connect to all addresses", WorldError, "the job server does not answer: {}"),
    (
        "StatusCode.UNAVAILABLE",
        WorldError,
        "Beam's job server went away ({}); the job may go on over there: the next run names it, with the command that cancels it",
    ),
)


@dataclass
class Outcome:
    """How the pipeline ended: its counters, and what stopped it, if anything."""

    counters: dict[str, int] = field(default_factory=dict)
    error: BaseException | None = None
    remote: Remote | None = None  # the job on other machines, as soon as it is submitted
    broke: datetime | None = None  # when its workers were lost first, if any were

    def live(self) -> dict[str, int]:
        """The counters so far: this process's own, or those that the service tells."""
        return live() if self.remote is None else self.remote.counters()

    def state(self) -> str | None:
        """What the service says of the job there; None for one in this process."""
        return self.remote.told() if self.remote else None


def executed(plan: Plan, beam_args: Sequence[str], console: Console, quiet: bool) -> Outcome:
    """Run the pipeline in a thread, and show how it goes. Raises KeyboardInterrupt on Ctrl-C, with what becomes of a job elsewhere."""
    outcome = Outcome()
    reset()
    _tell_holders(beam_args, console, quiet)
    thread = Thread(target=_work, args=(plan, beam_args, outcome), name="pipeline", daemon=True)
    thread.start()
    rows = [s.rows for s in plan.shards]
    total = sum(r for r in rows if r is not None) if None not in rows else None
    tally = Tally(outcome.live, total, [n for n, v in plan.job.vectors.items() if v.model], outcome.state)
    try:
        watch(thread, tally, Console(quiet=True) if quiet else console)
    except KeyboardInterrupt:
        if outcome.remote is None:
            raise
        raise KeyboardInterrupt(leave(outcome.remote, console)) from None
    finally:
        plan.target.close()  # it counted the collection's objects
    return outcome


def started(plan: Plan, beam_args: Sequence[str]) -> PipelineResult:
    """The pipeline of `plan`, on its way: in this process, or where Beam's flags say."""
    runner = None if names_runner(beam_args) else local_runner()
    pipeline = beam.Pipeline(runner=runner, options=options_of(beam_args, PurePosixPath(plan.failures).name))
    build(pipeline, plan)
    return pipeline.run()


def _work(plan: Plan, beam_args: Sequence[str], outcome: Outcome) -> None:
    """The pipeline from start to end."""
    try:
        with _CalmLogs():
            result = started(plan, beam_args)
            if names_runner(beam_args):
                count = plan.target.count if isinstance(plan.target, WeaviateTarget) and not plan.job.target.tenant else None
                outcome.remote = Remote(Service.of(beam_args), result, count=count)
            result.wait_until_finish()
        outcome.counters = counters_of(result)
        outcome.broke = outcome.remote.broke() if outcome.remote else None
    except BaseException as error:
        why = outcome.remote.why if outcome.remote else ""
        outcome.error, outcome.counters = RuntimeError(why) if why else error, outcome.live()


def _tell_holders(beam_args: Sequence[str], console: Console, quiet: bool) -> None:
    """Say who has the slots that this job waits for, where that can be asked."""
    with suppress(WorldError):  # the runner says so itself, if nobody is there
        if not quiet and (waits := Service.of(beam_args).waits_for()):
            console.print(f"Note: {escape(waits)}", highlight=False)


def leave(remote: Remote, console: Console) -> str:
    """Ask whether the job is to end with its launcher, and do so; without a terminal it stays. Gives what became of it."""
    if console.is_terminal and sys.stdin.isatty() and _says_yes(console, "Cancel the job over there too? [y/N] "):
        try:
            remote.cancel()
            return f"The job {remote.id} is cancelled. What was written stays; run the job again to go on."
        except WarpbeamError as error:
            return f"{error}\n{remote.leave()}"
    return remote.leave()


def _says_yes(console: Console, question: str) -> bool:
    """Whether the answer is yes; a second Ctrl-C, or the end of the input, is none."""
    try:
        return console.input(question, markup=False).strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        console.print()
        return False


class _CalmLogs:
    """Beam's chatter below a warning is for its developers; a failing bundle is told once, by us."""

    def __enter__(self) -> None:
        self.loggers = [logging.getLogger(n) for n in ("apache_beam", "root", "httpx", "sentence_transformers")]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.CRITICAL if logger.name in ("apache_beam", "root") else logging.WARNING)
        _hush_messages()

    def __exit__(self, *exc: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)


@cache
def _hush_messages() -> None:
    """Have the thread with which Beam reads a job's messages end without a stack: its error stops the run and is told there, sometimes before."""
    hook = threading.excepthook

    def told_elsewhere(failed: threading.ExceptHookArgs) -> None:
        if failed.thread is None or not failed.thread.name.startswith("wait_until_finish"):
            hook(failed)

    threading.excepthook = told_elsewhere


def options_of(beam_args: Sequence[str], run: str) -> PipelineOptions:
    """Beam's own options, after `--`; without a runner, the one in this process. Elsewhere the job is named after its run."""
    local = [f"--direct_num_workers={local_workers()}"]
    named = [f"--job_name=warpbeam-{run.lower()}"]
    return PipelineOptions([*(named if names_runner(beam_args) else local), *beam_args])


def names_runner(beam_args: Sequence[str]) -> bool:
    """Whether Beam's own flags choose a runner."""
    return any(a.startswith("--runner") for a in beam_args)


def local_workers(cores: int | None = None) -> int:
    """Threads of the local runner: one encodes while another reads or writes; more only where there are cores for them (those of this process)."""
    return max(2, min(8, (cores or usable_cores()) // 2))


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
    for line in reversed(lines):
        for sign, kind, sentence in SIGNS:
            if sign in line:
                return kind(sentence.format(line[line.index(sign) :]))
    return WorldError(f"the pipeline stopped: {_telling(lines)}")


def _telling(lines: Sequence[str]) -> str:
    """The line that says most: a Python exception's own, else the last."""
    named = [line for line in lines if EXCEPTION.match(line)]
    return (named or lines)[-1]
