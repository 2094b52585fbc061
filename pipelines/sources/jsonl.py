"""JSON Lines: one object a line; large files are cut into byte ranges, `.gz` is unpacked."""

import json
import re
from collections.abc import Iterator
from functools import cached_property, reduce
from itertools import islice
from typing import Any

import pyarrow as pa

from pipelines.sources import Shard, ShardError
from pipelines.sources.json_types import converter, inferred, merged, settled
from pipelines.sources.listing import File, file_system, list_files, naming_broken, open_bytes
from pipelines.sources.rows import LINE_BYTES, SAMPLE_ROWS, Column, Line, Row, read_lines, refuse_row_column, row_batches
from schemas.columns import Rejection
from schemas.errors import JobError

RANGE_BYTES = 32 << 20
DEPTH = 32  # of nesting; Arrow's IPC reads at most 64 levels
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonLinesSource:
    """The objects of JSON Lines files; the types come from the first 1,000 lines, a field that is not among them is left out."""

    def __init__(self, location: str, storage_options: dict[str, Any]) -> None:
        """Keep the names; nothing is opened."""
        self.location, self.storage_options = location, storage_options

    def schema(self) -> pa.Schema:
        """The columns and their types, by the first lines: ints and floats give double, a field that is always null a string.

        Raises JobError if there is no file, a file is broken, or none of these lines is an object.
        """
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        objects = list(islice(self._sample(), SAMPLE_ROWS))
        kind = reduce(merged, map(inferred, objects), pa.null())
        if not objects:
            raise JobError(f"source {self.location}: no JSON object in its first {SAMPLE_ROWS} lines; expected one object a line")
        refuse_row_column([field.name for field in kind], self.location)
        return pa.schema([pa.field(field.name, settled(field.type)) for field in kind])

    def _sample(self) -> Iterator[dict[str, Any]]:
        """The objects among the first lines."""
        shards = (Shard(file.label, file.path, (0, None)) for file in list_files(self.location, self.storage_options))
        try:
            for row in islice((row for shard in shards for row in self._rows(shard, None)), SAMPLE_ROWS):
                yield from row.values
        except ShardError as error:
            raise JobError(f"{error}; expected a JSON Lines file") from error

    def shards(self) -> list[Shard]:
        """Byte ranges of at most 32 MB; a `.gz` file is one shard. Raises JobError if there is no file."""
        return [shard for file in list_files(self.location, self.storage_options) for shard in _ranges(file)]

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Batches of `columns` and `@row`, and a Rejection for each line that is no object or has a value of another type."""
        types = self.schema()
        wanted = [Column(name, types.field(name).type, converter(types.field(name).type)) for name in columns]
        return row_batches(self._rows(shard, columns), shard, wanted)

    def _rows(self, shard: Shard, columns: list[str] | None) -> Iterator[Row]:
        """The shard's rows: values in the order of `columns`, or the whole object as the only value."""
        fs, _ = file_system(self.location, self.storage_options)
        start, end = shard.part
        with naming_broken(shard.path), open_bytes(fs, shard.path) as stream:
            for number, line in enumerate(read_lines(stream, shard.path, start, end), 1):
                if line.content is None or line.content.strip():
                    yield _row(line, f"byte {line.offset}" if start else f"line {number}", columns)


def _ranges(file: File) -> Iterator[Shard]:
    if file.name.endswith(".gz") or file.size is None or file.size <= RANGE_BYTES:
        yield Shard(file.label, file.path, (0, None), size=file.size or 0)
        return
    for start in range(0, file.size, RANGE_BYTES):
        end = min(start + RANGE_BYTES, file.size)
        yield Shard(f"{file.label}#{start}-{end}", file.path, (start, end), size=end - start)


def _row(line: Line, place: str, columns: list[str] | None) -> Row:
    try:
        value = parsed(line.content)
    except (ValueError, RecursionError) as error:
        return Row(place, (), fault=f"{_cause(error)}; expected one JSON object a line")
    return Row(place, (value,) if columns is None else [value.get(name) for name in columns], len(line.content or b""))


def parsed(content: bytes | None) -> dict[str, Any]:
    """The object on a line. Raises ValueError or RecursionError if it is none, or if Arrow could not hold it."""
    if content is None:
        raise ValueError(f"a line of more than {LINE_BYTES} bytes")
    text = content.decode("utf-8")
    value = _DECODER.decode(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}")
    if SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    if text.count("{") + text.count("[") > DEPTH and _is_deeper(value, DEPTH):
        raise ValueError(f"nested deeper than {DEPTH} levels")
    return value


def _cause(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        nested = [outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, dict | list)]
        level = [inner for outer in nested for inner in outer]
    return any(isinstance(outer, dict | list) for outer in level)
