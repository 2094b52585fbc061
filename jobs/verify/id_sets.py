"""Ids as sorted arrays of 16 bytes: what the source should give, and how another set compares; 28 bytes of memory an object."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.sources import Shard
from pipelines.targets.cursor import Ids, as_ids
from schemas.columns import TENANT, UUID
from schemas.objects import uuid5

Mask = npt.NDArray[np.bool_]


@dataclass
class SourceIds:
    """What the source should give: ids in ascending order, each once, and where each comes from.

    With a tenant from a column an id is that of uuid and tenant together (`compared`).
    """

    shards: list[Shard]  # in the order in which the first of equal ids wins
    ids: Ids = field(default_factory=lambda: np.zeros(0, "S16"))
    shard: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # position in `shards`
    row: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: int = 0  # that the source has
    duplicates: int = 0
    without_id: int = 0
    lost: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)  # position in `shards` -> rows whose id an earlier row has
    marked: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)  # likewise the rows that `source.deleted` marks
    marked_ids: Ids = field(default_factory=lambda: np.zeros(0, "S16"))  # ascending; of a text that is cut, of its first chunk
    excused: list[str] = field(default_factory=list)  # keys of texts that cannot be read any more: their old chunks are no surplus
    broken: list[str] = field(default_factory=list)  # why some shards cannot be read


@dataclass
class CollectionIds:
    """How a collection compares: `there` (n,) for each of the source's ids; `extra`: tenant -> uuids that the source does not have."""

    there: Mask
    extra: dict[str, list[Ids]] = field(default_factory=dict)
    marked: dict[str, list[Ids]] = field(default_factory=dict)  # likewise, what the source marks as deleted
    objects: int = 0


def compared(uuids: Sequence[bytes], tenants: Sequence[str] | None = None) -> Ids:
    """The ids by which objects are compared: one uuid in two tenants of a column is two objects."""
    if tenants is None:
        return as_ids(uuids)
    return as_ids([uuid5(u.hex(), t) for u, t in zip(uuids, tenants, strict=True)])


def ids_of(batch: pa.RecordBatch) -> Ids:
    """The ids of objects, as `compared`; with or without a column for the tenant."""
    tenants = batch.column(TENANT).to_pylist() if TENANT in batch.schema.names else None
    return compared(batch.column(UUID).to_pylist(), tenants)


def places(ordered: Ids, wanted: Ids) -> tuple[npt.NDArray[np.int64], Mask]:
    """(where each of `wanted` stands in `ordered`, whether it is there); `ordered` ascends."""
    if not len(ordered):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    position = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return position, ordered[position] == wanted


def ordered_ids(source: SourceIds, pieces: Sequence[tuple[int, Ids, npt.NDArray[np.int64]]]) -> SourceIds:
    """`source` with the ids of `pieces` (shard, ids, rows), which stand in the order in which the first of equal ids wins."""
    pieces = [p for p in pieces if len(p[1])]
    if not pieces:
        return source
    every = np.concatenate([p[1] for p in pieces])
    order = np.argsort(every, kind="stable")
    shard = np.repeat(np.array([p[0] for p in pieces], np.int32), [len(p[1]) for p in pieces])[order]
    row, every = np.concatenate([p[2] for p in pieces])[order], every[order]
    again = np.concatenate([[False], every[1:] == every[:-1]])
    lost = {int(s): np.sort(row[again & (shard == s)]) for s in np.unique(shard[again])}
    return replace(
        source, ids=every[~again], shard=shard[~again], row=row[~again], duplicates=source.duplicates + int(again.sum()), lost=lost
    )


def unmarked(source: SourceIds) -> SourceIds:
    """`source` without the ids of marked rows, which are kept apart."""
    gone = np.zeros(len(source.ids), bool)
    for number, rows in source.marked.items():
        gone |= (source.shard == number) & np.isin(source.row, rows)
    return replace(source, ids=source.ids[~gone], shard=source.shard[~gone], row=source.row[~gone], marked_ids=source.ids[gone])
