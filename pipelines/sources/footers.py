"""The footers of Parquet files: read in parallel, and joined to one schema."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from pipelines.sources.csv_types import column_type
from pipelines.sources.listing import BROKEN, File, raise_first_faults
from pipelines.storage import is_away, lost
from schemas.errors import WorldError

THREADS = 8
BUFFER_BYTES = 1 << 20
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

Partition = dict[str, str | None]


class RowGroup(NamedTuple):
    """What a footer says of a row group."""

    rows: int
    size: int  # bytes, uncompressed


class Footer(NamedTuple):
    """A file's schema and row groups."""

    file: File
    schema: pa.Schema
    groups: tuple[RowGroup, ...]


def read_footers(fs: AbstractFileSystem, files: Sequence[File]) -> list[Footer]:
    """The footer of each file, in order. Raises one JobError for the files that are no Parquet files, WorldError for a lost connection."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(partial(_footer, fs), files))
    raise_first_faults([fault for fault in found if isinstance(fault, str)])
    return [footer for footer in found if isinstance(footer, Footer)]


def _footer(fs: AbstractFileSystem, file: File) -> Footer | str:
    if file.size == 0:
        return f"{file.path}: is empty (0 bytes); expected a Parquet file"
    try:
        with fs.open(file.path, "rb", cache_type="none") as stream:
            metadata = pq.ParquetFile(stream, pre_buffer=False).metadata
            found = map(metadata.row_group, range(metadata.num_row_groups))
            groups = tuple(RowGroup(max(0, group.num_rows), max(0, group.total_byte_size)) for group in found)
            schema = metadata.schema.to_arrow_schema()
            for kind in schema.types:
                _time_zones(kind)  # raises where a broken footer has one that is no UTF-8
            return Footer(file, schema, groups)
    except Exception as error:
        if is_away(error):
            raise WorldError(f"{file.path}: {lost(error)}") from error
        if not isinstance(error, BROKEN):
            raise
        return f"{file.path}: {error}; expected a Parquet file"


def _time_zones(kind: pa.DataType) -> list[str | None]:
    """The time zones in a type. Raises UnicodeDecodeError."""
    if pa.types.is_dictionary(kind):
        return _time_zones(kind.value_type)
    inner = [zone for i in range(kind.num_fields) for zone in _time_zones(kind.field(i).type)]
    return [kind.tz, *inner] if pa.types.is_timestamp(kind) else inner


def partition_of(name: str) -> Partition:
    """The keys in a file's folders: `year=2026/day=1/a.parquet` has {"year": "2026", "day": "1"}."""
    pieces = (piece.partition("=") for piece in name.split("/")[:-1] if "=" in piece)
    return {unquote(key): None if value == HIVE_NULL else unquote(value) for key, _, value in pieces}


def partition_types(partitions: Sequence[Partition]) -> dict[str, pa.DataType]:
    """The type of each partition key: int64 where all values are integers, else string."""
    keys = dict.fromkeys(key for partition in partitions for key in partition)
    kinds = {key: column_type(partition.get(key) for partition in partitions) for key in keys}
    return {key: kind if kind == pa.int64() else pa.string() for key, kind in kinds.items()}


def unified(footers: Sequence[Footer], keys: Mapping[str, pa.DataType]) -> pa.Schema:
    """One schema for all files: the union of their columns, then the partition keys.

    A column of nulls takes the type that other files give it; dictionaries become their values.
    Raises JobError with each file that has a column of another type than the first one, or two columns of one name.
    """
    types: dict[str, pa.DataType] = {}
    origin: dict[str, str] = {}
    faults = []
    for footer in footers:
        faults += [_twice(footer)] if len(set(footer.schema.names)) < len(footer.schema.names) else []
        for field in footer.schema:
            name, kind = field.name, _plain(field.type)
            if name not in types or pa.types.is_null(types[name]):
                types[name], origin[name] = kind, footer.file.path
            elif kind != types[name] and not pa.types.is_null(kind) and name not in keys:
                faults.append(f"{footer.file.path}: column {name!r} is {kind}; expected {types[name]}, as in {origin[name]}")
    raise_first_faults(faults)
    return pa.schema([*((name, kind) for name, kind in types.items() if name not in keys), *keys.items()])


def _twice(footer: Footer) -> str:
    names = footer.schema.names
    name = next(name for name in names if names.count(name) > 1)
    return f"{footer.file.path}: has two columns {name!r}; expected names that occur once"


def _plain(kind: pa.DataType) -> pa.DataType:
    """`kind` without what writers choose differently: dictionaries, the names of list items, nullability within."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type), kind.list_size)
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind
