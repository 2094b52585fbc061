"""`warpbeam run` against a real Weaviate: what comes in is what the source has, and the counts add up."""

import datetime as dt
import json
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from tests.conftest import Load

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
TEXTS = [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}]
SIMPLE = {"properties": TEXTS, "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


def rows(n: int, **more: Any) -> pa.Table:
    return pa.table({"key": [f"k{i}" for i in range(n)], "title": [f"title {i}" for i in range(n)], **more})


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    c = report["counts"]
    assert c["add_up"] and c["read"] == c["loaded"] + c["unchanged"] + c["failed"] + c["duplicate"]
    return c["read"], c["loaded"], c["failed"], c["duplicate"]


def test_a_row_becomes_an_object_with_the_clients_id(load: Load) -> None:
    load.create(SIMPLE)
    code, report = load.run(load.job(load.parquet(rows(50)), FAKE))
    assert (code, counts(report)) == (0, (50, 50, 0, 0))
    found = load.objects()
    assert set(found) == {generate_uuid5(f"k{i}") for i in range(50)}
    assert found[generate_uuid5("k7")]["properties"] == {"key": "k7", "title": "title 7"}
    assert len(found[generate_uuid5("k7")]["vectors"]["v"]) == 4


def test_twice_is_the_same_as_once(load: Load) -> None:
    load.create(SIMPLE)
    job = load.job(load.parquet(rows(200)), FAKE)
    load.run(job)
    first = load.objects()
    code, _ = load.run(job)
    second = load.objects()
    assert code == 0
    assert {k: (o["properties"], o["vectors"]) for k, o in first.items()} == {k: (o["properties"], o["vectors"]) for k, o in second.items()}


@pytest.mark.parametrize(
    ("vectors", "limit", "spread"), [(FAKE, 64 << 20, True), (FAKE, 100, False), ({"v": {"column": "made"}}, 64 << 20, False)]
)
def test_batches_of_few_shards_are_held_in_memory_only_where_a_model_encodes_and_the_source_is_small(
    load: Load, vectors: dict[str, Any], limit: int, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.run.LOCAL_SPREAD_BYTES", limit)
    load.create(SIMPLE)
    made = {} if vectors is FAKE else {"made": [[float(i), 1.0] for i in range(50)]}
    result = load.command("run", load.job(load.parquet(rows(50, **made)), vectors))
    assert result.exit_code == 0 and ("few shards" in result.output) == spread, result.output
    assert len(load.objects()) == 50


def test_the_collection_is_made_from_weaviates_own_definition(load: Load) -> None:
    (load.folder / "class.json").write_text(json.dumps({"classes": [{"class": "Other"}, {"class": load.collection} | SIMPLE]}))
    code, report = load.run(load.job(load.parquet(rows(3)), FAKE, {"create": "class.json"}))
    assert (code, counts(report)) == (0, (3, 3, 0, 0))
    assert len(load.objects()) == 3


def test_bad_rows_are_named_and_the_others_loaded(load: Load) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a", None, "", "d", "e", "f"], "title": ["x", "x", "x", None, "  ", "ok"]})
    code, report = load.run(load.job(load.parquet(table), FAKE))
    assert (code, counts(report)) == (1, (6, 2, 4, 0))
    assert sorted((r["code"], r["row"]) for r in load.failures()) == [("no_key", 1), ("no_key", 2), ("no_vector", 3), ("no_vector", 4)]
    assert set(load.objects()) == {generate_uuid5("a"), generate_uuid5("f")}


def test_an_allowed_share_of_failures_exits_0(load: Load) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a", None], "title": ["x", "x"]})
    code, report = load.run(load.job(load.parquet(table), FAKE, failures={"path": "failures", "allowed_share": 0.5}))
    assert (code, counts(report)) == (0, (2, 1, 1, 0))


def test_a_key_that_occurs_twice_is_loaded_once_and_named(load: Load) -> None:
    load.create(SIMPLE)
    table = pa.table({"key": ["a", "b", "a", "c", "a"], "title": ["first", "b", "second", "c", "third"]})
    code, report = load.run(load.job(load.parquet(table, row_group_size=2), FAKE))
    assert (code, counts(report)) == (0, (5, 3, 0, 2))
    assert load.objects()[generate_uuid5("a")]["properties"]["title"] == "first"
    assert [r["key"] for r in report["notes"]["duplicate"][1:]] == ["a", "a"]


EVERY_TYPE: list[tuple[str, str, pa.Array, Any]] = [
    ("aText", "text", pa.array(["ä\n😀"]), "ä\n😀"),
    ("texts", "text[]", pa.array([["a", "", "b"]]), ["a", "", "b"]),
    ("anInt", "int", pa.array([2**53]), 2**53),
    ("ints", "int[]", pa.array([[1, -2]]), [1, -2]),
    ("number", "number", pa.array([1.5]), 1.5),
    ("numbers", "number[]", pa.array([[1.5, -2.25]]), [1.5, -2.25]),
    ("aBool", "boolean", pa.array([False]), False),
    ("bools", "boolean[]", pa.array([[True, False]]), [True, False]),
    ("date", "date", pa.array([dt.datetime(2020, 1, 2, 3, 4, 5, 600000, dt.timezone.utc)]), "2020-01-02T03:04:05.6Z"),
    ("dates", "date[]", pa.array([["2020-01-02T03:04:05+02:00"]]), ["2020-01-02T03:04:05+02:00"]),
    ("id2", "uuid", pa.array([uuid.UUID(int=7).bytes], pa.binary(16)), str(uuid.UUID(int=7))),
    ("ids", "uuid[]", pa.array([[str(uuid.UUID(int=8))]]), [str(uuid.UUID(int=8))]),
    ("place", "geoCoordinates", pa.array([{"latitude": 52.5, "longitude": 13.25}]), {"latitude": 52.5, "longitude": 13.25}),
    ("picture", "blob", pa.array([b"\x00\xff"]), "AP8="),
    ("empty", "text[]", pa.array([[]], pa.list_(pa.string())), []),
]


def test_every_type_arrives_as_it_was(load: Load) -> None:
    load.create({"properties": [{"name": n, "dataType": [t]} for n, t, _, _ in EVERY_TYPE], "vectorConfig": {"v": NONE}})
    table = pa.table({"key": ["a"], **{n: column for n, _, column, _ in EVERY_TYPE}})
    code, report = load.run(load.job(load.parquet(table), {"v": {"model": {"fake": 4}, "text_fields": ["aText"]}}))
    assert (code, counts(report)) == (0, (1, 1, 0, 0)), report["failures"]
    assert load.objects()[generate_uuid5("a")]["properties"] == {n: value for n, _, _, value in EVERY_TYPE}


def test_phone_numbers_and_nested_objects(load: Load) -> None:
    nested = [{"name": "city", "dataType": ["text"]}, {"name": "since", "dataType": ["date"]}, {"name": "codes", "dataType": ["int[]"]}]
    load.create(
        {
            "properties": [
                {"name": "phone", "dataType": ["phoneNumber"]},
                {"name": "home", "dataType": ["object"], "nestedProperties": nested},
                {"name": "homes", "dataType": ["object[]"], "nestedProperties": nested},
            ],
            "vectorConfig": {"v": NONE},
        }
    )
    home = {"city": "Köln", "since": dt.datetime(2020, 1, 1), "codes": [1, 2]}
    table = pa.table({"key": ["a"], "phone": ["+49 221 1234567"], "home": [home], "homes": [[home, home | {"city": None}]]})
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    code, report = load.run(load.job(load.parquet(table.append_column("e", vectors)), {"v": {"column": "e"}}))
    assert (code, counts(report)) == (0, (1, 1, 0, 0)), report["failures"]
    found = load.objects()[generate_uuid5("a")]["properties"]
    assert found["phone"]["input"] == "+49 221 1234567" and found["phone"]["valid"]
    assert found["home"]["city"] == "Köln" and found["home"]["codes"] == [1, 2] and found["home"]["since"].startswith("2020-01-01T00:00:00")
    assert [h.get("city") for h in found["homes"]] == ["Köln", None]


def test_precomputed_vectors_and_encoded_ones_side_by_side(load: Load) -> None:
    multi = {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw", "vectorIndexConfig": {"multivector": {"enabled": True}}}
    load.create({"properties": TEXTS, "vectorConfig": {"v": NONE, "old": NONE, "raw": NONE, "tokens": multi}})
    old = np.arange(12, dtype=np.float32).reshape(4, 3) + 1
    table = rows(4).append_column("old", pa.array(list(old), pa.list_(pa.float32())))
    table = table.append_column("raw", pa.array([o.tobytes() for o in old[:3]] + [None], pa.binary()))
    table = table.append_column("tokens", pa.array([[list(o), list(o)] for o in old.tolist()]))
    vectors = FAKE | {"old": {"column": "old"}, "raw": {"column": "raw"}, "tokens": {"column": "tokens"}}
    code, report = load.run(load.job(load.parquet(table), vectors))
    assert (code, counts(report)) == (0, (4, 4, 0, 0)), report["failures"]
    found = load.objects()
    for i in range(4):
        stored = found[generate_uuid5(f"k{i}")]["vectors"]
        assert stored["old"] == old[i].tolist() and stored["tokens"] == [old[i].tolist()] * 2
        assert stored.get("raw") == (old[i].tolist() if i < 3 else None)
    assert report["notes"]["without_vector"][0]["count"] == 1


def test_bad_vectors_are_rejected_each_with_its_reason(load: Load) -> None:
    load.create(SIMPLE)
    column = pa.array([[1, 2], [1, 2], [1.0, float("nan")], [0, 0], [1, 2, 3], [float("inf"), 1], None], pa.list_(pa.float64()))
    code, report = load.run(load.job(load.parquet(rows(7, e=column)), {"v": {"column": "e"}}))
    assert (code, counts(report)) == (1, (7, 2, 5, 0))
    codes = {r["row"]: r["code"] for r in load.failures()}
    assert codes == {2: "vector_not_finite", 3: "vector_zero", 4: "vector_length", 5: "vector_not_finite", 6: "no_vector"}


def test_an_old_class_with_one_unnamed_vector(load: Load) -> None:
    load.create({"properties": TEXTS, "vectorizer": "none"})
    code, report = load.run(load.job(load.parquet(rows(3)), {"default": FAKE["v"]}))
    assert (code, counts(report)) == (0, (3, 3, 0, 0))
    assert all(len(o["vector"]) == 4 for o in load.objects().values())


def test_chunks_are_objects_with_their_number_and_their_parents_key(load: Load, minilm: str) -> None:
    more = [{"name": "n", "dataType": ["int"]}, {"name": "parent", "dataType": ["text"]}]
    load.create({"properties": TEXTS + more, "vectorConfig": {"v": NONE, "whole": NONE}})
    text = " ".join(f"Sentence number {i} tells something about topic {i}." for i in range(30))
    table = pa.table(
        {"key": ["long", "short", "none"], "title": [text, "one", None], "e": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2))}
    )
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}, "whole": {"column": "e"}}
    chunk = {"property": "title", "model": "v", "tokens": 64, "overlap": 8, "number": "n", "parent": "parent"}
    code, report = load.run(load.job(load.parquet(table), vectors, chunk=chunk))
    assert (code, counts(report)) == (0, (3, 3, 0, 0)), report["failures"]
    chunks = sorted((o["properties"]["n"], k, o) for k, o in load.objects().items() if o["properties"]["parent"] == "long")
    assert len(chunks) > 3
    assert [(n, k) for n, k, _ in chunks] == [(i, generate_uuid5(f"long#{i}")) for i in range(len(chunks))]
    assert all(o["vectors"].get("v") for _, _, o in chunks)
    assert [bool(o["vectors"].get("whole")) for _, _, o in chunks] == [True] + [False] * (len(chunks) - 1)
    assert report["counts"]["objects_written"] == len(load.objects())


