"""From lines of text to record batches: what JSON Lines and CSV share."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from pipelines.sources import Shard, ShardError
from pipelines.sources.listing import naming_broken, printable
from schemas.columns import BATCH_BYTES, BATCH_ROWS, ROW, Rejection
from schemas.errors import JobError

SAMPLE_ROWS = 1000  # from which the types are inferred
LINE_BYTES = 64 << 20  # a longer line is rejected: memory stays bounded
VALUE_SHOWN = 80
BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line with its end; `content` is None if it is longer than LINE_BYTES."""

    offset: int  # bytes from the start of the (unpacked) file
    content: bytes | None


class Row(NamedTuple):
    """A row's raw values in the order of the columns asked for, or what is wrong with it."""

    place: str  # "line 3" or "byte 70"
    values: Sequence[Any]
    size: int = 0
    fault: str = ""


class Column(NamedTuple):
    """How a column is made; `convert` gives a value of `type`, and raises ValueError for one that does not fit."""

    name: str
    type: pa.DataType
    convert: Callable[[Any], Any]


def read_lines(stream: BinaryIO, path: str, start: int = 0, end: int | None = None) -> Iterator[Line]:
    """The lines that start in the bytes from `start` up to `end`. Raises ShardError if the file is broken or truncated."""
    with naming_broken(path):
        offset = start
        if start:
            stream.seek(start - 1)
            offset = start - 1 + _skip_line(stream)
        while end is None or offset < end:
            content = stream.readline(LINE_BYTES)
            if not content:
                return
            length = len(content)
            whole = content.endswith(b"\n") or length < LINE_BYTES
            if not whole:
                length += _skip_line(stream)
            yield Line(offset, (content.removeprefix(BOM) if offset == 0 else content) if whole else None)
            offset += length


def _skip_line(stream: BinaryIO) -> int:
    """Go to the start of the next line; the number of bytes on the way."""
    skipped = 0
    while piece := stream.readline(1 << 20):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def row_batches(rows: Iterator[Row], shard: Shard, columns: Sequence[Column]) -> Iterator[pa.RecordBatch | Rejection]:
    """Bounded batches of the rows whose values fit, and a Rejection for each other; rows before a broken place are not lost."""
    kept: list[list[Any]] = []
    size, broken = 0, None
    try:
        for number, row in enumerate(islice(rows, shard.limit)):
            try:
                kept.append([number, *_converted(row, columns)])
                size += row.size
            except ValueError as error:
                message = f"{printable(shard.path)}, {row.place}: {error}"
                yield Rejection(None, None, "read", "malformed", message, shard.name, number)
            if len(kept) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield _batch(kept, columns)
                kept, size = [], 0
    except ShardError as error:
        broken = error
    if kept:
        yield _batch(kept, columns)
    if broken:
        raise broken


def _converted(row: Row, columns: Sequence[Column]) -> list[Any]:
    """The row's values, each of its column's type. Raises ValueError that says what is wrong."""
    if row.fault:
        raise ValueError(row.fault)
    try:
        return [column.convert(value) for column, value in zip(columns, row.values, strict=True)]
    except ValueError:
        raise ValueError(next(_misfits(row, columns))) from None


def _misfits(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    for column, value in zip(columns, row.values, strict=True):
        try:
            column.convert(value)
        except ValueError:
            kind = str(column.type)[:VALUE_SHOWN]
            yield f"column {shortened(column.name)}: {shortened(value)} does not fit {kind}, the type of the first rows"


def shortened(value: Any) -> str:
    """`value` as an error shows it: its beginning."""
    text = repr(value)
    return text if len(text) <= VALUE_SHOWN else text[: VALUE_SHOWN - 1] + "…"


def _batch(kept: list[list[Any]], columns: Sequence[Column]) -> pa.RecordBatch:
    """The kept rows, each its number and its values, as one record batch that ends with `@row`."""
    numbers, *values = zip(*kept, strict=True)
    arrays = [pa.array(of, column.type) for of, column in zip(values, columns, strict=True)]
    fields = [(column.name, column.type) for column in columns]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(numbers, pa.int64())], schema=pa.schema([*fields, (ROW, pa.int64())]))


def refuse_row_column(names: Sequence[str], location: str) -> None:
    """Raise JobError if the source has a column `@row`, which is ours."""
    if ROW in names:
        raise JobError(f"source {location}: has a column {ROW!r}, a name that Warpbeam reserves; rename it in the source")
