"""CSV with a header line, quoted as RFC 4180 says; `.gz` is unpacked. A file is a shard: a quote may span lines."""

import csv
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa

from pipelines.sources import Shard, ShardError
from pipelines.sources.csv_types import CONVERTERS, column_type
from pipelines.sources.listing import File, file_system, list_files, naming_broken, open_bytes, raise_first_faults
from pipelines.sources.rows import LINE_BYTES, SAMPLE_ROWS, Column, Line, Row, read_lines, refuse_row_column, row_batches
from schemas.columns import Rejection
from schemas.errors import JobError

THREADS = 8
FIELD = re.compile(r'("[^"]*(?:""[^"]*)*"|[^,]*)(?:,|\Z)')


class CsvSource:
    """The rows of CSV files; the types come from the first 1,000 rows, a column that a file has not is null there."""

    def __init__(self, location: str, storage_options: dict[str, Any]) -> None:
        """Keep the names; nothing is opened."""
        self.location, self.storage_options = location, storage_options

    def schema(self) -> pa.Schema:
        """Every file's columns: int64, double, bool or string, by the first rows.

        Raises JobError if there is no file, or one has no header, or a header with a name that is empty or occurs twice.
        """
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        files = list_files(self.location, self.storage_options)
        with ThreadPoolExecutor(THREADS) as pool:
            headers = list(pool.map(self._header, files))
        raise_first_faults([header for header in headers if isinstance(header, str)])
        names = list(dict.fromkeys(name for header in headers for name in header))
        refuse_row_column(names, self.location)
        sample = self._sample(files, names)
        return pa.schema([(name, column_type(row[i] for row in sample)) for i, name in enumerate(names)])

    def _header(self, file: File) -> list[str] | str:
        """The names in the header line of `file`, or what is wrong with it."""
        try:
            return next(self._records(Shard(file.label, file.path))).header
        except StopIteration:
            return f"{file.path}: is empty; expected a header line with the names of the columns"
        except (JobError, ShardError) as error:
            return str(error)

    def _sample(self, files: list[File], names: list[str]) -> list[list[str | None]]:
        """The first rows that are well formed, as text."""
        shards = (Shard(file.label, file.path) for file in files)
        try:
            rows = islice((row for shard in shards for row in self._rows(shard, names)), SAMPLE_ROWS)
            return [list(row.values) for row in rows if not row.fault]
        except ShardError as error:
            raise JobError(f"{error}; expected a CSV file") from error

    def shards(self) -> list[Shard]:
        """One for each file. Raises JobError if there is none."""
        files = list_files(self.location, self.storage_options)
        return [Shard(file.label, file.path, size=file.size or 0) for file in files]

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Batches of `columns` and `@row`, and a Rejection for each row with other fields than the header or a value of another type."""
        types = self.schema()
        wanted = [Column(name, types.field(name).type, CONVERTERS[types.field(name).type]) for name in columns]
        return row_batches(self._rows_at_work(shard, columns), shard, wanted)

    def _rows_at_work(self, shard: Shard, columns: list[str]) -> Iterator[Row]:
        """`_rows`, where a header that was good at the start and is not any more breaks the shard, not the job."""
        try:
            yield from self._rows(shard, columns)
        except JobError as error:
            raise ShardError(str(error)) from error

    def _rows(self, shard: Shard, columns: list[str]) -> Iterator[Row]:
        """The shard's rows, values in the order of `columns`."""
        records = self._records(shard)
        header = next(records, _Record(1, [])).header
        index = [header.index(name) if name in header else None for name in columns]
        for record in records:
            if record.fault or len(record.fields) != len(header):
                fault = record.fault or f"{len(record.fields)} fields; expected {len(header)}, as in the header"
                yield Row(f"line {record.line}", (), fault=fault)
            else:
                yield Row(f"line {record.line}", [None if i is None else record.fields[i] for i in index], record.size)

    def _records(self, shard: Shard) -> Iterator["_Record"]:
        """The header, checked, then the other records. Raises JobError for a bad header, ShardError for a broken file."""
        fs, _ = file_system(self.location, self.storage_options)
        with naming_broken(shard.path), open_bytes(fs, shard.path) as stream:
            records = _split(read_lines(stream, shard.path))
            for first in islice(records, 1):
                fault = _header_fault(first)
                if fault:
                    raise JobError(f"{shard.path}, line {first.line}: {fault}; expected a header line with the names of the columns")
                yield first
            yield from records


class _Record:
    """The fields between two line ends outside quotes, or what is wrong with them."""

    def __init__(self, line: int, fields: list[str | None], size: int = 0, fault: str = "") -> None:
        self.line, self.fields, self.size, self.fault = line, fields, size, fault

    @property
    def header(self) -> list[str]:
        return [name or "" for name in self.fields]


class _Feed(Iterator[str]):
    """Feeds csv.reader with lines, and keeps those of the current record."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self.lines, self.number = lines, 0
        self.record: list[str] = []
        self.fault = ""

    def __next__(self) -> str:
        content = next(self.lines).content
        self.number += 1
        if content is None:
            raise csv.Error(f"a line of more than {LINE_BYTES} bytes")
        try:
            self.record.append(content.decode("utf-8"))
        except UnicodeDecodeError as error:
            self.fault = f"{error}; expected UTF-8"
            self.record.append(content.decode("utf-8", "replace"))
        return self.record[-1]


def _split(lines: Iterator[Line]) -> Iterator[_Record]:
    """The records of a file; blank lines are none."""
    csv.field_size_limit(LINE_BYTES)
    feed = _Feed(lines)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.record, feed.fault, line = [], "", feed.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Record(line, [], fault=f"{error}; expected fields quoted as RFC 4180 says")
            continue
        if fields:
            yield _Record(line, _with_nulls(fields, feed.record), sum(map(len, feed.record)), feed.fault)


def _with_nulls(fields: list[str], record: list[str]) -> list[str | None]:
    """`fields` with None for the empty ones that have no quotes, which csv.reader does not tell apart."""
    if "" not in fields:
        return list(fields)
    if not any('""' in line for line in record):
        return [field or None for field in fields]
    raw = FIELD.findall("".join(record).rstrip("\r\n"))
    return [field or ("" if text else None) for field, text in zip(fields, raw, strict=False)]


def _header_fault(header: _Record) -> str:
    names = header.header
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if header.fault:
        return header.fault
    if "" in names:
        return f"the name of column {names.index('') + 1} is empty"
    return f"the name {twice[0]!r} occurs twice" if twice else ""
