"""FilesSource: names, shards, contents."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources.files import FilesSource
from schemas.columns import BATCH_BYTES, ROW, Rejection, rejected_batch
from schemas.errors import JobError

PROPERTY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLUMNS = ["path", "name", "bytes"]


def read_all(source: FilesSource, columns: list[str]) -> tuple[list[dict[str, Any]], list[Rejection]]:
    """All rows and rejections, after the pickling that a worker's source goes through."""
    shards = source.shards()
    source = pickle.loads(pickle.dumps(source))
    found = [item for shard in shards for item in source.read(shard, columns)]
    rejected = [item for item in found if isinstance(item, Rejection)]
    rejected_batch(rejected)
    return [row for item in found if not isinstance(item, Rejection) for row in item.to_pylist()], rejected


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, content in (
        ("b.jpg", b"B"),
        ("sub/a.jpg", b""),
        ("_MG_1.jpg", b"M"),
        (".hidden", b"no"),
        (".git/x", b"no"),
        ("ü [1].jpg", b"u"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("place", ["{}", "{}/", "file://{}", "{}/*"])
def test_a_folder_a_url_and_a_glob_find_the_same(place: str, photos: Path) -> None:
    source = FilesSource(place.format(photos), {})
    assert source.schema() == pa.schema([("path", pa.string()), ("name", pa.string()), ("bytes", pa.binary())])
    rows, rejected = read_all(source, COLUMNS)
    assert not rejected and [tuple(row.values()) for row in rows] == [
        ("_MG_1.jpg", "_MG_1.jpg", b"M", 0),
        ("b.jpg", "b.jpg", b"B", 1),
        ("sub/a.jpg", "a.jpg", b"", 2),
        ("ü [1].jpg", "ü [1].jpg", b"u", 3),
    ]


def test_one_file_and_a_narrow_glob(photos: Path) -> None:
    assert [row["path"] for row in read_all(FilesSource(f"{photos}/ü [1].jpg", {}), ["path"])[0]] == ["ü [1].jpg"]
    assert [row["path"] for row in read_all(FilesSource(f"{photos}/s*/*.jpg", {}), ["path"])[0]] == ["sub/a.jpg"]
    assert [row["path"] for row in read_all(FilesSource(f"{photos}/**/*.jpg", {}), ["path"])[0]][:2] == ["_MG_1.jpg", "b.jpg"]


def test_a_memory_file_system() -> None:
    fsspec.filesystem("memory").pipe({"/files/x/1.bin": b"one", "/files/2.bin": b"two"})
    rows, _ = read_all(FilesSource("memory://files", {}), ["bytes", "path"])
    assert rows == [{"bytes": b"two", "path": "2.bin", ROW: 0}, {"bytes": b"one", "path": "x/1.bin", ROW: 1}]


def test_a_file_that_cannot_be_read_is_rejected_if_its_bytes_are_asked_for(photos: Path) -> None:
    os.symlink(photos / "nowhere", photos / "c.jpg")
    os.mkfifo(photos / "pipe")
    source = FilesSource(str(photos), {})
    rows, rejected = read_all(source, COLUMNS)
    assert [row[ROW] for row in rows] == [0, 1, 3, 4]
    assert [(r.code, r.stage, r.row, r.key) for r in rejected] == [("unreadable", "read", 2, None)]
    assert "c.jpg: FileNotFoundError" in rejected[0].message
    assert len(read_all(source, ["path"])[0]) == 5


def test_a_name_that_is_no_utf8_is_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.bin")).write_bytes(b"x")
    rows, rejected = read_all(FilesSource(str(tmp_path), {}), COLUMNS)
    assert not rejected and rows == [{"path": "a\\udcff.bin", "name": "a\\udcff.bin", "bytes": b"x", ROW: 0}]


@pytest.mark.parametrize("place", ["{}/none", "{}", "{}/*.jpg"])
def test_nothing_found_is_a_job_error(place: str, tmp_path: Path) -> None:
    for call in (FilesSource(place.format(tmp_path), {}).schema, FilesSource(place.format(tmp_path), {}).shards):
        with pytest.raises(JobError, match="no file found; expected a file"):
            call()


def test_batches_are_bounded_in_bytes(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.bin").write_bytes(bytes(1 << 20))
    source = FilesSource(str(tmp_path), {})
    batches = [batch for shard in source.shards() for batch in source.read(shard, ["bytes"]) if isinstance(batch, pa.RecordBatch)]
    assert len(source.shards()) == 1 and max(batch.nbytes for batch in batches) < BATCH_BYTES + (2 << 20)


@PROPERTY
@given(count=st.integers(1, 600), limit=st.none() | st.integers(0, 300))
def test_shards_cover_each_file_once(count: int, limit: int | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    fsspec.filesystem("memory").rm("/many", recursive=True) if fsspec.filesystem("memory").exists("/many") else None
    fsspec.filesystem("memory").pipe({f"/many/{number:03}": b"%d" % number for number in range(count)})
    source = FilesSource("memory://many", {})
    shards = [replace(shard, limit=limit) for shard in source.shards()]
    assert sum(shard.rows or 0 for shard in shards) == count and len({shard.name for shard in shards}) == len(shards)
    found = [
        [row["bytes"] for item in source.read(s, ["bytes"]) if isinstance(item, pa.RecordBatch) for row in item.to_pylist()] for s in shards
    ]
    assert [len(rows) for rows in found] == [min(shard.rows or 0, 9999 if limit is None else limit) for shard in shards]
    if limit is None:
        assert [value for rows in found for value in rows] == [b"%d" % number for number in range(count)]
