"""Deletes: after everything is in, what the source has no more, or marks, goes; never before, and never on a doubt."""

from dataclasses import dataclass, field

import numpy as np

from jobs.examine.findings import Findings
from jobs.report import stored_rejections
from jobs.verify.ids import chunks_there, collection_ids, source_ids, tenants_of
from pipelines.targets.cursor import read_jobs
from pipelines.targets.deletes import delete_objects
from pipelines.targets.sampled import present


@dataclass
class Deletion:
    """What is to go, by tenant; or why nothing does."""

    uuids: dict[str, list[bytes]] = field(default_factory=dict)
    refused: str | None = None
    rows: int = 0  # marked rows that have something to delete

    @property
    def objects(self) -> int:
        """How many."""
        return sum(map(len, self.uuids.values()))


def deletion(found: Findings, marked: str, partial: bool) -> Deletion:
    """What is to be deleted after a load that is done; `marked`: the folder of marked rows; `partial`: not all rows were taken.

    Nothing goes where a shard could not be read, a row has no key, only part of the source was taken, or more would go than
    `delete_share` allows. Raises WorldError.
    """
    job = found.job
    if job.target.delete == "never":
        return Deletion()
    if partial:
        return Deletion(refused="nothing is deleted where only part of the source is taken (--limit, --only)")
    chosen = _marked(found, marked) if job.target.delete == "marked" else _missing(found)
    if chosen.refused or not chosen.objects:
        return chosen
    holds = found.objects_there()
    if chosen.objects > job.target.delete_share * holds:
        share = f"{chosen.objects:,} of {holds:,} objects would be deleted, more than delete_share {job.target.delete_share:.2%} allows"
        return Deletion(refused=f"{share}; nothing was deleted. If that is right: --set target.delete_share=1")
    return chosen


def delete(found: Findings, chosen: Deletion) -> int:
    """Delete what was chosen, and give how many objects that were. Raises WorldError."""
    assert found.collection and found.target
    return sum(delete_objects(found.target.connection, found.collection, uuids, tenant) for tenant, uuids in chosen.uuids.items())


def _missing(found: Findings) -> Deletion:
    """What this job wrote and the source has no more."""
    assert found.collection and found.target
    source = source_ids(found)
    if source.broken:
        return Deletion(refused=f"nothing is deleted: part of the source cannot be read ({source.broken[0]})")
    if source.without_id:
        return Deletion(refused=f"nothing is deleted: {source.without_id:,} rows have no key, so what is missing cannot be told")
    extra = collection_ids(found, source, tenants_of(found)).extra
    uuids = {tenant: np.concatenate(pages).view("V16").tolist() for tenant, pages in extra.items()}
    own = found.job.name or ""
    wrote = {t: read_jobs(found.target.connection, found.collection, ids, t) for t, ids in uuids.items()}
    return Deletion({t: ids for t in uuids if (ids := [u for u in uuids[t] if wrote[t].get(u) == own])})


def _marked(found: Findings, folder: str) -> Deletion:
    """The objects of marked rows that are there, all chunks of a text among them."""
    by_tenant: dict[str, list[tuple[str, bytes]]] = {}
    for row in stored_rejections(folder):
        by_tenant.setdefault(row["message"], []).append((row["key"], row["uuid"]))
    result = Deletion()
    for name, rows in by_tenant.items():
        tenant = name or found.job.target.fixed_tenant
        existing = _existing(found, rows, tenant)
        result.rows += sum(map(bool, existing))
        if uuids := [uuid for of_row in existing for uuid in of_row]:
            result.uuids[tenant] = uuids
    return result


def _existing(found: Findings, rows: list[tuple[str, bytes]], tenant: str) -> list[list[bytes]]:
    """For each marked row its objects that are there."""
    assert found.collection and found.target
    if found.job.chunk is not None:
        return [list(chunks_there(found, key, tenant)) for key, _ in rows]
    there = present(found.target.connection, found.collection, [uuid for _, uuid in rows], tenant)
    return [[uuid] if uuid in there else [] for _, uuid in rows]
