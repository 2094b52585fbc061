"""ParquetSource: shards, batches, schemas, and broken files."""

import base64
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import Shard, ShardError
from pipelines.sources.parquet import ParquetSource
from schemas.columns import BATCH_BYTES, BATCH_ROWS, ROW, Rejection
from schemas.errors import JobError

PROPERTY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_all(source: ParquetSource, columns: list[str] | None = None) -> tuple[pa.Table, list[Rejection]]:
    """All rows of all shards, after the pickling that a worker's source goes through."""
    columns = source.schema().names if columns is None else columns
    shards = source.shards()
    source = pickle.loads(pickle.dumps(source))
    found = [item for shard in shards for item in source.read(shard, columns)]
    schema = pa.schema([*(source.schema().field(name) for name in columns), (ROW, pa.int64())])
    batches = [item for item in found if isinstance(item, pa.RecordBatch)]
    return pa.Table.from_batches(batches, schema), [item for item in found if isinstance(item, Rejection)]


def batches_of(source: ParquetSource, shard: Shard, columns: list[str]) -> list[pa.RecordBatch]:
    return [item for item in source.read(shard, columns) if isinstance(item, pa.RecordBatch)]


def table(rows: int, start: int = 0) -> pa.Table:
    numbers = range(start, start + rows)
    return pa.table(
        {"id": pa.array(numbers, pa.int64()), "text": [f"text {i}" for i in numbers], "vector": [[float(i)] * 3 for i in numbers]}
    )


def test_a_path_a_url_a_folder_and_a_glob_find_the_same_rows(tmp_path: Path) -> None:
    pq.write_table(table(10), tmp_path / "a.parquet")
    for place in (f"{tmp_path}/a.parquet", f"file://{tmp_path}/a.parquet", str(tmp_path), f"{tmp_path}/", f"{tmp_path}/*.parquet"):
        rows, rejected = read_all(ParquetSource(place, {}))
        assert rows.drop_columns([ROW]) == table(10) and not rejected
        assert rows[ROW].to_pylist() == list(range(10))


def test_a_memory_file_system_is_read_as_well(tmp_path: Path) -> None:
    pq.write_table(table(10), tmp_path / "a.parquet")
    fsspec.filesystem("memory").pipe("/parquet/b/a.parquet", (tmp_path / "a.parquet").read_bytes())
    source = ParquetSource("memory://parquet", {})
    assert read_all(source)[0].num_rows == 10
    assert [shard.name for shard in source.shards()] == ["b/a.parquet#0-0"]


def test_shards_are_whole_row_groups_that_cover_each_row_once(tmp_path: Path) -> None:
    pq.write_table(table(5500), tmp_path / "b.parquet", row_group_size=1000)
    pq.write_table(table(10, 5500), tmp_path / "c.parquet")
    pq.write_table(table(0), tmp_path / "a.parquet")
    source = ParquetSource(str(tmp_path), {})
    assert [(s.name, s.rows) for s in source.shards()] == [
        ("b.parquet#0-1", 2000),
        ("b.parquet#2-3", 2000),
        ("b.parquet#4-5", 1500),
        ("c.parquet#0-0", 10),
    ]
    assert all(shard.size > 0 for shard in source.shards())
    assert read_all(source)[0]["id"].to_pylist() == list(range(5510))


