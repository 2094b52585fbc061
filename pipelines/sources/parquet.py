"""Parquet: a file, a glob, a folder (hive-partitioned too); a shard is one or more whole row groups."""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from pipelines.sources import Shard, ShardError
from pipelines.sources.footers import BUFFER_BYTES, Footer, partition_of, partition_types, read_footers, unified
from pipelines.sources.listing import file_system, list_files, naming_broken, printable
from pipelines.sources.rows import refuse_row_column
from schemas.columns import BATCH_BYTES, BATCH_ROWS, ROW, Rejection, bounded

SHARD_BYTES = 8 << 20
SHARD_ROWS = 2000


class ParquetSource:
    """The rows of Parquet files of one schema; a column that a file has not is null there, hive's partition keys are columns."""

    def __init__(self, location: str, storage_options: dict[str, Any]) -> None:
        """Keep the names; nothing is opened."""
        self.location, self.storage_options = location, storage_options

    def __getstate__(self) -> dict[str, Any]:
        """Workers need the schema, not the footers."""
        return {name: value for name, value in self.__dict__.items() if name != "_footers"}

    @cached_property
    def _footers(self) -> list[Footer]:
        files = list_files(self.location, self.storage_options)
        return read_footers(file_system(self.location, self.storage_options)[0], files)

    @cached_property
    def _schema(self) -> pa.Schema:
        keys = partition_types([partition_of(footer.file.name) for footer in self._footers])
        schema = unified(self._footers, keys)
        refuse_row_column(schema.names, self.location)
        return schema

    def schema(self) -> pa.Schema:
        """The columns of all files, then the partition keys.

        Raises JobError if there is no file, and with all files that are no Parquet files or differ in a column's type.
        """
        return self._schema

    def shards(self) -> list[Shard]:
        """Neighbouring row groups of a file up to 8 MB or 2,000 rows; a larger row group is not split. Raises JobError as `schema` does."""
        return [shard for footer in self._footers for shard in _shards(footer)]

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Batches of `columns` and `@row`, and a Rejection for each row whose text is not UTF-8. Raises ShardError for a broken page."""
        schema = pa.schema([self.schema().field(name) for name in columns])
        fs, _ = file_system(self.location, self.storage_options)
        row, limit = 0, shard.limit
        for read in _batches(fs, shard, columns):
            batch = read if limit is None else read.slice(0, limit - row)
            with naming_broken(_place(shard)):
                whole = _conformed(batch, schema, dict(shard.part[2]), row)
            for piece in bounded(whole):
                yield from _checked(piece, shard)
            row += batch.num_rows
            if row == limit:
                return


def _shards(footer: Footer) -> Iterator[Shard]:
    first, rows, size = 0, 0, 0
    for last, group in enumerate(footer.groups):
        rows, size = rows + group.rows, size + group.size
        if rows and (last + 1 == len(footer.groups) or size >= SHARD_BYTES or rows >= SHARD_ROWS):
            part = (first, last, tuple(partition_of(footer.file.name).items()))
            yield Shard(f"{footer.file.label}#{first}-{last}", footer.file.path, part, rows, size)
            first, rows, size = last + 1, 0, 0


def _place(shard: Shard) -> str:
    first, last, _ = shard.part
    return f"{printable(shard.path)}, row group{f' {first}' if first == last else f's {first} to {last}'}"


def _batches(fs: AbstractFileSystem, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """What the file has of `columns`, in bounded batches; only a few MB of a row group are in memory at a time."""
    first, last, _ = shard.part
    groups = list(range(first, last + 1))
    seen = 0
    with naming_broken(_place(shard)), fs.open(shard.path, "rb", cache_type="none") as stream:
        file = _opened(stream, columns)
        present = [name for name in columns if name in file.schema_arrow.names]
        expected = sum(file.metadata.row_group(group).num_rows for group in groups)
        for batch in file.iter_batches(_batch_rows(file, groups, present), groups, present, use_threads=False):
            seen += batch.num_rows
            yield batch
    if seen != expected or seen != (shard.rows or seen):
        raise ShardError(f"{_place(shard)}: has {seen} rows; expected {expected} by the footer, and {shard.rows} when the job was started")


def _opened(stream: BinaryIO, columns: list[str]) -> pq.ParquetFile:
    """The file in `stream`; where `columns` are of types hard to read, all are read as Parquet's own, and `_conformed` casts them."""
    # Buffered: else a whole column chunk is held. Not pre-buffered: else all of them are.
    options = {"pre_buffer": False, "buffer_size": BUFFER_BYTES, "page_checksum_verification": True}
    file = pq.ParquetFile(stream, **options)
    if any(_is_hard_to_read(field.type) for field in file.schema_arrow if field.name in columns):
        return pq.ParquetFile(stream, metadata=_without_arrow_schema(stream), **options)
    return file


