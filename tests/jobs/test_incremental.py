"""A second run does only what is missing or changed, against a real Weaviate."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from jobs.incremental import tracked
from pipelines.targets.weaviate import WeaviateTarget
from schemas.fingerprints import STORED, STORED_JOB
from tests.conftest import Load

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
PROPERTIES = [{"name": n, "dataType": [t]} for n, t in (("key", "text"), ("title", "text"), ("price", "number"))]
TWO = {"properties": PROPERTIES, "vectorConfig": {"v": NONE, "w": NONE}}
VECTORS: dict[str, Any] = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}, "w": {"model": {"fake": 6}, "text_fields": ["key"]}}


def rows(n: int, titles: dict[int, str | None] | None = None, prices: dict[int, float] | None = None) -> pa.Table:
    numbers = range(n)
    return pa.table(
        {
            "key": [f"k{i}" for i in numbers],
            "title": [(titles or {}).get(i, f"title {i}") for i in numbers],
            "price": [(prices or {}).get(i, float(i)) for i in numbers],
        }
    )


def made(load: Load, table: pa.Table, vectors: dict[str, Any] = VECTORS, **target: Any) -> Path:
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | TWO))
    return load.job(load.parquet(table, row_group_size=40), vectors, {"create": "class.json"} | target)


def done(load: Load, job: Path) -> tuple[int, int, int, dict[str, tuple[int, int]]]:
    """(loaded, unchanged, written, per vector (encoded, read back))."""
    code, report = load.run(job)
    counts = report["counts"]
    assert code == 0 and counts["add_up"], report
    per_vector = {n: (v["tokens"], v["reused"]) for n, v in report["vectors"].items()}
    return counts["loaded"], counts["unchanged"], counts["objects_written"], per_vector


def contents(load: Load) -> dict[str, Any]:
    return {k: (o["properties"], o["vectors"]) for k, o in load.objects().items()}


def test_an_unchanged_table_is_neither_encoded_nor_written(load: Load) -> None:
    job = made(load, rows(100))
    assert done(load, job) == (100, 0, 100, {"v": (100, 0), "w": (100, 0)})
    before = contents(load)
    assert done(load, job) == (0, 100, 0, {"v": (0, 0), "w": (0, 0)})
    assert contents(load) == before
    assert {o["properties"][STORED_JOB] for o in load.objects().values()} == {"job"}


def test_a_collection_that_this_run_made_is_not_asked_for_fingerprints(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be there; the next run finds the fingerprints that were written without asking."""
    asked: list[int] = []
    ask = WeaviateTarget.fingerprints

    def noted(target: WeaviateTarget, uuids: list[bytes], tenant: str = "") -> dict[bytes, Any]:
        asked.append(len(uuids))
        return ask(target, uuids, tenant)

    monkeypatch.setattr(WeaviateTarget, "fingerprints", noted)
    job = made(load, rows(100))
    assert done(load, job)[2] == 100
    assert asked == []
    assert done(load, job)[1] == 100
    assert sum(asked) == 100


def test_a_price_is_written_without_encoding(load: Load) -> None:
    done(load, made(load, rows(100)))
    before = contents(load)
    found = done(load, made(load, rows(100, prices={i: -1.0 for i in range(0, 100, 10)})))
    assert found == (10, 90, 10, {"v": (0, 10), "w": (0, 10)})
    after = contents(load)
    assert {k: v for k, (_, v) in after.items()} == {k: v for k, (_, v) in before.items()}
    assert after[generate_uuid5("k20")][0]["price"] == -1.0


def test_only_the_vector_that_reads_a_change_is_made_again(load: Load) -> None:
    done(load, made(load, rows(100)))
    before = contents(load)
    assert done(load, made(load, rows(100, titles={3: "another"}))) == (1, 99, 1, {"v": (1, 0), "w": (0, 1)})
    changed = generate_uuid5("k3")
    assert contents(load)[changed][1]["w"] == before[changed][1]["w"]
    assert contents(load)[changed][1]["v"] != before[changed][1]["v"]


def test_another_model_makes_its_vector_again_and_no_other(load: Load) -> None:
    done(load, made(load, rows(50)))
    other = VECTORS | {"v": {"model": {"fake": 4}, "text_fields": ["title", "key"]}}
    assert done(load, made(load, rows(50), other)) == (50, 0, 50, {"v": (50, 0), "w": (0, 50)})


def test_a_vector_that_cannot_be_made_any_more_goes(load: Load) -> None:
    done(load, made(load, rows(5)))
    assert done(load, made(load, rows(5, titles={2: None})))[:3] == (1, 4, 1)
    vectors = load.objects()[generate_uuid5("k2")]["vectors"]
    assert not vectors.get("v") and vectors["w"]
    assert done(load, made(load, rows(5, titles={2: None})))[:3] == (0, 5, 0)


def test_what_was_lost_in_between_is_loaded_again(load: Load) -> None:
    done(load, made(load, rows(30)))
    for i in (4, 5):
        httpx.delete(f"{load.server.url}/v1/objects/{load.collection}/{generate_uuid5(f'k{i}')}", timeout=60).raise_for_status()
    assert done(load, made(load, rows(40))) == (12, 28, 12, {"v": (12, 0), "w": (12, 0)})


def test_a_collection_of_others_is_left_as_it_is_unless_the_job_says_so(load: Load) -> None:
    load.create(TWO)
    job = made(load, rows(20))
    assert done(load, job)[:3] == (20, 0, 20) == done(load, job)[:3]
    assert STORED not in next(iter(load.objects().values()))["properties"]
    job = made(load, rows(20), incremental=True)
    assert done(load, job)[:3] == (20, 0, 20)
    assert done(load, job)[:3] == (0, 20, 0)
    assert done(load, made(load, rows(20), incremental=False))[:3] == (20, 0, 20)


def test_chunks_count_as_one_row(load: Load, minilm: str) -> None:
    """A row of which one chunk changed is loaded, the others are unchanged; unchanged chunks are not written."""
    text = " ".join(f"Sentence number {i} of a long text." for i in range(60))
    table = rows(3, titles={1: text})
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}, "w": {"model": {"fake": 6}, "text_fields": ["key"]}}
    definition = {"class": load.collection, **TWO, "properties": [*PROPERTIES, {"name": "part", "dataType": ["int"]}]}

    def job(table: pa.Table) -> Path:
        path = load.job(
            load.parquet(table),
            vectors,
            {"create": "class.json"},
            chunk={"property": "title", "model": "v", "tokens": 64, "number": "part"},
        )
        (load.folder / "class.json").write_text(json.dumps(definition))
        return path

    loaded, unchanged, written, _ = done(load, job(table))
    assert (loaded, unchanged) == (3, 0) and written > 6
    assert done(load, job(table))[:3] == (0, 3, 0)
    longer = rows(3, titles={1: text + " And one more."})
    assert done(load, job(longer))[:3] in {(1, 2, 1), (1, 2, 2)}


def test_every_module_is_told_to_skip_what_we_store() -> None:
    modules = {"text2vec-transformers": {}, "multi2vec-clip": {}}
    definition = {"class": "A", "vectorConfig": {m[:4] + str(i): {"vectorizer": {m: {}}} for i, m in enumerate(modules)}}
    added = {p["name"]: p for p in tracked(definition)["properties"]}
    assert set(added) == {STORED, STORED_JOB}
    assert all(p["moduleConfig"][m]["skip"] is True for p in added.values() for m in modules)
    assert tracked(tracked(definition)) == tracked(definition)