@PROPERTY
@given(files=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), min_size=1, max_size=3))
def test_row_numbers_are_exact_whatever_the_row_groups(files: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("groups")
    start = 0
    for number, (rows, group) in enumerate(files):
        pq.write_table(table(rows, start), folder / f"{number}.parquet", row_group_size=group)
        start += rows
    source = ParquetSource(str(folder), {})
    rows, _ = read_all(source, ["id"])
    assert rows["id"].to_pylist() == list(range(start))
    assert rows[ROW].to_pylist() == [row for shard in source.shards() for row in range(shard.rows or 0)]


def test_partition_folders_become_columns(tmp_path: Path) -> None:
    for year, month, start in (("2025", "01", 0), ("2026", "a%20b", 5), ("__HIVE_DEFAULT_PARTITION__", "03", 10)):
        folder = tmp_path / f"year={year}" / f"month={month}"
        folder.mkdir(parents=True)
        pq.write_table(table(5, start), folder / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_metadata").write_bytes(b"x")
    (tmp_path / ".part.crc").write_bytes(b"x")
    source = ParquetSource(str(tmp_path), {})
    assert source.schema() == table(1).schema.append(pa.field("year", pa.int64())).append(pa.field("month", pa.string()))
    rows, _ = read_all(source, ["id", "month", "year"])
    assert {(row["id"] // 5, row["year"], row["month"]) for row in rows.to_pylist()} == {(0, 2025, "01"), (1, 2026, "a b"), (2, None, "03")}
    assert read_all(source, ["year"])[0].num_rows == 15
    assert read_all(source, [])[0].num_rows == 15
    assert ParquetSource(f"{tmp_path}/year=*/*/*.parquet", {}).schema() == source.schema()


def test_absent_columns_are_null_and_plain_types_come_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "tag": pa.array(["x"]).dictionary_encode()}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [2], "extra": [0.5]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": [3], "tag": pa.nulls(1)}), tmp_path / "c.parquet")
    source = ParquetSource(str(tmp_path), {})
    assert source.schema() == pa.schema([("id", pa.int64()), ("tag", pa.string()), ("extra", pa.float64())])
    rows = read_all(source)[0]
    assert rows["tag"].to_pylist() == ["x", None, None] and rows["extra"].to_pylist() == [None, 0.5, None]


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_nulls_among_vectors_of_a_fixed_size_are_read(codec: str, tmp_path: Path) -> None:
    """pyarrow 25 cannot read such a file, though it wrote it: "Expected all lists to be of size=3 but index 2 had size=0"."""
    vectors = pa.array([[1.0, 2.0, 3.0], None, [4.0, 5.0, None], None], pa.list_(pa.float32(), 3))
    others = {"kind": pa.array(["a", "b", None, "a"]).dictionary_encode(), "long": pa.array(["x"] * 4, pa.large_string())}
    times = pa.array([1, 2, None, 4], pa.timestamp("s", "Europe/Berlin"))
    written = pa.table({"id": range(4), "vector": vectors, "time": times, "wait": times.cast(pa.int64()).cast(pa.duration("s"))} | others)
    pq.write_table(written, tmp_path / "a.parquet", row_group_size=3, compression=codec)
    rows, rejected = read_all(ParquetSource(str(tmp_path), {}))
    assert not rejected and rows["vector"].to_pylist() == vectors.to_pylist()
    assert rows.drop_columns([ROW]).to_pylist() == written.to_pylist()


def test_dictionaries_in_lists_are_read_across_row_groups(tmp_path: Path) -> None:
    tags = pa.array([["a", "b"], None, ["c"]] * 10, pa.list_(pa.dictionary(pa.int32(), pa.string())))
    pq.write_table(pa.table({"tags": tags}), tmp_path / "a.parquet", row_group_size=1)
    assert read_all(ParquetSource(str(tmp_path), {}))[0]["tags"].to_pylist() == tags.to_pylist()


def test_writers_that_name_list_items_differently_agree(tmp_path: Path) -> None:
    tags = pa.array([["a", "b"], None]).cast(pa.list_(pa.dictionary(pa.int32(), pa.string())))
    pq.write_table(pa.table({"tags": tags, "size": [{"w": [1.0]}] * 2}), tmp_path / "a.parquet")
    plain = pa.table({"tags": [["c"]], "size": [{"w": [2.0]}]})
    pq.write_table(plain, tmp_path / "b.parquet", use_compliant_nested_type=False)
    source = ParquetSource(str(tmp_path), {})
    assert source.schema() == plain.schema
    assert read_all(source)[0]["tags"].to_pylist() == [["a", "b"], None, ["c"]]


def test_a_column_of_another_type_is_named_with_both_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(JobError, match=r"b\.parquet: column 'id' is string; expected int64, as in .*a\.parquet"):
        ParquetSource(str(tmp_path), {}).schema()


def test_bad_files_are_all_named_up_to_ten(tmp_path: Path) -> None:
    for number in range(13):
        (tmp_path / f"{number:02}.parquet").write_bytes(b"" if number % 2 else b"no parquet at all")
    with pytest.raises(JobError) as error:
        ParquetSource(str(tmp_path), {}).shards()
    assert len(error.value.faults) == 11 and error.value.faults[10] == "and 3 more such files"
    assert "01.parquet: is empty (0 bytes); expected a Parquet file" in error.value.faults[1]
    assert "00.parquet" in error.value.faults[0] and "expected a Parquet file" in error.value.faults[0]


@pytest.mark.parametrize("place", ["{}/none.parquet", "{}/*.nothing", "{}", "nosuch://x/y", "{}/none/", "zip://a::{}/none.zip"])
def test_nothing_found_is_a_job_error_that_names_the_place(place: str, tmp_path: Path) -> None:
    source = ParquetSource(place.format(tmp_path), {})
    with pytest.raises(JobError, match="expected"):
        source.schema()


def test_reserved_and_repeated_names_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({ROW: [1]}), tmp_path / "a.parquet")
    with pytest.raises(JobError, match="reserves"):
        ParquetSource(str(tmp_path), {}).schema()
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(JobError, match="two columns 'x'"):
        ParquetSource(str(tmp_path), {}).schema()


def test_batches_are_bounded_in_rows_and_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(60), "blob": [bytes([i]) * (1 << 20) for i in range(60)]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": range(5000), "blob": [b""] * 5000}), tmp_path / "b.parquet")
    source = ParquetSource(str(tmp_path), {})
    batches = [batch for shard in source.shards() for batch in batches_of(source, shard, ["blob"])]
    assert max(batch.nbytes for batch in batches) <= 1.1 * BATCH_BYTES
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS
    assert sum(batch.num_rows for batch in batches) == 5060
    assert [batch.num_rows for batch in batches_of(source, source.shards()[0], ["id"])] == [60]


@pytest.mark.parametrize("limit", [0, 1, 1023, 1024, 1500, 9999])
def test_a_limit_stops_the_shard(limit: int, tmp_path: Path) -> None:
    pq.write_table(table(2000), tmp_path / "a.parquet")
    source = ParquetSource(str(tmp_path), {})
    shard = replace(source.shards()[0], limit=limit)
    assert sum(batch.num_rows for batch in batches_of(source, shard, ["id"])) == min(limit, 2000)


def test_text_that_is_no_utf8_rejects_its_row_only(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff\xfe", b"fine", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": range(4), "text": texts}), tmp_path / "a.parquet")
    rows, rejected = read_all(ParquetSource(str(tmp_path), {}))
    assert rows["id"].to_pylist() == [0, 2, 3]
    assert [(r.row, r.code, r.stage, r.shard) for r in rejected] == [(1, "malformed", "read", "a.parquet#0-0")]


