"""Versions: with `target.alias` a run loads a new version of the collection, beside the one that applications read."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from pipelines.targets.aliases import alias_target, collections, version_name, version_number
from pipelines.targets.connection import Connection
from schemas.collection import Collection, class_name
from schemas.errors import JobError
from schemas.job import Job
from schemas.modules import TextModule, module_of


@dataclass(frozen=True)
class Versions:
    """What there is of a collection: its versions in order, and the one that the alias stands for."""

    base: str
    numbers: tuple[int, ...]
    published: int | None

    @property
    def working(self) -> int:
        """The version that a run loads: the newest if it is not published, else the one after it."""
        newest = max(self.numbers, default=0)
        return newest if newest > (self.published or 0) else newest + 1

    @property
    def before(self) -> int | None:
        """The newest version older than the published one."""
        return max((n for n in self.numbers if n < (self.published or 0)), default=None)


def look_up(job: Job) -> Versions:
    """The versions of the job's collection. Raises JobError where the alias cannot be used, WorldError."""
    alias, base = class_name(job.target.alias or ""), class_name(job.target.base or job.target.collection)
    with closing(Connection(job.target.weaviate, job.target.timeout_s, job.target.retry_s)) as connection:
        names, there = collections(connection), alias_target(connection, alias)
    return versions_of(names, there, base, alias)


def versions_of(names: Sequence[str], there: str | None, base: str, alias: str) -> Versions:
    """The versions of `base` among the collections `names`, where `alias` stands for `there`. Raises JobError."""
    if alias in names:
        raise JobError(f"target.alias: {alias!r} is a collection; an alias cannot take its name, so name another one")
    if alias == base:
        raise JobError(
            f"target.alias: {alias!r} is the collection's own name; versions are {base}_v1, {base}_v2, ..., and the alias needs a name of its own"
        )
    published = version_number(base, there) if there else None
    if there and published is None:
        raise JobError(f"target.alias: {alias} stands for {there}, which is no version of {base}; name another alias, or move it by hand")
    return Versions(base, tuple(sorted(n for n in (version_number(base, name) for name in names) if n)), published)


def with_version(job: Job, number: int | None = None) -> Job:
    """`job` with its collection replaced by the version to load, or version `number`; as it is without an alias."""
    if job.target.alias is None:
        return job
    versions = look_up(job)
    name = version_name(versions.base, number or versions.working)
    return job.model_copy(update={"target": job.target.model_copy(update={"collection": name, "base": versions.base})})


def published(job: Job) -> Job:
    """`job` with the version that applications read, or the one that is being loaded where none is published."""
    return job if job.target.alias is None else with_version(job, look_up(job).published)


def version_faults(job: Job, collection: Collection) -> list[str]:
    """Vectors that would be made of the version's name, which changes from version to version."""
    if job.target.alias is None:
        return []
    modules = {n: module_of(collection.definition, n, collection.properties, v.unnamed) for n, v in collection.vectors.items()}
    return [
        f"target.alias: vectors.{name} has the collection's name in its text, and each version has another one; set vectorizeClassName to false"
        for name, module in modules.items()
        if isinstance(module, TextModule) and module.class_name
    ]
