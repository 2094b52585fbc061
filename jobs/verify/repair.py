"""What a verification found wrong is loaded again, by the ordinary run and its rows alone; nothing is deleted."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from jobs.chosen import Chosen
from jobs.doubt import EVER, Doubt
from jobs.examine.findings import Findings
from jobs.execute import problem_of
from jobs.open_run import reindexed
from jobs.run import loaded, plan_of
from jobs.telling import counted, speaker
from jobs.verify.objects import Pass
from jobs.verify.report import Verification
from pipelines.load import Plan
from pipelines.targets.fingerprints import Known
from pipelines.targets.weaviate import WeaviateTarget
from schemas.collection import Collection
from schemas.job import TargetSpec
from schemas.report import Counts


class Distrusting(WeaviateTarget):
    """A target that does not believe what some objects say of themselves: an application changed them, and their fingerprints stayed."""

    def __init__(self, spec: TargetSpec, collection: Collection, job: str, distrusted: frozenset[bytes]) -> None:
        """`distrusted`: the ids of these objects."""
        super().__init__(spec, collection, job)
        self.distrusted = distrusted

    def fingerprints(self, uuids: Sequence[bytes], tenant: str = "") -> Known:
        """The stored fingerprints; none for the distrusted, which are therefore made and written again."""
        return {u: [] if u in self.distrusted else known for u, known in super().fingerprints(uuids, tenant).items()}


def repair_plan(found: Findings, result: Pass) -> Plan:
    """A run of the rows that are wrong."""
    assert found.collection
    rows = result.rows_again
    shards = [s for s in found.shards if s.name in rows]
    only = {name: numbers.tobytes() for name, numbers in rows.items()}
    plan = plan_of(found, Chosen(shards, only))
    target = Distrusting(found.job.target, found.collection, found.job.name or "", frozenset(result.distrusted))
    return replace(plan, target=target)


def needs_repair(verification: Verification, result: Pass) -> bool:
    """Whether anything is wrong that a repair mends."""
    return bool(result.bad) or _hidden(verification) or any(c.name == "indexed" and c.good is False for c in verification.checks)


def _hidden(verification: Verification) -> bool:
    """Whether filters, or their own right vectors, do not find objects that are stored."""
    named = verification.wrong.named
    different = {row["uuid"] for row in named.get("vector", [])}
    deaf = any(c.name.startswith("recall ") and c.good is False for c in verification.checks)
    lost = any(row["uuid"] not in different for row in named.get("recall", []))
    return (deaf and lost) or verification.wrong.counts["unindexed"] > 0


def repaired(found: Findings, result: Pass, verification: Verification, console: Console, quiet: bool) -> Counts:
    """Send again what the indexes do not have, and load the rows that are wrong again. Raises JobError, WorldError."""
    say = speaker(console, quiet)
    if _hidden(verification):
        sent = reindexed(found, Doubt(EVER))
        say(f"All that the job wrote was sent again, so that the server indexes it whole: {counted(sent, 'object')}.")
    say(f"Loading {counted(sum(map(len, result.rows_again.values())), 'row')} again.")
    outcome = loaded(found, repair_plan(found, result), (), console, quiet)
    if (problem := problem_of(outcome.error)) is not None:
        raise problem
    return Counts.of(outcome.counters)
