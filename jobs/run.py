"""`warpbeam run`: examine the job, create the collection if it is missing, load, report."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from rich.console import Console
from rich.markup import escape

from jobs.adoption import prove_adoption
from jobs.chosen import Chosen, chosen_rows
from jobs.dataflow import check_dataflow
from jobs.deletes import Deletion, delete, deletion
from jobs.examine.findings import Findings, examined
from jobs.examine.loss import measure_losses
from jobs.examine.sample import take_sample
from jobs.execute import Outcome, executed, local_workers, names_runner, problem_of
from jobs.incremental import is_tracked, recipes_of, tracked, tracking_properties
from jobs.open_run import OpenRun
from jobs.remote import Service
from jobs.report import Report, finish, tell_report
from jobs.submit import submit
from jobs.telling import Say, counted, speaker, tell_faults
from pipelines.load import Plan
from pipelines.sources import Shard
from pipelines.targets.weaviate import WeaviateTarget
from schemas.errors import WarpbeamError
from schemas.fingerprints import STORED, STORED_JOB
from schemas.job import Job

LOCAL_SPREAD_BYTES = 64 << 20  # the local runner holds what it reshuffles in memory, ten times over


@dataclass(frozen=True)
class Options:
    """What of the source a run takes, and how."""

    limit: int | None = None  # the first so many rows
    only: str | None = None  # the folder of failures whose rows are taken again
    adopt: bool = False  # objects that others loaded are taken over without encoding
    wait: bool = True  # for the end; a template's launcher only hands the pipeline over


def run(job: Job, console: Console, options: Options = Options(), beam_args: Sequence[str] = (), as_json: bool = False) -> int:
    """Load; the exit code: 0 done, 1 too many rows failed, 2 the job is wrong, 3 the world is."""
    started = datetime.now(timezone.utc)
    say = speaker(console, as_json)
    check_dataflow(job, beam_args)
    say("Looking at the job: source, server, models …")
    WeaviateTarget(job.target).get_ready()
    with examined(job) as found:
        if found.layout is not None and not found.away:
            sample = found.attempt(lambda: take_sample(found))
            if sample is not None and not found.exit_code:
                found.attempt(lambda: measure_losses(found, sample))
            if options.adopt and sample is not None and not found.exit_code:
                found.attempt(lambda: prove_adoption(found, sample))
        chosen = found.attempt(lambda: chosen_rows(found, options.limit, options.only)) if not found.exit_code else None
        if not found.exit_code:
            for remark in found.remarks:
                say(f"Note: {remark}")
            found.attempt(lambda: _created(found, say))
        if found.exit_code:
            tell_faults(console, found.faults, found.away, as_json)
            return found.exit_code
        plan = plan_of(found, chosen, beam_args, options.adopt)
        say(_sentence(plan))
        if not options.wait:
            return submit(found, plan, beam_args, say)
        outcome = loaded(found, plan, beam_args, console, as_json)
        refused = _deleted(found, plan, outcome, options) if outcome.error is None else None
    report = finish(Report(plan, started, outcome.counters, problem_of(outcome.error), refused=refused, losses=found.losses))
    tell_report(console, report, as_json)
    if refused and not as_json:
        console.print(f"[bold red]Deletes: {escape(refused)}[/]", highlight=False)
    return report.exit_code


def loaded(found: Findings, plan: Plan, beam_args: Sequence[str], console: Console, quiet: bool) -> Outcome:
    """Run the pipeline between the mark of an open run and its end; what stops it is in the outcome."""
    try:
        run = OpenRun(found, speaker(console, quiet), not names_runner(beam_args))
        run.begin()
    except WarpbeamError as error:
        return Outcome(error=error)
    with run.beating():
        outcome = executed(plan, beam_args, console, quiet)
    if outcome.error is None:
        try:
            run.end(outcome.counters, outcome.broke)
        except WarpbeamError as error:
            outcome.error = error
    return outcome


def _deleted(found: Findings, plan: Plan, outcome: Outcome, options: Options) -> str | None:
    """Delete what is to go after a load without an error; the sentence that says why nothing may go, if so."""
    try:
        chosen = deletion(found, plan.marked, options.limit is not None or options.only is not None)
        outcome.counters["objects/deleted"] = delete(found, chosen)
        _count_marked(outcome, chosen)
    except WarpbeamError as error:
        outcome.error = error
        return None
    return chosen.refused


def _count_marked(outcome: Outcome, chosen: Deletion) -> None:
    """A marked row is loaded if something was deleted for it, and otherwise unchanged: nothing was there."""
    marked = outcome.counters.get("rows/marked", 0)
    done = min(marked, chosen.rows)
    outcome.counters["rows/loaded"] = outcome.counters.get("rows/loaded", 0) + done
    outcome.counters["rows/unchanged"] = outcome.counters.get("rows/unchanged", 0) + marked - done


def _created(found: Findings, say: Say) -> None:
    """Make the collection, or give it the two properties with which objects remember what made them, if the job says so."""
    assert found.target and found.collection
    incremental, definition = found.job.target.incremental, found.collection.definition
    if found.creates:
        found.collection = found.target.create(definition if incremental is False else tracked(definition))
        say(f"Made collection {found.collection.name} from {found.job.target.create}.")
    elif incremental and not is_tracked(found.collection):
        found.collection = found.target.add_properties(tracking_properties(definition))
        say(f"Collection {found.collection.name} has the properties {STORED} and {STORED_JOB} now.")


def plan_of(found: Findings, chosen: Chosen | None = None, beam_args: Sequence[str] = (), adopt: bool = False) -> Plan:
    """The plan of a run, from findings without faults; all rows where none were chosen."""
    assert found.source and found.layout and found.collection
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    job = found.job
    failures = f"{job.resolve(job.failures.path).rstrip('/')}/{run_id}"
    chosen = chosen or Chosen(found.shards)
    shards = chosen.shards
    zero_allowed = frozenset(n for n, v in found.collection.vectors.items() if v.distance != "cosine")
    target = WeaviateTarget(job.target, found.collection, job.name or "")
    plan = Plan(job, found.source, target, found.layout, shards, failures, f"{failures}/notes")
    return replace(
        plan,
        marked=f"{failures}/marked",
        reshuffle=_too_few(job, shards, beam_args),
        zero_allowed=zero_allowed,
        recipes=recipes_of(job, found.collection),
        dims=found.dims,
        only=chosen.only,
        adopt=adopt,
        fresh=found.creates and not names_runner(beam_args),
        unique_keys=job.source.files is not None,
    )


def _too_few(job: Job, shards: Sequence[Shard], beam_args: Sequence[str]) -> bool:
    """Whether batches must be spread over the workers: fewer than four shards a worker.

    In this process only where it pays: models have something to do, and the runner can hold the source.
    """
    few = len(shards) < 4 * max(local_workers(), Service.of(beam_args).parallelism)
    encodes = any(v.model for v in job.vectors.values())
    return few and (names_runner(beam_args) or (encodes and sum(s.size for s in shards) <= LOCAL_SPREAD_BYTES))


def _sentence(plan: Plan) -> str:
    rows = [s.rows for s in plan.shards]
    known = f"{sum(r or 0 for r in rows):,} rows" if None not in rows else "rows"
    spread = "; few shards, so batches are spread over the workers" if plan.reshuffle else ""
    return f"Loading {known} in {counted(len(plan.shards), 'shard')} into {plan.job.target.collection}{spread}."
