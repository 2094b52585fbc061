"""`warpbeam verify`: does the collection hold what the source says, and does it answer with it? Reads only, unless told to repair."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from rich.console import Console

from jobs.examine.findings import Findings, examined, with_server
from jobs.examine.sample import take_sample
from jobs.incremental import recipes_of
from jobs.telling import Say, speaker, tell_faults
from jobs.verify.checks import indexed_check, missing_check, source_check, stale_check, surplus_check
from jobs.verify.findings import Check, Wrong
from jobs.verify.ids import collection_ids, source_ids, tenants_of
from jobs.verify.objects import Pass, look_at_objects, wanted
from jobs.verify.repair import needs_repair, repaired
from jobs.verify.report import Verification, last_failures, report_folder, store, tell
from jobs.verify.schema import look_at_index, look_at_schema
from jobs.verify.values import look_at_values
from jobs.verify.vectors import look_at_vectors
from jobs.versions import look_up, with_version
from schemas.errors import JobError
from schemas.job import Job


@dataclass(frozen=True)
class Options:
    """How much is looked at, and what is done about it."""

    sample: int | None = None  # objects that are compared; None: fingerprints of all, up to a million
    repair: bool = False


def verify(job: Job, console: Console, options: Options = Options(), as_json: bool = False) -> int:
    """Verify and report; the exit code: 0 all good, 1 something is wrong, 2 the job, 3 the world."""
    say = speaker(console, as_json)
    say("Looking at the job: source, server, models …")
    with examined(newest(job)) as found:
        _fit(found)
        verification = found.attempt(lambda: _verified(found, options, say, console, as_json)) if not found.exit_code else None
        if verification is None:
            tell_faults(console, found.faults, found.away, as_json)
            return found.exit_code
    tell(console, verification, as_json)
    return verification.exit_code


def newest(job: Job) -> Job:
    """`job` with the newest version of its collection, where it has an alias. Raises JobError, WorldError."""
    if job.target.alias is None:
        return job
    job = with_server(job)
    numbers = look_up(job).numbers
    if not numbers:
        raise JobError(f"target.alias: there is no version of {job.target.collection} yet; `warpbeam run` loads one")
    named = with_version(job, numbers[-1])
    return named.model_copy(update={"target": named.target.model_copy(update={"alias": None})})


def _fit(found: Findings) -> None:
    """What can be known before anything is compared becomes a fault."""
    if found.creates:
        missing = f"target.collection: {found.job.target.collection!r} is missing on the server; there is nothing to verify, `warpbeam run` makes it"
        found.faults = [missing]
    elif found.layout is not None and not found.exit_code:
        found.attempt(lambda: take_sample(found))


def _verified(found: Findings, options: Options, say: Say, console: Console, quiet: bool) -> Verification:
    """Verify, repair what is wrong if that is wished, verify again, and store the result."""
    state = _State(found, options, Wrong(f"{report_folder(found.job)}/verify.parquet", found.job.report_options))
    verification = state.verification(say)
    if options.repair and needs_repair(verification, state.result):
        counts = repaired(found, state.result, verification, console, quiet)
        found.collection = found.target.collection() if found.target else None  # without the mark of an open run
        again = _State(found, options, Wrong(f"{report_folder(found.job)}/verify.parquet", found.job.report_options))
        verification = replace(again.verification(say), started=verification.started, repaired=counts)
    store(found.job, verification)
    return verification


@dataclass
class _State:
    """One verification: what is looked at, and what was found so far."""

    found: Findings
    options: Options
    wrong: Wrong
    result: Pass = field(default_factory=lambda: Pass(full=True))

    def verification(self, say: Say) -> Verification:
        """All checks, one after another. Raises JobError, WorldError."""
        started = datetime.now(timezone.utc)
        try:
            checks = list(self.checks(say))
        finally:
            self.wrong.close()
        collection = self.found.job.target.collection
        return Verification(collection, started, checks, self.wrong)

    def checks(self, say: Say) -> Iterator[Check]:
        """The checks in order."""
        found, wrong = self.found, self.wrong
        say("Comparing ids …")
        source = source_ids(found)
        there = collection_ids(found, source, tenants_of(found))
        yield source_check(source)
        recipes = recipes_of(found.job, found.collection) if found.collection else {}
        say("Comparing objects …")
        want = wanted(source, there, self.options.sample, last_failures(found.job))
        self.result = look_at_objects(found, source, want, recipes, wrong)
        yield missing_check(source, there, self.result, wrong)
        yield surplus_check(found, source, there, wrong)
        yield indexed_check(found, wrong)
        yield stale_check(self.result, recipes)
        if (sample := self.result.sample) is not None:
            yield look_at_values(found, sample, self.result, wrong)
            yield from look_at_vectors(found, sample, self.result, wrong)
        yield look_at_index(found)
        yield look_at_schema(found)
