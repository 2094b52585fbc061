"""Files as rows: `path`, `name` and `bytes`, for folders of images."""

import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
from fsspec import AbstractFileSystem

from pipelines.sources import Shard
from pipelines.sources.listing import File, file_system, list_files
from pipelines.storage import is_away, lost
from schemas.columns import BATCH_BYTES, BATCH_ROWS, ROW, Rejection
from schemas.errors import WorldError

SHARD_FILES = 256
SHARD_BYTES = 64 << 20
SCHEMA = pa.schema([("path", pa.string()), ("name", pa.string()), ("bytes", pa.binary())])
LARGEST = 2**31 - 1  # bytes of one value in Arrow's binary type


class FilesSource:
    """Each file of a folder (also below), a glob or a URL is a row."""

    def __init__(self, location: str, storage_options: dict[str, Any]) -> None:
        """Keep the names; nothing is opened."""
        self.location, self.storage_options = location, storage_options

    def schema(self) -> pa.Schema:
        """`path` (string, relative to the folder), `name` (string), `bytes` (binary). Raises JobError if there is no file."""
        list_files(self.location, self.storage_options, hidden=(".",))
        return SCHEMA

    def shards(self) -> list[Shard]:
        """Up to 256 files or about 64 MB a shard, sorted by path. Raises JobError if there is no file."""
        files = list_files(self.location, self.storage_options, hidden=(".",))
        return [_shard(group) for group in _groups(files)]

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Batches of `columns` and `@row`, a Rejection for each file that cannot be read; contents only if `bytes` is asked for."""
        fs, _ = file_system(self.location, self.storage_options)
        kept: list[dict[str, Any]] = []
        size = 0
        for number, (name, _) in enumerate(islice(shard.part, shard.limit)):
            row = _row(fs, File(shard.path, name, None), columns)
            if isinstance(row, str):
                yield Rejection(None, None, "read", "unreadable", row, shard.name, number)
                continue
            kept.append(row | {ROW: number})
            size += len(row.get("bytes", b""))
            if len(kept) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield _batch(kept, columns)
                kept, size = [], 0
        if kept:
            yield _batch(kept, columns)


def _groups(files: list[File]) -> Iterator[list[File]]:
    group: list[File] = []
    for file in files:
        full = len(group) >= SHARD_FILES or sum(other.size or 0 for other in group) >= SHARD_BYTES
        if full and group:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _shard(group: list[File]) -> Shard:
    """A shard whose part is (name, bytes) of each file, and whose path is the folder that the names start at."""
    name = group[0].label if len(group) == 1 else f"{group[0].label}..{group[-1].label}"
    part = tuple((file.name, file.size) for file in group)
    return Shard(name, group[0].root, part, len(group), sum(file.size or 0 for file in group))


def _row(fs: AbstractFileSystem, file: File, columns: list[str]) -> dict[str, Any] | str:
    """The row of `file`, or why it cannot be read. Raises WorldError for a lost connection."""
    row: dict[str, Any] = {"path": file.label, "name": posixpath.basename(file.label)}
    if "bytes" not in columns:
        return row
    try:
        content = fs.cat_file(file.path)
    except Exception as error:
        if is_away(error):
            raise WorldError(f"{file.path}: {lost(error)}") from error
        if not isinstance(error, (OSError, ValueError, LookupError)):
            raise
        return f"{file.label}: {type(error).__name__}: {error}; expected a file that can be read"
    return row | {"bytes": content} if len(content) <= LARGEST else f"{file.label}: {len(content)} bytes; expected at most {LARGEST}"


def _batch(rows: list[dict[str, Any]], columns: list[str]) -> pa.RecordBatch:
    schema = pa.schema([*(SCHEMA.field(name) for name in columns), (ROW, pa.int64())])
    return pa.RecordBatch.from_pylist(rows, schema=schema)