def test_only_the_first_rows_with_limit(load: Load) -> None:
    load.create(SIMPLE)
    code, report = load.run(load.job(load.parquet(rows(50), row_group_size=7), FAKE), "--limit", "20")
    assert (code, counts(report)) == (0, (20, 20, 0, 0))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_json_lines_and_csv(load: Load, kind: str) -> None:
    load.create(SIMPLE)
    lines = {"jsonl": '{"key": "a", "title": "x"}\nbroken\n{"key": "b", "title": "y"}\n', "csv": "key,title\na,x\nb,y,z\nb,y\n"}
    (load.folder / f"rows.{kind}").write_text(lines[kind])
    code, report = load.run(load.job({kind: f"rows.{kind}", "key": "key"}, FAKE))
    assert (code, counts(report)) == (1, (3, 2, 1, 0))
    assert [r["row"] for r in load.failures()] == [1]


def test_a_folder_of_texts(load: Load) -> None:
    load.create({"properties": [{"name": n, "dataType": ["text"]} for n in ("path", "name", "content")], "vectorConfig": {"v": NONE}})
    (load.folder / "texts" / "sub").mkdir(parents=True)
    (load.folder / "texts" / "a.txt").write_text("hello")
    (load.folder / "texts" / "sub" / "b.txt").write_bytes(b"\xff\xfe broken")
    source = {"files": "texts", "properties": {"path": "path", "name": "name", "content": "bytes"}}
    code, report = load.run(load.job(source, {"v": {"model": {"fake": 4}, "text_fields": ["content"]}}))
    assert (code, counts(report)) == (1, (2, 1, 1, 0))
    assert load.objects()[generate_uuid5("a.txt")]["properties"] == {"path": "a.txt", "name": "a.txt", "content": "hello"}
    assert [(r["key"], r["code"]) for r in load.failures()] == [("sub/b.txt", "not_utf8")]


