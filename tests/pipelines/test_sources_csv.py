"""CsvSource: types, quoting, and rows that do not fit."""

import csv
import gzip
import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import ShardError
from pipelines.sources.csv import CsvSource
from schemas.columns import ROW, Rejection, rejected_batch
from schemas.errors import JobError

PROPERTY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def source_of(path: Path, content: str | bytes) -> CsvSource:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvSource(str(path), {})


def read_all(source: CsvSource, columns: list[str] | None = None) -> tuple[list[dict[str, Any]], list[Rejection]]:
    """All rows and rejections, after the pickling that a worker's source goes through."""
    columns = source.schema().names if columns is None else columns
    shards = source.shards()
    source = pickle.loads(pickle.dumps(source))
    found = [item for shard in shards for item in source.read(shard, columns)]
    rejected = [item for item in found if isinstance(item, Rejection)]
    rejected_batch(rejected)
    return [row for item in found if not isinstance(item, Rejection) for row in item.to_pylist()], rejected


def test_types_come_from_the_values(tmp_path: Path) -> None:
    source = source_of(
        tmp_path / "a.csv",
        "int,double,bool,zip,big,mixed,none,words,plus\n"
        "1,1,true,007,99999999999999999999,1,,a,+1\n"
        "-20,1.5e3,False,8000,1,true,,nan,2\n"
        ",.5,,1,2,,,1e5,3\n",
    )
    kinds = [pa.int64(), pa.float64(), pa.bool_(), *[pa.string()] * 6]
    assert source.schema().types == kinds
    rows, rejected = read_all(source, ["int", "double", "bool", "none", "zip"])
    assert not rejected and rows == [
        {"int": 1, "double": 1.0, "bool": True, "none": None, "zip": "007", ROW: 0},
        {"int": -20, "double": 1500.0, "bool": False, "none": None, "zip": "8000", ROW: 1},
        {"int": None, "double": 0.5, "bool": None, "none": None, "zip": "1", ROW: 2},
    ]


def test_quotes_newlines_nulls_and_a_bom(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,"te,xt"\r\n1,"a ""b"", c\r\nd"\r\n2,""\r\n\r\n3,\r\n4,"x\n\n"\r\n5,"",'
    source = source_of(tmp_path / "a.csv", content)
    rows, rejected = read_all(source)
    assert [row["te,xt"] for row in rows] == ['a "b", c\r\nd', "", None, "x\n\n"]
    assert [row[ROW] for row in rows] == [0, 1, 2, 3]
    assert [r.row for r in rejected] == [4] and "line 10: 3 fields; expected 2, as in the header" in rejected[0].message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x,a", "line 1002: column 'id': 'x' does not fit int64"),
        (b"007,a", "'007' does not fit int64"),
        (b"9223372036854775808,a", "does not fit int64"),
        (b"1", "1 fields; expected 2"),
        (b"1,a,b", "3 fields; expected 2"),
        (b"1,\xff", "can't decode byte 0xff"),
        (b'1,"a"b', "expected fields quoted as RFC 4180 says"),
        (b"1,a\rb", "expected fields quoted as RFC 4180 says"),
    ],
)
def test_a_bad_row_is_rejected_alone(line: bytes, message: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "a.csv", b"id,text\n" + b"1,a\n" * 1000 + line + b"\n2,b\n")
    rows, rejected = read_all(source)
    assert len(rows) == 1001 and rows[-1] == {"id": 2, "text": "b", ROW: 1001}
    assert [(r.stage, r.code, r.shard, r.row, r.key, r.uuid) for r in rejected] == [("read", "malformed", "a.csv", 1000, None, None)]
    assert message in rejected[0].message and f"{tmp_path}/a.csv, line 1002: " in rejected[0].message


def test_a_quote_that_never_ends_is_one_rejection(tmp_path: Path) -> None:
    rows, rejected = read_all(source_of(tmp_path / "a.csv", 'id\n1\n"2\n3\n4\n'))
    assert [row["id"] for row in rows] == [1]
    assert [r.row for r in rejected] == [1]


