"""Deletes, against a real Weaviate: what the source has no more goes, and nothing on a doubt."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from tests.conftest import Load
from tests.jobs.test_incremental import PROPERTIES, TWO, VECTORS, rows

MISSING = {"delete": "missing", "delete_share": 0.5}


def job_of(load: Load, table: pa.Table, source: dict[str, Any] | None = None, rest: dict[str, Any] | None = None, **target: Any) -> Path:
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | TWO))
    return load.job(load.parquet(table, row_group_size=20) | (source or {}), VECTORS, {"create": "class.json"} | target, **(rest or {}))


def keys(load: Load) -> set[str]:
    return {o["properties"]["key"] for o in load.objects().values()}


def deleted(report: dict[str, Any]) -> int:
    return int(report["counts"]["objects_deleted"])


def test_what_the_source_has_no_more_goes(load: Load) -> None:
    assert load.run(job_of(load, rows(50)))[0] == 0
    code, report = load.run(job_of(load, rows(40), **MISSING))
    assert (code, deleted(report)) == (0, 10) and report["counts"]["add_up"]
    assert keys(load) == {f"k{i}" for i in range(40)}
    code, report = load.run(job_of(load, rows(40), **MISSING))
    assert (code, deleted(report), report["counts"]["unchanged"]) == (0, 0, 40)


def test_by_default_nothing_goes(load: Load) -> None:
    load.run(job_of(load, rows(50)))
    load.run(job_of(load, rows(40)))
    assert len(load.objects()) == 50


def test_what_others_wrote_stays(load: Load) -> None:
    load.run(job_of(load, rows(30)))
    other = {"class": load.collection, "id": str(generate_uuid5("other")), "properties": {"key": "other"}}
    httpx.post(f"{load.server.url}/v1/objects", json=other, timeout=60).raise_for_status()
    load.run(job_of(load, rows(30, {29: "x"}), rest={"name": "another job"}))
    code, report = load.run(job_of(load, rows(20), **MISSING))
    assert (code, deleted(report)) == (0, 9)
    assert keys(load) == {f"k{i}" for i in range(20)} | {"k29", "other"}


def test_more_than_the_share_is_refused(load: Load) -> None:
    load.run(job_of(load, rows(50)))
    result = load.command("run", job_of(load, rows(30), delete="missing"))
    assert result.exit_code == 1 and "20 of 50 objects would be deleted" in result.output.replace("\n", " "), result.output
    assert len(load.objects()) == 50


@pytest.mark.parametrize("arguments", [["--limit", "10"]])
def test_part_of_the_source_deletes_nothing(load: Load, arguments: list[str]) -> None:
    load.run(job_of(load, rows(50)))
    result = load.command("run", job_of(load, rows(50), **MISSING), *arguments)
    assert "only part of the source" in result.output.replace("\n", " ")
    assert len(load.objects()) == 50


def test_failed_rows_count_as_present(load: Load) -> None:
    load.run(job_of(load, rows(50)))
    table = rows(40, prices={3: float("nan")})
    code, report = load.run(job_of(load, table, rest={"failures": {"path": "failures", "allowed_share": 1}}, **MISSING))
    assert (code, report["counts"]["failed"], deleted(report)) == (0, 1, 10)
    assert "k3" in keys(load)


def test_a_row_without_a_key_stops_deletes(load: Load) -> None:
    load.run(job_of(load, rows(50)))
    table = rows(40)
    table = table.set_column(0, "key", pa.array([None if i == 5 else f"k{i}" for i in range(40)]))
    result = load.command("run", job_of(load, table, rest={"failures": {"path": "failures", "allowed_share": 1}}, **MISSING))
    assert result.exit_code == 1 and "1 rows have no key" in result.output.replace("\n", " "), result.output
    assert len(load.objects()) == 50


def test_a_shard_that_cannot_be_read_stops_deletes(load: Load) -> None:
    load.run(job_of(load, rows(50)))
    job = job_of(load, rows(40), rest={"failures": {"path": "failures", "allowed_share": 1}}, **MISSING)
    file = load.folder / "rows.parquet"
    data = bytearray(file.read_bytes())
    data[8:60] = bytes(52)  # the first row group's pages
    file.write_bytes(bytes(data))
    result = load.command("run", job)
    assert "cannot be read" in result.output.replace("\n", " "), result.output
    assert len(load.objects()) == 50


def test_chunks_of_a_shorter_text_go_and_the_others_stay(load: Load, minilm: str) -> None:
    long = " ".join(f"Sentence number {i} of a long text." for i in range(60))
    short = " ".join(long.split()[:60])
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}}
    definition = TWO | {"vectorConfig": {"v": TWO["vectorConfig"]["v"]}, "properties": [*PROPERTIES, {"name": "part", "dataType": ["int"]}]}
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | definition))

    def run(text: str) -> dict[str, Any]:
        chunk = {"property": "title", "model": "v", "tokens": 64, "number": "part"}
        path = load.job(
            load.parquet(rows(3, titles={1: text})), vectors, {"create": "class.json"} | MISSING | {"delete_share": 0.9}, chunk=chunk
        )
        code, report = load.run(path)
        assert code == 0
        return report

    run(long)
    before = len(load.objects())
    assert deleted(run(short)) > 0
    assert len(load.objects()) < before
    parts = sorted(o["properties"]["part"] for o in load.objects().values() if o["properties"]["key"] == "k1")
    assert parts == list(range(len(parts)))


def test_marked_rows_are_deleted_and_the_others_loaded(load: Load) -> None:
    assert load.run(job_of(load, rows(30)))[0] == 0
    delta = (
        rows(40, titles={5: "new title"})
        .slice(0, 40)
        .append_column("gone", pa.array([True if i in (1, 2, 35) else (None if i == 3 else False) for i in range(40)]))
    )
    code, report = load.run(job_of(load, delta, {"deleted": "gone"}, delete="marked", delete_share=0.2))
    counts = report["counts"]
    assert code == 0 and counts["add_up"]
    assert (counts["read"], counts["loaded"], counts["unchanged"], deleted(report)) == (40, 12, 28, 2), counts
    assert keys(load) == {f"k{i}" for i in range(40)} - {"k1", "k2", "k35"}
    code, report = load.run(job_of(load, delta, {"deleted": "gone"}, delete="marked", delete_share=0.2))
    assert (code, deleted(report), report["counts"]["unchanged"]) == (0, 0, 40)


def test_marked_texts_go_with_all_their_chunks(load: Load, minilm: str) -> None:
    long = " ".join(f"Sentence number {i} of a long text." for i in range(400))
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}}
    definition = TWO | {"vectorConfig": {"v": TWO["vectorConfig"]["v"]}}
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | definition))
    chunk = {"property": "title", "model": "v", "tokens": 64}
    target = {"create": "class.json"}
    assert load.run(load.job(load.parquet(rows(3, titles={1: long})), vectors, target, chunk=chunk))[0] == 0
    assert len(load.objects()) > 20
    marked = rows(2).slice(1, 1).append_column("gone", pa.array([True]))
    code, report = load.run(
        load.job(load.parquet(marked) | {"deleted": "gone"}, vectors, target | {"delete": "marked", "delete_share": 1.0}, chunk=chunk)
    )
    assert code == 0 and report["counts"]["loaded"] == 1 and len(load.objects()) == 2


def test_chunks_of_a_shorter_text_in_a_delta_file_go(load: Load, minilm: str) -> None:
    long = " ".join(f"Sentence number {i} of a long text." for i in range(60))
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}}
    definition = TWO | {"vectorConfig": {"v": TWO["vectorConfig"]["v"]}, "properties": [*PROPERTIES, {"name": "part", "dataType": ["int"]}]}
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | definition))
    chunk = {"property": "title", "model": "v", "tokens": 64, "number": "part"}
    target = {"create": "class.json"}
    assert load.run(load.job(load.parquet(rows(3, titles={0: long, 1: long})), vectors, target, chunk=chunk))[0] == 0
    delta = rows(3, titles={1: " ".join(long.split()[:60])}).slice(1, 2).append_column("gone", pa.array([False, True]))
    marks = {"delete": "marked", "delete_share": 0.9}
    code, report = load.run(load.job(load.parquet(delta) | {"deleted": "gone"}, vectors, target | marks, chunk=chunk))
    parts = {key: sorted(o["properties"]["part"] for o in load.objects().values() if o["properties"]["key"] == key) for key in ("k0", "k1")}
    assert code == 0 and keys(load) == {"k0", "k1"} and deleted(report) > 1
    assert parts["k1"] == list(range(len(parts["k1"]))) and 0 < len(parts["k1"]) < len(parts["k0"]) == parts["k0"][-1] + 1


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ({"deleted": "gone"}, {"delete": "marked"}, "there is no column 'gone'"),
        ({"deleted": "title"}, {"delete": "marked"}, "must be boolean"),
        ({}, {"delete": "marked"}, "go together"),
        ({}, {"delete": "missing", "incremental": False}, "say target.incremental: true"),
    ],
)
def test_faults(load: Load, source: dict[str, Any], target: dict[str, Any], words: str) -> None:
    result = load.command("check", job_of(load, rows(5), source, **target))
    assert result.exit_code == 2 and words in result.output.replace("\n", " "), result.output
