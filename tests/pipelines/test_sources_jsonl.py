"""JsonLinesSource: types, byte ranges, and lines that are no objects."""

import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import ShardError, jsonl
from pipelines.sources.jsonl import JsonLinesSource
from schemas.columns import BATCH_ROWS, ROW, Rejection, rejected_batch
from schemas.errors import JobError

PROPERTY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def source_of(path: Path, *lines: str | bytes) -> JsonLinesSource:
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return JsonLinesSource(str(path), {})


def read_all(source: JsonLinesSource, columns: list[str] | None = None) -> tuple[list[dict[str, Any]], list[Rejection]]:
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
        tmp_path / "a.jsonl",
        '{"n": 1, "x": 1, "t": "2026-01-01T00:00:00Z", "b": true, "v": [1, 2.5], "s": {"a": 1}, "never": null}',
        '{"n": null, "x": 1.5, "s": {"b": [{"c": "d"}]}}',
    )
    inner = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.struct([("c", pa.string())])))])
    names = {
        "n": pa.int64(),
        "x": pa.float64(),
        "t": pa.string(),
        "b": pa.bool_(),
        "v": pa.list_(pa.float64()),
        "s": inner,
        "never": pa.string(),
    }
    assert source.schema() == pa.schema(list(names.items()))
    rows, rejected = read_all(source)
    assert not rejected and rows[0]["v"] == [1.0, 2.5] and rows[1]["x"] == 1.5 and rows[0]["x"] == 1.0
    assert rows[1]["s"] == {"a": None, "b": [{"c": "d"}]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x"}', "line 2: column 'id': 'x' does not fit int64"),
        ('{"id": true}', "column 'id': True does not fit int64"),
        ('{"id": 9223372036854775808}', "does not fit int64"),
        ('{"size": {"w": "x"}}', "column 'size': {'w': 'x'} does not fit struct<w: double>"),
        ('{"size": {"w": 1e999}}', "column 'size'"),
        ('{"size": 5}', "column 'size': 5 does not fit"),
        ('{"text": "' + "y" * 500 + '", "id": "' + "z" * 500 + '"}', "column 'id': 'zzz"),
        ('{"id": NaN}', "NaN is not JSON"),
        ('{"id": -Infinity}', "-Infinity is not JSON"),
        ("[1]", "a JSON list; expected one JSON object a line"),
        ("null", "a JSON NoneType; expected"),
        ('{"id": 1', "line 2: "),
        ('{"text": "\\ud800"}', "surrogates not allowed"),
        (b'{"text": "\xff"}', "can't decode byte 0xff"),
        ("[" * 100_000, "nested too deep"),
        ('{"text": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32 levels"),
        ('{"id": ' + "9" * 5000 + "}", "line 2: "),
    ],
)
def test_a_bad_line_is_rejected_alone(line: str | bytes, message: str, tmp_path: Path) -> None:
    good = '{"id": 1, "text": "a", "size": {"w": 0.5}}'
    source = source_of(tmp_path / "a.jsonl", good, line, "", "  ", good, "")
    rows, rejected = read_all(source)
    assert [row[ROW] for row in rows] == [0, 2]
    assert [(r.stage, r.code, r.shard, r.row, r.key, r.uuid) for r in rejected] == [("read", "malformed", "a.jsonl", 1, None, None)]
    assert message in rejected[0].message and f"{tmp_path}/a.jsonl, line 2: " in rejected[0].message
    assert len(rejected[0].message) < 400 + len(str(tmp_path))


def test_a_later_value_of_another_type_is_rejected(tmp_path: Path) -> None:
    source = source_of(tmp_path / "a.jsonl", *['{"id": 1}'] * 1000, '{"id": 1.5}', '{"id": 2, "new": 1}')
    rows, rejected = read_all(source)
    assert source.schema().names == ["id"] and rows[-1] == {"id": 2, ROW: 1001}
    assert [r.row for r in rejected] == [1000] and "line 1001: column 'id': 1.5 does not fit int64" in rejected[0].message


def test_a_value_that_is_not_asked_for_rejects_nothing(tmp_path: Path) -> None:
    source = source_of(tmp_path / "a.jsonl", '{"id": 1, "x": 1}', '{"id": 2, "x": "no"}')
    rows, rejected = read_all(source, ["id"])
    assert rows == [{"id": 1, ROW: 0}, {"id": 2, ROW: 1}] and not rejected


def test_whole_floats_and_pairs_of_surrogates_and_a_bom_fit(tmp_path: Path) -> None:
    source = source_of(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + b'{"id": 1, "t": "a"}\r', '{"id": 2.0, "t": "\\ud83d\\ude00"}')
    assert read_all(source) == ([{"id": 1, "t": "a", ROW: 0}, {"id": 2, "t": "😀", ROW: 1}], [])


