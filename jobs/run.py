"""`warpbeam run`: examine the job, create the collection if it is missing, load, report."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from rich.console import Console
from rich.markup import escape

from jobs.check import counted, tell_faults
from jobs.examine import Findings, examined
from jobs.execute import executed, local_workers, names_runner, problem_of
from jobs.incremental import is_tracked, recipes_of, tracked, tracking_properties
from jobs.report import Report, finish, tell_report
from jobs.sample import take_sample
from pipelines.load import Plan
from pipelines.sources import Shard
from pipelines.targets.weaviate import WeaviateTarget
from schemas.columns import Rejection
from schemas.fingerprints import STORED, STORED_JOB
from schemas.job import Job

LOCAL_SPREAD_BYTES = 256 << 20  # the local runner holds what it reshuffles in memory


def run(job: Job, console: Console, limit: int | None = None, beam_args: Sequence[str] = (), as_json: bool = False) -> int:
    """Load; the exit code: 0 done, 1 too many rows failed, 2 the job is wrong, 3 the world is."""
    started = datetime.now(timezone.utc)

    def say(text: str) -> None:
        if not as_json:
            console.print(text, highlight=False)

    say("Looking at the job: source, server, models …")
    with examined(job) as found:
        if found.layout is not None and not found.away:
            found.attempt(lambda: take_sample(found))
        if not found.exit_code:
            for remark in found.remarks:
                say(f"Note: {escape(remark)}")
            found.attempt(lambda: _created(found, say))
        if found.exit_code:
            tell_faults(console, found.faults, found.away, as_json)
            return found.exit_code
        plan = plan_of(found, limit, beam_args)
    say(_sentence(plan))
    outcome = executed(plan, beam_args, console, as_json)
    report = finish(Report(plan, started, outcome.counters, problem_of(outcome.error)))
    tell_report(console, report, as_json)
    return report.exit_code


def _created(found: Findings, say: Callable[[str], None]) -> None:
    """Make the collection, or give it the two properties with which objects remember what made them, if the job says so."""
    assert found.target and found.collection
    incremental, definition = found.job.target.incremental, found.collection.definition
    if found.creates:
        found.collection = found.target.create(definition if incremental is False else tracked(definition))
        say(f"Made collection {found.collection.name} from {found.job.target.create}.")
    elif incremental and not is_tracked(found.collection):
        found.collection = found.target.add_properties(tracking_properties(definition))
        say(f"Collection {found.collection.name} has the properties {STORED} and {STORED_JOB} now.")


def plan_of(found: Findings, limit: int | None = None, beam_args: Sequence[str] = ()) -> Plan:
    """The plan of a run, from findings without faults."""
    assert found.source and found.layout and found.collection
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    job = found.job
    failures = f"{job.resolve(job.failures.path).rstrip('/')}/{run_id}"
    shards = limited(found, limit) if limit is not None else found.shards
    zero_allowed = frozenset(n for n, v in found.collection.vectors.items() if v.distance != "cosine")
    target = WeaviateTarget(job.target, found.collection, job.name or "")
    plan = Plan(job, found.source, target, found.layout, shards, failures, f"{failures}/notes")
    return replace(
        plan,
        reshuffle=_too_few(shards, beam_args),
        zero_allowed=zero_allowed,
        recipes=recipes_of(job, found.collection),
        dims=found.dims,
        unique_keys=job.source.files is not None,
    )


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
    return few and (names_runner(beam_args) or sum(s.size for s in shards) <= LOCAL_SPREAD_BYTES)


def _sentence(plan: Plan) -> str:
    rows = [s.rows for s in plan.shards]
    known = f"{sum(r or 0 for r in rows):,} rows" if None not in rows else "rows"
    spread = "; few shards, so batches are spread over the workers" if plan.reshuffle else ""
    return f"Loading {known} in {counted(len(plan.shards), 'shard')} into {plan.job.target.collection}{spread}."