def test_a_page_that_cannot_be_read_fails_its_rows_only(load: Load) -> None:
    load.create(SIMPLE)
    source = load.parquet(rows(9000), row_group_size=3000, compression="none", use_dictionary=False)
    file = load.folder / "rows.parquet"
    data = bytearray(file.read_bytes())
    place = data.index(b"title 4500")
    data[place - 4 : place + 200] = b"\xff" * 204
    file.write_bytes(bytes(data))
    code, report = load.run(load.job(source, FAKE))
    read, loaded, failed, _ = counts(report)
    assert (code, read) == (1, 9000) and loaded >= 6000 and 0 < failed <= 3000
    assert set(report["failures"]) <= {"unreadable", "not_utf8", "malformed"}


@pytest.mark.parametrize(("tenant", "tenancy"), [({"column": "shop", "create": True}, {}), ("a", {"autoTenantCreation": True})])
def test_a_collection_that_has_no_tenant_yet(load: Load, tenant: Any, tenancy: dict[str, bool]) -> None:
    load.create(SIMPLE | {"multiTenancyConfig": {"enabled": True} | tenancy})
    source = load.parquet(rows(4, shop=["a"] * 4)) | {"properties": {"key": "key", "title": "title"}}
    job = load.job(source, FAKE, {"tenant": tenant})
    assert load.command("check", job).exit_code == 0
    code, report = load.run(job)
    assert (code, counts(report)) == (0, (4, 4, 0, 0))
    assert len(load.objects("a")) == 4