def _is_hard_to_read(kind: pa.DataType) -> bool:
    """Nulls in lists of a fixed size, and dictionaries in lists over several row groups, are beyond pyarrow 25."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(pa.types.is_fixed_size_list(kind) or (is_list and pa.types.is_dictionary(kind.value_type)))


def _without_arrow_schema(stream: BinaryIO) -> pq.FileMetaData:
    """The footer in Parquet's own types, which have neither lists of a fixed size nor dictionaries."""
    stream.seek(-8, os.SEEK_END)
    size = int.from_bytes(stream.read(4), "little") + 8
    stream.seek(-size, os.SEEK_END)
    return pq.read_metadata(pa.BufferReader(b"PAR1" + stream.read(size).replace(b"ARROW:schema", b"arrow_schema")))


def _batch_rows(file: pq.ParquetFile, groups: list[int], columns: list[str]) -> int:
    """Rows in a batch of about BATCH_BYTES: by the footer, or by the first rows where wide columns are not asked for."""
    # Never by the footer's column chunks: pyarrow 25 aborts the process where those are corrupt.
    metas = [file.metadata.row_group(group) for group in groups]
    count = _rows_of(sum(meta.total_byte_size for meta in metas), sum(meta.num_rows for meta in metas))
    if count == BATCH_ROWS or set(columns) == set(file.schema_arrow.names):
        return count
    first = next(file.iter_batches(count, groups[:1], columns, use_threads=False), None)
    return _rows_of(first.nbytes, first.num_rows) if first else count


def _rows_of(size: int, rows: int) -> int:
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))


def _conformed(batch: pa.RecordBatch, schema: pa.Schema, keys: dict[str, str | None], row: int) -> pa.RecordBatch:
    """`batch` with the columns of `schema`: partition keys constant, absent ones null; and with `@row`, from `row` on."""
    count = batch.num_rows
    arrays = [pa.array(range(row, row + count), pa.int64())]
    for field in reversed(schema):
        if field.name in keys:
            array = pa.repeat(pa.scalar(keys[field.name], pa.string()).cast(field.type), count)
        elif field.name in batch.schema.names:
            array = batch.column(field.name)
        else:
            array = pa.nulls(count, field.type)
        arrays.insert(0, array if array.type == field.type else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.append(pa.field(ROW, pa.int64())))


def _checked(batch: pa.RecordBatch, shard: Shard) -> Iterator[pa.RecordBatch | Rejection]:
    """`batch`, or its good rows one by one where Arrow finds text that is not UTF-8, and a Rejection for each other row."""
    fault = _fault(batch)
    if fault is None:
        yield batch
    elif batch.num_rows > 1:
        middle = batch.num_rows // 2
        yield from _checked(batch.slice(0, middle), shard)
        yield from _checked(batch.slice(middle), shard)
    else:
        message = f"{_place(shard)}: {fault}; expected valid UTF-8"
        yield Rejection(None, None, "read", "malformed", message, shard.name, batch.column(ROW)[0].as_py())


def _fault(batch: pa.RecordBatch) -> str | None:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        return str(error)
    return None