@pytest.mark.parametrize("content", ["", "\n\n", "a,,b\n1,2,3\n", "a,b,a\n1,2,3\n", '"a', "@row\n1\n"])
def test_a_bad_header_is_a_job_error(content: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"source|expected a header line"):
        source_of(tmp_path / "a.csv", content).schema()


def test_files_with_other_columns_and_gz(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\n1,2\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"y,id\nz,3\n"))
    source = CsvSource(f"file://{tmp_path}/*", {})
    assert source.schema() == pa.schema([("id", pa.int64()), ("x", pa.int64()), ("y", pa.string())])
    assert [shard.name for shard in source.shards()] == ["a.csv", "b.csv.gz"]
    assert read_all(source)[0] == [{"id": 1, "x": 2, "y": None, ROW: 0}, {"id": 3, "x": None, "y": "z", ROW: 0}]


def test_a_header_alone_has_no_rows_and_long_fields_are_read(tmp_path: Path) -> None:
    assert read_all(source_of(tmp_path / "a.csv", "id,text")) == ([], [])
    rows, _ = read_all(source_of(tmp_path / "b.csv", "id,text\n1," + "x" * 500_000 + "\n"))
    assert len(rows[0]["text"]) == 500_000


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
FIELDS = st.none() | st.sampled_from(["", "1", "1.5", "true", '"', ",", "\n", "\r\n", '""', "a"]) | TEXT


def written(rows: list[list[str | None]]) -> bytes:
    """RFC 4180, None as nothing, every text in quotes."""
    lines = [",".join("" if field is None else '"' + field.replace('"', '""') + '"' for field in row) for row in rows]
    return "".join(line + "\r\n" for line in lines).encode()


@PROPERTY
@given(rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2), max_size=30))
def test_what_was_written_is_read(rows: list[list[str | None]], tmp_path: Path) -> None:
    marker: list[str | None] = ["text", "text"]  # so that both columns are strings
    source = source_of(tmp_path / "a.csv", written([["x", "y"], marker, *rows]))
    found, rejected = read_all(source)
    assert not rejected and [[row["x"], row["y"]] for row in found] == [marker, *rows]


@PROPERTY
@given(rows=st.lists(st.lists(FIELDS.map(lambda f: f or "-"), min_size=1, max_size=4), max_size=30), limit=st.none() | st.integers(0, 20))
def test_every_row_is_read_or_rejected_once(rows: list[list[str]], limit: int | None, tmp_path: Path) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["x", "y"], *rows])
    source = source_of(tmp_path / "a.csv", buffer.getvalue())
    found = list(source.read(replace(source.shards()[0], limit=limit), ["x", "y"]))
    rejected = [item.row for item in found if isinstance(item, Rejection)]
    good = [row for item in found if not isinstance(item, Rejection) for row in item.column(ROW).to_pylist()]
    assert sorted(good + rejected) == list(range(len(rows) if limit is None else min(limit, len(rows))))
    assert all(len(rows[row]) == 2 for row in good)


@PROPERTY
@given(
    content=st.binary(max_size=500),
    header=st.sampled_from([b"", b"a,b\n"]),
    name=st.sampled_from(["a.csv", "a.csv.gz"]),
    packed=st.booleans(),
)
def test_random_bytes_raise_nothing_else(content: bytes, header: bytes, name: str, packed: bool, tmp_path: Path) -> None:
    content = header + content
    try:
        read_all(source_of(tmp_path / name, gzip.compress(content)[: len(content)] if packed else content))
    except (JobError, ShardError) as error:
        assert name in str(error)


def test_a_header_that_breaks_after_the_start_breaks_the_shard_and_not_the_job(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text\n1,a\n")
    source = CsvSource(str(path), {})
    (shard,) = source.shards()
    names = source.schema().names
    path.write_text('"id"x,text\n1,a\n')
    with pytest.raises(ShardError, match="expected a header line"):
        list(source.read(shard, names))