def test_gz_and_folders_are_read_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": 2}\n{"id": 3}\n'))
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jsonl").write_text('{"id": 1}')
    (tmp_path / "sub" / "c.jsonl").write_text('{"id": 4}\n')
    (tmp_path / ".hidden").write_text("no")
    source = JsonLinesSource(f"file://{tmp_path}", {})
    assert [shard.name for shard in source.shards()] == ["a.jsonl", "b.jsonl.gz", "sub/c.jsonl"]
    assert [row["id"] for row in read_all(source)[0]] == [1, 2, 3, 4]


def test_a_truncated_gz_gives_its_rows_and_then_a_shard_error(tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"id": i, "t": str(i * i)}).encode() + b"\n" for i in range(20_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines)[:-20000])
    source = JsonLinesSource(str(tmp_path), {})
    rows = 0
    with pytest.raises(ShardError, match=r"a\.jsonl\.gz: cannot be read"):
        for batch in source.read(source.shards()[0], source.schema().names):
            assert isinstance(batch, pa.RecordBatch) and batch.num_rows <= BATCH_ROWS
            rows += batch.num_rows
    assert 1000 < rows < 20_000


def test_nothing_to_read_is_a_job_error(tmp_path: Path) -> None:
    for source in (
        JsonLinesSource(f"{tmp_path}/*.jsonl", {}),
        source_of(tmp_path / "b.jsonl", ""),
        source_of(tmp_path / "c.gz", "no gzip"),
    ):
        with pytest.raises(JobError, match="expected"):
            source.schema()
    with pytest.raises(JobError, match="reserves"):
        source_of(tmp_path / "d.jsonl", '{"@row": 1}').schema()


def test_a_line_beyond_the_bound_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.rows.LINE_BYTES", 1000)
    source = source_of(tmp_path / "a.jsonl", '{"id": 1}', '{"id": "' + "x" * 5000 + '"}', '{"id": 3}')
    rows, rejected = read_all(source)
    assert [row["id"] for row in rows] == [1, 3] and [r.row for r in rejected] == [1]


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
NESTED = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(st.sampled_from(["id", "a", "é", ""]), NESTED).map(json.dumps)
LINES = st.lists(OBJECTS.map(str.encode) | st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")) | st.just(b""), max_size=40)


@PROPERTY
@given(lines=LINES, size=st.integers(1, 200), end=st.sampled_from([b"", b"\n"]))
def test_every_line_is_read_or_rejected_once_whatever_the_ranges(lines: list[bytes], size: int, end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([b'{"id": 0}', *lines]) + end)
    source = JsonLinesSource(str(path), {})
    expected = 1 + sum(1 for line in lines if line.strip())
    whole = read_all(source)
    before, jsonl.RANGE_BYTES = jsonl.RANGE_BYTES, size
    try:
        shards = source.shards()
        cut = read_all(source)
    finally:
        jsonl.RANGE_BYTES = before
    assert len(whole[0]) + len(whole[1]) == len(cut[0]) + len(cut[1]) == expected
    names = source.schema().names
    assert [[row[n] for n in names] for row in whole[0]] == [[row[n] for n in names] for row in cut[0]]
    assert len({shard.name for shard in shards}) == len(shards) and sum(shard.size for shard in shards) == path.stat().st_size


@PROPERTY
@given(lines=LINES, limit=st.integers(0, 30))
def test_a_limit_counts_rejected_rows(lines: list[bytes], limit: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([b'{"id": 0}', *lines]))
    source = JsonLinesSource(str(path), {})
    found = list(source.read(replace(source.shards()[0], limit=limit), ["id"]))
    count = sum(1 if isinstance(item, Rejection) else item.num_rows for item in found)
    assert count == min(limit, 1 + sum(1 for line in lines if line.strip()))


@PROPERTY
@given(content=st.binary(max_size=500), name=st.sampled_from(["a.jsonl", "a.jsonl.gz"]), packed=st.booleans())
def test_random_bytes_raise_nothing_else(content: bytes, name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content)[: len(content)] if packed else content)
    try:
        read_all(JsonLinesSource(str(path), {}))
    except (JobError, ShardError) as error:
        assert name in str(error)


def test_an_empty_gz_is_broken_and_not_a_file_without_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(b"")
    with pytest.raises(JobError, match=r"b\.jsonl\.gz.*0 bytes"):
        JsonLinesSource(str(tmp_path), {}).schema()
