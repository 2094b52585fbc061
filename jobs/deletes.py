"""Deletes: after everything is in, what the source has no more, or marks, goes; never before, and never on a doubt."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from jobs.examine.findings import Findings
from jobs.report import stored_rejections
from jobs.verify.ids import chunk_counts, chunks_there, collection_ids, source_ids, source_rows, tenants_of
from pipelines.chunk import splitter_of
from pipelines.targets.cursor import read_jobs
from pipelines.targets.deletes import delete_objects
from pipelines.targets.sampled import present
from schemas.columns import KEY, by_tenant
from schemas.job import ChunkSpec
from schemas.objects import uuid5


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
    """The objects of marked rows that are there, all chunks of a text among them, and the chunks that shorter texts no longer have."""
    marked: dict[str, list[tuple[str, bytes]]] = {}  # by tenant
    for row in stored_rejections(folder, found.job.failures.storage_options):
        marked.setdefault(row["message"], []).append((row["key"], row["uuid"]))
    result = Deletion()
    for name, rows in marked.items():
        tenant = name or found.job.target.fixed_tenant
        existing = _existing(found, rows, tenant)
        result.rows += sum(map(bool, existing))
        if uuids := [uuid for of_row in existing for uuid in of_row]:
            result.uuids[tenant] = uuids
    for tenant, uuids in _shortened(found, found.job.chunk) if found.job.chunk else ():
        result.uuids.setdefault(tenant, []).extend(uuids)
    return result


def _shortened(found: Findings, chunk: ChunkSpec) -> Iterator[tuple[str, list[bytes]]]:
    """(tenant, ids) of the chunks that texts of the source, as they are now, no longer have."""
    source, splitter = source_rows(found), splitter_of(chunk, found.job.vectors[chunk.model])
    for number in range(len(source.shards)):
        for objects, counts in chunk_counts(found, source, number, splitter):
            keys = objects.column(KEY).to_pylist()
            for tenant, rows, _ in by_tenant(objects, found.job.target.fixed_tenant):
                yield tenant, list(_beyond(found, [(keys[i], counts[i]) for i in rows], tenant))


def _beyond(found: Findings, texts: list[tuple[str, int]], tenant: str) -> Iterator[bytes]:
    """The chunks that are there after the last one of each (key, number of chunks); one question tells which texts have any."""
    assert found.collection and found.target
    next_ones = {uuid5(f"{key}#{count}", found.job.source.namespace): (key, count) for key, count in texts}
    for uuid in present(found.target.connection, found.collection, list(next_ones), tenant):
        yield from chunks_there(found, next_ones[uuid][0], tenant, next_ones[uuid][1])


def _existing(found: Findings, rows: list[tuple[str, bytes]], tenant: str) -> list[list[bytes]]:
    """For each marked row its objects that are there."""
    assert found.collection and found.target
    if found.job.chunk is not None:
        return [list(chunks_there(found, key, tenant)) for key, _ in rows]
    there = present(found.target.connection, found.collection, [uuid for _, uuid in rows], tenant)
    return [[uuid] if uuid in there else [] for _, uuid in rows]
