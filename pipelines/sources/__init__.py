"""The sources: a registry, and the contract that each file in this folder keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import pyarrow as pa

from schemas.columns import Rejection
from schemas.job import Job

SOURCES = {
    "parquet": "pipelines.sources.parquet:ParquetSource",
    "jsonl": "pipelines.sources.jsonl:JsonLinesSource",
    "csv": "pipelines.sources.csv:CsvSource",
    "files": "pipelines.sources.files:FilesSource",
}


@dataclass(frozen=True)
class Shard:
    """A piece of the source that one worker reads: whole row groups, a byte range of a file, or some files.

    `name` is unique and the same in every run; `rows` is None where it cannot be known without reading;
    `limit`, if set, is the number of rows after which reading stops.
    """

    name: str
    path: str
    part: tuple[Any, ...] = ()
    rows: int | None = None
    size: int = 0  # bytes to read, about
    limit: int | None = None


class ShardError(Exception):
    """The rest of a shard cannot be read: a broken page, a truncated file; names the path, the place and the cause."""


class Source(Protocol):
    """Reads objects as columns; made on the launcher, used on workers (pickled, so it holds no open file)."""

    def schema(self) -> pa.Schema:
        """The columns and their types. Raises JobError if nothing matches or a file is not what it should be."""
        ...

    def shards(self) -> list[Shard]:
        """The pieces, in a fixed order. Raises JobError as `schema` does."""
        ...

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Bounded batches of only `columns`, plus `@row` (int64, the row's number in the shard).

        A row that cannot be parsed is a Rejection; its number counts. Raises ShardError when the rest of the shard is
        unreadable.
        """
        ...


def source_of(job: Job) -> Source:
    """The source that `job` names."""
    module, name = SOURCES[job.source.kind].split(":")
    source: Source = getattr(import_module(module), name)(job.resolve(job.source.location), job.source.storage_options)
    return source
