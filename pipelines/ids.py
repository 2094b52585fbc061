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
HASH_BYTES = 6  # of 40 million ids about three share a hash with another by chance; these are looked at again
Ids = npt.NDArray[np.void]
Rows = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]  # below 256 ** HASH_BYTES
Piece = tuple[str, bytes, bytes]  # shard, ids (16 bytes each), row numbers (int64)


def shard_ids(source: Source, shard: Shard, layout: Layout) -> tuple[Ids, Rows]:
    """The ids of a shard's rows and their numbers; rows without an id are left to `read`."""
    found: list[bytes] = []
    rows: list[Rows] = [np.zeros(0, np.int64)]
    try:
        for raw in source.read(shard, layout.id_columns):
            if not isinstance(raw, Rejection):
                batch = dict(ids(raw, layout, {}))
                found += _whole(batch)
                rows.append(raw.column(ROW).to_numpy()[batch[UUID].is_valid().to_numpy(zero_copy_only=False)].astype(np.int64))
    except ShardError:
        pass  # `read` says so, with the rows
    return np.frombuffer(b"".join(found), "V16"), np.concatenate(rows)


def _whole(batch: dict[str, Any]) -> list[bytes]:
    """The ids that are there; one id in two tenants is two objects."""
    uuids = batch[UUID].to_pylist()
    if TENANT not in batch:
        return [u for u in uuids if u]
    return [uuid5(u.hex(), tenant) for u, tenant in zip(uuids, batch[TENANT].to_pylist(), strict=True) if u]


def hashes_of(whole: Ids) -> Hashes:
    """A hash of 48 bits for each id; a uuid that a user chose need not be random, so both halves are mixed."""
    halves = whole.view("<u8").reshape(-1, 2)
    mixed = (halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
    return np.asarray(mixed >> np.uint64(64 - 8 * HASH_BYTES), np.uint64)


def packed(hashes: Hashes) -> bytes:
    """`hashes` in six bytes each."""
    return hashes.astype("<u8").view("u1").reshape(-1, 8)[:, :HASH_BYTES].tobytes()


def unpacked(data: bytes) -> Hashes:
    """The hashes that `packed` wrote."""
    wide = np.zeros((len(data) // HASH_BYTES, 8), "u1")
    wide[:, :HASH_BYTES] = np.frombuffer(data, "u1").reshape(-1, HASH_BYTES)
    return wide.view("<u8").ravel()


def repeated(pieces: Iterable[bytes]) -> bytes:
    """The hashes that occur more than once in `pieces`, packed, each once."""
    ordered = np.sort(unpacked(b"".join(pieces)))
    return packed(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))


def partitions(hashes: Hashes) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """(partition, which of the hashes belong to it): few large pieces, since each costs as much as a hundred ids."""
    where = hashes % np.uint64(PARTITIONS)
    for partition in np.unique(where):
        yield int(partition), where == partition


def shard_hashes(source: Source, shard: Shard, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """(partition, packed hashes) of a shard's ids."""
    hashes = hashes_of(shard_ids(source, shard, layout)[0])
    for partition, chosen in partitions(hashes):
        yield partition, packed(hashes[chosen])


def shard_pieces(source: Source, shard: Shard, layout: Layout, met: bytes) -> Iterator[tuple[int, Piece]]:
    """(partition, piece) of the ids whose hashes are in `met` (packed); the keys are read again only if there are any."""
    if not met:
        return
    whole, rows = shard_ids(source, shard, layout)
    hashes = hashes_of(whole)
    again = np.isin(hashes, unpacked(met))
    whole, rows = whole[again], rows[again]
    for partition, chosen in partitions(hashes[again]):
        yield partition, (shard.name, whole[chosen].tobytes(), rows[chosen].tobytes())


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
        """Six bytes an id are shuffled; whole ids and row numbers only of those whose hashes meet, after a second look at the keys."""
        met = (
            shards
            | "Hashes" >> beam.ParDo(_Hashes(self.source, self.layout)).with_output_types(tuple[int, bytes])
            | "PartitionHashes" >> beam.GroupByKey()
            | "Repeated" >> beam.MapTuple(lambda _, pieces: repeated(pieces)).with_output_types(bytes)
        )
        return (
            shards
            | "Ids" >> beam.ParDo(_Ids(self.source, self.layout), beam.pvalue.AsList(met)).with_output_types(tuple[int, Piece])
            | "Partition" >> beam.GroupByKey()
            | "Losers" >> beam.ParDo(_Losers()).with_output_types(tuple[str, bytes])
        )


class _Hashes(beam.DoFn):
    def __init__(self, source: Source, layout: Layout) -> None:
        self.source, self.layout = source, layout

    def process(self, shard: Shard) -> Iterator[tuple[int, bytes]]:
        return shard_hashes(self.source, shard, self.layout)


class _Ids(beam.DoFn):
    def __init__(self, source: Source, layout: Layout) -> None:
        self.source, self.layout = source, layout

    def process(self, shard: Shard, met: list[bytes]) -> Iterator[tuple[int, Piece]]:
        return shard_pieces(self.source, shard, self.layout, b"".join(met))


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
