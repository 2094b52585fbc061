"""The narrow branch: bare ids, shuffled once, find the rows that occur twice before anything is encoded.

Of rows with one id the first is loaded: the first shard in name order, in it the first row. So it is the same one
every night, whatever worker reads what.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from pipelines.failures import NOTES_TAG, rejected_output
from pipelines.identity import ids
from pipelines.layout import Layout
from pipelines.sources import Shard, ShardError, Source
from schemas.columns import KEY, ROW, TENANT, UUID, Rejection
from schemas.objects import uuid5

PARTITIONS = 64
Ids = npt.NDArray[np.void]
Piece = tuple[str, bytes, bytes, bytes]  # shard, ids (16 bytes each), row numbers (int64), keys (joined by newlines)


def shard_ids(source: Source, shard: Shard, layout: Layout) -> Iterator[tuple[int, Piece]]:
    """The ids of a shard's rows, cut into partitions by their first byte; rows without an id are left to `read`."""
    try:
        for raw in source.read(shard, layout.id_columns):
            if not isinstance(raw, Rejection):
                yield from _partitioned(dict(ids(raw, layout, {})) | {ROW: raw.column(ROW)}, shard.name)
    except ShardError:
        return  # `read` says so, with the rows


def _partitioned(columns: dict[str, Any], shard: str) -> Iterator[tuple[int, Piece]]:
    rows = [i for i, u in enumerate(columns[UUID].is_valid().to_pylist()) if u]
    uuids, keys, numbers = columns[UUID].to_pylist(), columns[KEY].to_pylist(), columns[ROW].to_numpy()
    tenants = columns[TENANT].to_pylist() if TENANT in columns else None
    whole = [uuid5(uuids[i].hex(), tenants[i]) if tenants else uuids[i] for i in rows]  # one id in two tenants is two objects
    where = np.array([u[0] % PARTITIONS for u in whole], np.int64)
    for partition in np.unique(where):
        chosen = np.flatnonzero(where == partition)
        picked = [rows[c] for c in chosen]
        joined = "\n".join(keys[i].replace("\n", " ") for i in picked)
        yield int(partition), (shard, b"".join(whole[c] for c in chosen), numbers[picked].astype(np.int64).tobytes(), joined.encode())


def find_losers(pieces: Iterable[Piece]) -> dict[str, list[tuple[int, str]]]:
    """For each shard the rows (number, key) whose id an earlier row has."""
    ordered = sorted(pieces, key=lambda p: (p[0], p[2][:8]))
    if not ordered:
        return {}
    whole: Ids = np.concatenate([np.frombuffer(p[1], "V16") for p in ordered])
    owner = np.repeat(np.arange(len(ordered)), [len(p[1]) // 16 for p in ordered])
    rows = np.concatenate([np.frombuffer(p[2], np.int64) for p in ordered])
    shard_rank = {name: i for i, name in enumerate(sorted({p[0] for p in ordered}))}
    ranks = np.array([shard_rank[p[0]] for p in ordered])[owner]
    order = np.lexsort((rows, ranks, whole.view("u8").reshape(-1, 2)[:, 1], whole.view("u8").reshape(-1, 2)[:, 0]))
    repeated = np.flatnonzero(whole[order][1:] == whole[order][:-1]) + 1
    return _named(ordered, owner, rows, order[repeated])


def _named(ordered: list[Piece], owner: Any, rows: Any, losers: Any) -> dict[str, list[tuple[int, str]]]:
    """The losers by shard, with their keys, which are only unpacked where one is needed."""
    starts = np.concatenate([[0], np.cumsum([len(p[1]) // 16 for p in ordered])])
    found: dict[str, list[tuple[int, str]]] = {}
    keys: dict[int, list[str]] = {}
    for position in sorted(int(p) for p in losers):
        piece = int(owner[position])
        names = keys.setdefault(piece, ordered[piece][3].decode().split("\n"))
        found.setdefault(ordered[piece][0], []).append((int(rows[position]), names[position - int(starts[piece])]))
    return found


class FindDuplicates(beam.PTransform):
    """Shards to (shard, row numbers to leave out), and a note for each such row."""

    def __init__(self, source: Source, layout: Layout) -> None:
        """Keep what workers need."""
        super().__init__()
        self.source, self.layout = source, layout

    def expand(self, shards: beam.PCollection[Shard]) -> Any:
        """Only 16-byte ids, row numbers and keys are shuffled, in a few large pieces."""
        return (
            shards
            | "Ids" >> beam.ParDo(_Ids(self.source, self.layout)).with_output_types(tuple[int, Piece])
            | "Partition" >> beam.GroupByKey()
            | "Losers" >> beam.ParDo(_Losers()).with_outputs(NOTES_TAG, main="losers")
        )


class _Ids(beam.DoFn):
    def __init__(self, source: Source, layout: Layout) -> None:
        self.source, self.layout = source, layout

    def process(self, shard: Shard) -> Iterator[tuple[int, Piece]]:
        return shard_ids(self.source, shard, self.layout)


class _Losers(beam.DoFn):
    def process(self, element: tuple[int, Iterable[Piece]]) -> Iterator[Any]:
        for shard, rows in find_losers(element[1]).items():
            yield shard, np.array([r for r, _ in rows], np.int64).tobytes()
            message = "an earlier row has the same key; that one is loaded"
            yield from rejected_output([Rejection(key, None, "ids", "duplicate", message, shard, row) for row, key in rows], NOTES_TAG)


def merge_losers(losers: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The row numbers of each shard, from all partitions."""
    merged: dict[str, bytes] = {}
    for shard, rows in losers:
        merged[shard] = merged.get(shard, b"") + rows
    return merged