def corrupt(path: Path, change: Callable[[bytearray], Any]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def test_a_broken_page_is_a_shard_error_with_path_and_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(3000), path, row_group_size=2000, write_page_checksum=True, compression="zstd")
    start = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset

    def zero(content: bytearray) -> None:
        content[start + 40 : start + 60] = bytes(20)

    corrupt(path, zero)
    source = ParquetSource(str(tmp_path), {})
    good, bad = source.shards()
    assert sum(batch.num_rows for batch in batches_of(source, good, ["text"])) == 2000
    with pytest.raises(ShardError, match=r"a\.parquet, row group 1: "):
        list(source.read(bad, ["text"]))


def rows_or_an_error(source: ParquetSource) -> int:
    """The rows that come out, before a JobError or ShardError if there is one."""
    count = 0
    try:
        for shard in source.shards():
            for item in source.read(shard, source.schema().names):
                count += 1 if isinstance(item, Rejection) else len(item.to_pylist())
    except (JobError, ShardError):
        pass
    return count


def test_a_corrupt_size_statistic_does_not_abort_the_process(tmp_path: Path) -> None:
    """Asking pyarrow 25 for a column chunk's metadata would: the flips below hit its histogram of definition levels."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [[1, 2], None, []] * 20}), path)
    original = path.read_bytes()
    footer = len(original) - 8 - int.from_bytes(original[-8:-4], "little")
    places = range(footer, footer + 200)
    for place in places:
        path.write_bytes(original[:place] + bytes([original[place] ^ 0x10]) + original[place + 1 :])
        assert 0 <= rows_or_an_error(ParquetSource(str(path), {})) <= 60


@PROPERTY
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8), data=st.booleans())
def test_flipped_bytes_give_an_error_or_rows(flips: list[tuple[float, int]], data: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(300), path, row_group_size=100, compression="snappy")

    def flip(content: bytearray) -> None:
        for place, bits in flips:
            content[int(place * len(content))] ^= bits

    corrupt(path, flip)
    assert 0 <= rows_or_an_error(ParquetSource(str(path), {})) <= 300


@PROPERTY
@given(content=st.binary(max_size=300), framed=st.booleans())
def test_random_bytes_are_a_job_error(content: bytes, framed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1" if framed else content)
    assert rows_or_an_error(ParquetSource(str(path), {})) == 0


@pytest.mark.parametrize("kind", [pa.timestamp("us", "Europe/Berlin"), pa.list_(pa.timestamp("us", "Europe/Berlin"))])
def test_a_time_zone_that_is_no_text_is_a_broken_footer(tmp_path: Path, kind: pa.DataType) -> None:
    """Found by fuzzing: in a list, pyarrow finds it only when somebody asks."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": ["a"], "at": pa.array([None], kind)}), path)
    stored = pq.read_metadata(path).metadata[b"ARROW:schema"]
    broken = base64.b64encode(base64.b64decode(stored).replace(b"Europe", b"\x83\xffrope"))
    assert len(broken) == len(stored) and broken != stored
    path.write_bytes(path.read_bytes().replace(stored, broken))
    with pytest.raises(JobError, match="expected a Parquet file"):
        ParquetSource(str(path), {}).schema()
