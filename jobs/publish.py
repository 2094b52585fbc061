"""`warpbeam publish`: the alias moves to the version that was verified, and back."""

from contextlib import closing

from rich.console import Console

from jobs.examine.findings import with_server
from jobs.verify.report import stored_report
from jobs.versions import Versions, look_up
from pipelines.targets.aliases import move_alias, version_name
from pipelines.targets.connection import Connection
from schemas.collection import class_name
from schemas.errors import JobError
from schemas.job import Job


def publish(job: Job, console: Console, back: bool = False) -> str:
    """Move the alias, and give the collection it stands for now. Old versions stay.

    Raises JobError where there is no alias, nothing to publish, or the version was not verified; WorldError.
    """
    alias = class_name(job.target.alias or "")
    if not alias:
        raise JobError("target.alias: the job names none; with one, a run loads a new version, and `publish` moves the alias to it")
    job = with_server(job)
    versions = look_up(job)
    number = _older(versions) if back else _verified(job, versions)
    name = version_name(versions.base, number)
    with closing(Connection(job.target.weaviate, job.target.timeout_s, job.target.retry_s)) as connection:
        move_alias(connection, alias, name)
    before = version_name(versions.base, versions.published) if versions.published else "nothing"
    console.print(f"{alias} stands for {name} now; before, for {before}. Nothing was deleted.", highlight=False)
    return name


def _older(versions: Versions) -> int:
    if versions.before is None:
        raise JobError(f"--back: there is no version of {versions.base} older than the published one")
    return versions.before


def _verified(job: Job, versions: Versions) -> int:
    """The version that waits, if its last verification was good and nothing was loaded since."""
    waiting = versions.numbers[-1] if versions.numbers else 0
    if waiting <= (versions.published or 0):
        raise JobError(f"there is no version of {versions.base} newer than the published one; `warpbeam run` loads one")
    name = version_name(versions.base, waiting)
    verified, ran = (stored_report(job, file) for file in ("verify.json", "report.json"))
    if verified.get("collection") != name:
        raise JobError(f"{name} was not verified: run `warpbeam verify` on this job first")
    if verified.get("exit_code") != 0:
        raise JobError(f"{name} was verified and is not good; `warpbeam verify --repair` mends what it can")
    if str(verified.get("ended", "")) < str(ran.get("started", "")):
        raise JobError(f"{name} was loaded after it was verified: verify it again")
    return waiting
