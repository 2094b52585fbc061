"""The narrow branch: bare ids, shuffled once, find the rows that occur twice before anything is encoded.

Of rows with one id the first is loaded: the first shard in name order, in it the first row. So it is the same one
every night, whatever worker reads what.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from pipelines.identity import ids
from pipelines.layout import Layout
from pipelines.sources import Shard, ShardError, Source
from schemas.columns import ROW, TENANT, UUID, Rejection
from schemas.objects import uuid5

PARTITIONS = 64
Ids = npt.NDArray[np.void]
Rows = npt.NDArray[np.int64]
Piece = tuple[str, bytes, bytes]  # shard, ids (16 bytes each), row numbers (int64)


def shard_ids(source: Source, shard: Shard, layout: Layout) -> Iterator[tuple[int, Piece]]:
    """The ids of a shard's rows, cut into partitions by their first byte; rows without an id are left to `read`."""
    found: list[bytes] = []
    rows: list[Rows] = []
    try:
        for raw in source.read(shard, layout.id_columns):
            if not isinstance(raw, Rejection):
                batch = dict(ids(raw, layout, {}))
                found += _whole(batch)
                rows.append(raw.column(ROW).to_numpy()[batch[UUID].is_valid().to_numpy(zero_copy_only=False)].astype(np.int64))
    except ShardError:
        pass  # `read` says so, with the rows
    if found:
        yield from partitioned(np.frombuffer(b"".join(found), "V16"), np.concatenate(rows), shard.name)


def _whole(batch: dict[str, Any]) -> list[bytes]:
    """The ids that are there; one id in two tenants is two objects."""
    uuids = batch[UUID].to_pylist()
    if TENANT not in batch:
        return [u for u in uuids if u]
    return [uuid5(u.hex(), tenant) for u, tenant in zip(uuids, batch[TENANT].to_pylist(), strict=True) if u]


def partitioned(whole: Ids, rows: Rows, shard: str) -> Iterator[tuple[int, Piece]]:
    """(partition, piece) of a shard's ids: few large pieces, since each costs as much as a hundred ids."""
    where = whole.view("u1").reshape(-1, 16)[:, 0] % PARTITIONS
    for partition in np.unique(where):
        chosen = where == partition
        yield int(partition), (shard, whole[chosen].tobytes(), rows[chosen].tobytes())


def find_losers(pieces: Iterable[Piece]) -> dict[str, Rows]:
    """For each shard the rows whose id an earlier row has, in ascending order."""
    ordered = sorted(pieces)
    if not ordered:
        return {}
    whole: Ids = np.concatenate([np.frombuffer(p[1], "V16") for p in ordered])
    rows = np.concatenate([np.frombuffer(p[2], np.int64) for p in ordered])
    names = sorted({p[0] for p in ordered})
    rank = np.repeat([names.index(p[0]) for p in ordered], [len(p[1]) // 16 for p in ordered])
    halves = whole.view("u8").reshape(-1, 2)
    order = np.lexsort((rows, rank, halves[:, 1], halves[:, 0]))
    repeated = order[1:][whole[order][1:] == whole[order][:-1]]
    return {names[r]: np.sort(rows[repeated[rank[repeated] == r]]) for r in np.unique(rank[repeated])}


class FindDuplicates(beam.PTransform):
    """Shards to (shard, row numbers to leave out as int64 bytes)."""

    def __init__(self, source: Source, layout: Layout) -> None:
        """Keep what workers need."""
        super().__init__()
        self.source, self.layout = source, layout

    def expand(self, shards: beam.PCollection[Shard]) -> Any:
        """Only 16-byte ids and row numbers are shuffled, in a few large pieces."""
        return (
            shards
            | "Ids" >> beam.ParDo(_Ids(self.source, self.layout)).with_output_types(tuple[int, Piece])
            | "Partition" >> beam.GroupByKey()
            | "Losers" >> beam.ParDo(_Losers()).with_output_types(tuple[str, bytes])
        )


class _Ids(beam.DoFn):
    def __init__(self, source: Source, layout: Layout) -> None:
        self.source, self.layout = source, layout

    def process(self, shard: Shard) -> Iterator[tuple[int, Piece]]:
        return shard_ids(self.source, shard, self.layout)


class _Losers(beam.DoFn):
    def process(self, element: tuple[int, Iterable[Piece]]) -> Iterator[tuple[str, bytes]]:
        for shard, rows in find_losers(element[1]).items():
            yield shard, rows.tobytes()


def merge_losers(losers: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The row numbers of each shard, from all partitions."""
    merged: dict[str, bytes] = {}
    for shard, rows in losers:
        merged[shard] = merged.get(shard, b"") + rows
    return merged
