"""The columns that travel: reserved names, the schema of rejected rows, and how to cut and join record batches.

The element between stages is a `pa.RecordBatch`: an object's properties under Weaviate's property names, and
reserved columns that start with `@`, as no Weaviate property can.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

KEY = "@key"  # string: the source's own id, stable from run to run
UUID = "@uuid"  # fixed_size_binary(16)
TENANT = "@tenant"  # string, only where the job takes the tenant from a column
SHARD = "@shard"  # dictionary<string>: where the row came from
ROW = "@row"  # int64: its number there, from 0
CHUNK = "@chunk"  # int32: the chunk's number within its row; 0 where nothing is chunked
CHUNKS = "@chunks"  # int32: how many chunks the row has
FINGERPRINTS = "@fingerprints"  # list<fixed_size_binary(16)>: the object's, then one a vector in name order
UNCHANGED = "@unchanged"  # in a batch whose objects are all in the target as they are: nothing is done, they are counted
VECTOR = "@vector/"  # + name: fixed_size_list<float32>[dim], or list of these; null where there is none

BATCH_ROWS = 1024
BATCH_BYTES = 16 << 20


def is_reserved(column: str) -> bool:
    """Whether `column` is one of ours and not a property."""
    return column.startswith("@")


def by_tenant(batch: pa.RecordBatch, fixed: str = "", rows: Sequence[int] | None = None) -> Iterator[tuple[str, list[int], list[bytes]]]:
    """(tenant, positions, uuids) of the objects of `batch`, or of its `rows`; without a column all are in the tenant `fixed`."""
    uuids = batch.column(UUID).to_pylist()
    chosen = range(batch.num_rows) if rows is None else rows
    tenants = batch.column(TENANT).to_pylist() if TENANT in batch.schema.names else [fixed] * batch.num_rows
    for tenant in dict.fromkeys(tenants[i] for i in chosen):
        positions = [i for i in chosen if tenants[i] == tenant]
        yield tenant, positions, [uuids[i] for i in positions]


def properties_of(schema: pa.Schema) -> list[str]:
    """The property columns of `schema`, in order."""
    return [name for name in schema.names if not is_reserved(name)]


class Rejection(NamedTuple):
    """Why one row, or one chunk of it, was not loaded."""

    key: str | None
    uuid: bytes | None
    stage: str
    code: str
    message: str
    shard: str
    row: int
    chunk: int = 0


REJECTED = pa.schema(
    [
        ("key", pa.string()),
        ("uuid", pa.binary(16)),
        ("stage", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("chunk", pa.int32()),
    ]
)


def rejected_batch(rejections: Sequence[Rejection]) -> pa.RecordBatch:
    """The rejections as one record batch with the schema `REJECTED`."""
    columns = list(zip(*rejections, strict=True)) or [()] * len(REJECTED)
    return pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, REJECTED, strict=True)], schema=REJECTED)


def reject(batch: pa.RecordBatch, reasons: dict[int, tuple[str, str]], stage: str) -> list[Rejection]:
    """Rejections for the rows of `batch` that `reasons` names by position: {position: (code, message)}."""
    if not reasons:
        return []
    rows = batch.take(pa.array(list(reasons), pa.int64()))
    keys, uuids = (rows.column(c).to_pylist() if c in rows.schema.names else [None] * len(reasons) for c in (KEY, UUID))
    shards, numbers = rows.column(SHARD).to_pylist(), rows.column(ROW).to_pylist()
    chunks = rows.column(CHUNK).to_pylist() if CHUNK in rows.schema.names else [0] * len(reasons)
    return [
        Rejection(key, uuid, stage, code, message, shard, row, chunk)
        for key, uuid, (code, message), shard, row, chunk in zip(keys, uuids, reasons.values(), shards, numbers, chunks, strict=True)
    ]


def without(batch: pa.RecordBatch, positions: Iterable[int]) -> pa.RecordBatch:
    """`batch` without the rows at `positions`."""
    drop = list(positions)
    if not drop:
        return batch
    keep = np.ones(batch.num_rows, bool)
    keep[drop] = False
    return batch.filter(pa.array(keep))


def set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """`batch` with the column `name` replaced, or appended where it is new."""
    index = batch.schema.get_field_index(name)
    if index < 0:
        return batch.append_column(name, values)
    return batch.set_column(index, name, values)


def bounded(batch: pa.RecordBatch, rows: int = BATCH_ROWS, size: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Cut `batch` into pieces of at most `rows` rows and about `size` bytes; a single larger row stays whole."""
    if batch.num_rows == 0:
        return
    per_row = max(1, batch.nbytes // batch.num_rows)
    step = max(1, min(rows, size // per_row))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def concat(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One record batch from several of one schema."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(list(batches))
