"""`warpbeam verify` finds what is wrong with a collection of a real Weaviate, names it, and mends it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from weaviate.util import generate_uuid5

from schemas.fingerprints import STORED_JOB
from tests.conftest import Load

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
PROPERTIES = [{"name": n, "dataType": [t]} for n, t in (("key", "text"), ("title", "text"), ("price", "number"))]
ONE: dict[str, Any] = {"properties": PROPERTIES, "vectorConfig": {"v": NONE}}
TWO: dict[str, Any] = {"properties": PROPERTIES, "vectorConfig": {"v": NONE, "w": NONE}}
VECTORS: dict[str, Any] = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}, "w": {"model": {"fake": 6}, "text_fields": ["key"]}}
ROWS = 40


def rows(n: int = ROWS, **columns: Any) -> pa.Table:
    made = {"key": [f"k{i}" for i in range(n)], "title": [f"title {i}" for i in range(n)], "price": [float(i) for i in range(n)]}
    return pa.table(made | columns)


def job_of(load: Load, table: pa.Table, vectors: dict[str, Any] = VECTORS, definition: dict[str, Any] = TWO, **rest: Any) -> Path:
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | definition))
    target = {"create": "class.json"} | rest.pop("target", {})
    return load.job(load.parquet(table, row_group_size=15), vectors, target, **rest)


def loaded(load: Load, table: pa.Table, **rest: Any) -> Path:
    job = job_of(load, table, **rest)
    code, report = load.run(job)
    assert code == 0, report.get("problem", report)
    return job


def verify(load: Load, job: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and verify.json; the checks by name."""
    result = load.command("verify", job, *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    report = json.loads((load.folder / "report" / "verify.json").read_text())
    assert report["exit_code"] == result.exit_code
    return result.exit_code, report | {c["name"]: c for c in report["checks"]}


def bad(report: dict[str, Any]) -> list[str]:
    return [c["name"] for c in report["checks"] if c["good"] is False]


def url(load: Load, key: str) -> str:
    return f"{load.server.url}/v1/objects/{load.collection}/{generate_uuid5(key)}"


def insert(load: Load, key: str, **properties: Any) -> None:
    body = {"class": load.collection, "id": generate_uuid5(key), "properties": properties, "vectors": {"v": [1, 0, 0, 0]}}
    httpx.post(f"{load.server.url}/v1/objects", json=body, timeout=60).raise_for_status()


def test_what_a_run_loaded_is_right(load: Load) -> None:
    job = loaded(load, rows())
    result = load.command("verify", job)
    assert result.exit_code == 0 and "Everything is right" in result.output
    assert json.loads(load.command("verify", job, "--json").output)["wrong"] == {}
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, [])
    assert report["missing"]["figures"] == {"expected": ROWS, "present": ROWS, "missing": 0, "known_failures": 0}
    assert report["stale"]["figures"]["unchanged"] == ROWS
    assert report["properties"]["figures"]["objects"] == ROWS
    assert report["vector v"]["figures"]["compared"] == ROWS == report["recall w"]["figures"]["found"]
    assert report["collection"] == load.collection and report["wrong_path"] is None
    assert not (load.folder / "report" / "verify.parquet").exists()


def test_a_lost_object_is_named_and_loaded_again(load: Load) -> None:
    job = loaded(load, rows())
    httpx.delete(url(load, "k7"), timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["missing"])
    assert report["wrong"]["missing"] == {"count": 1, "first": [{"uuid": generate_uuid5("k7"), "key": "k7"}]}
    assert pq.read_table(report["wrong_path"]).column("key").to_pylist() == ["k7"]
    code, report = verify(load, job, "--repair")
    assert (code, bad(report), report["repaired"]["loaded"]) == (0, [], 1)


def test_only_surplus_of_this_job_is_named_and_it_stays(load: Load) -> None:
    job = loaded(load, rows())
    insert(load, "gone", title="of this job", **{STORED_JOB: "job"})
    insert(load, "theirs", title="of another", **{STORED_JOB: "another"})
    insert(load, "app", title="of an application")
    code, report = verify(load, job, "--repair")
    assert (code, bad(report)) == (1, ["surplus"])
    assert [r["uuid"] for r in report["wrong"]["surplus"]["first"]] == [generate_uuid5("gone")]
    assert report["surplus"]["figures"] == {"objects": ROWS + 3, "surplus": 1, "others": 2}
    assert len(load.objects()) == ROWS + 3


def test_an_edited_property_is_named_with_both_values(load: Load) -> None:
    job = loaded(load, rows())
    httpx.patch(url(load, "k3"), json={"class": load.collection, "properties": {"price": -5.5}}, timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["properties"])
    (named,) = report["wrong"]["property"]["first"]
    assert named["key"] == "k3" and named["where"] == "price" and "3.0" in named["message"] and "-5.5" in named["message"]
    assert load.run(job)[1]["counts"]["loaded"] == 0  # fingerprints do not see it
    code, report = verify(load, job, "--repair")
    assert (code, report["repaired"]["loaded"]) == (0, 1)
    assert load.objects()[generate_uuid5("k3")]["properties"]["price"] == 3.0


def test_an_overwritten_vector_is_found_and_mended(load: Load) -> None:
    job = loaded(load, rows())
    before = load.objects()[generate_uuid5("k5")]["vectors"]
    patch = {"class": load.collection, "vectors": {"v": [0.5, 0.5, -0.5, 0.5]}}
    httpx.patch(url(load, "k5"), json=patch, timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["vector v", "recall v"])
    assert {r["key"] for kind in ("vector", "recall") for r in report["wrong"][kind]["first"]} == {"k5"}
    assert verify(load, job, "--repair")[0] == 0
    assert load.objects()[generate_uuid5("k5")]["vectors"]["v"] == pytest.approx(before["v"])


def test_an_overwritten_precomputed_vector_is_found(load: Load) -> None:
    table = rows(20, e=pa.array([[float(i), 1.0, -1.0] for i in range(20)], pa.list_(pa.float32(), 3)))
    job = loaded(load, table, vectors={"v": {"column": "e"}}, definition=ONE)
    assert verify(load, job)[0] == 0
    httpx.patch(url(load, "k5"), json={"class": load.collection, "vectors": {"v": [0, 0, 1]}}, timeout=60).raise_for_status()
    assert bad(verify(load, job)[1]) == ["vector v", "recall v"]
    assert verify(load, job, "--repair")[0] == 0


def test_another_model_and_a_changed_source_are_told_apart(load: Load) -> None:
    loaded(load, rows())
    other = VECTORS | {"v": {"model": {"fake": 4}, "text_fields": ["title", "key"]}}
    titles = [f"title {i}" if i % 10 else "new" for i in range(ROWS)]
    job = job_of(load, rows(title=titles), other)
    code, report = verify(load, job)
    assert code == 1 and "stale" in bad(report)
    figures = report["stale"]["figures"]
    assert (figures["changed"], figures["remade"], figures["vectors"]) == (4, ROWS - 4, {"v": ROWS})
    code, report = verify(load, job, "--repair")
    assert (code, report["repaired"]["loaded"]) == (0, ROWS)


def test_check_says_what_is_stale(load: Load) -> None:
    job = loaded(load, rows())
    assert f"of {ROWS} objects {ROWS} are there unchanged, 0 would be written; vectors to encode: none" in flat(load, job)
    job = job_of(load, rows(ROWS + 2, title=["new", *(f"title {i}" for i in range(1, ROWS + 2))]))
    said = "39 are there unchanged, 3 would be written (2 new, 1 changed); vectors to encode: 3 v, 2 w"
    assert said in flat(load, job)


def flat(load: Load, job: Path) -> str:
    return " ".join(load.command("check", job).output.split())


def test_a_sample_is_said_to_be_one(load: Load) -> None:
    job = loaded(load, rows())
    code, report = verify(load, job, "--sample", "10")
    assert code == 0 and report["stale"]["figures"]["all"] is False
    assert report["stale"]["figures"]["compared"] == 10 == report["properties"]["figures"]["objects"]
    assert report["missing"]["figures"]["present"] == ROWS


def test_objects_that_remember_nothing_are_compared_all_the_same(load: Load) -> None:
    load.create(TWO)
    job = loaded(load, rows())
    assert verify(load, job)[0] == 0
    insert(load, "app", title="of an application")
    httpx.delete(url(load, "k1"), timeout=60).raise_for_status()
    code, report = verify(load, job, "--repair")
    assert (code, bad(report), report["repaired"]["objects_written"]) == (1, ["surplus"], 1)
    assert report["stale"]["good"] is None


def test_rows_that_failed_are_no_surprise(load: Load) -> None:
    table = rows(10, price=[1.0] * 9 + [float("nan")], title=["t"] * 8 + [None, "t"], key=[*(f"k{i}" for i in range(9)), "k9"])
    job = job_of(load, table, {"v": VECTORS["v"]}, ONE, failures={"path": "failures", "allowed_share": 0.5})
    code, report = load.run(job)
    assert code == 0 and report["counts"]["failed"] == 2
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, [])
    assert report["missing"]["figures"]["known_failures"] == 2
    assert {r["key"] for r in report["wrong"]["failed"]["first"]} == {"k8", "k9"}


def test_keys_that_occur_twice_count_once(load: Load) -> None:
    job = loaded(load, rows(20, key=[f"k{i % 10}" for i in range(20)]))
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, [])
    assert report["source"]["figures"] == {"rows": 20, "objects": 10, "duplicate": 10, "without_id": 0}


def test_chunks_are_counted_apart(load: Load, minilm: str) -> None:
    sentences = [f"Sentence number {i} of a long text." for i in range(60)]
    definition = {**TWO, "properties": [*PROPERTIES, {"name": "part", "dataType": ["int"]}]}
    vectors = {"v": {"model": minilm, "text_fields": ["title"]}, "w": {"model": {"fake": 6}, "text_fields": ["key"]}}
    rest = {"vectors": vectors, "definition": definition, "chunk": {"property": "title", "model": "v", "tokens": 64, "number": "part"}}
    job = loaded(load, rows(3, title=["one", " ".join(sentences), None]), **rest)
    chunks = len(load.objects())
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, [])
    assert report["missing"]["figures"]["present"] == chunks > 6
    httpx.delete(url(load, "k1#2"), timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert bad(report) == ["missing"] and report["wrong"]["missing"]["first"][0]["uuid"] == generate_uuid5("k1#2")
    job = job_of(load, rows(3, title=["one", " ".join(sentences[:30]), None]), **rest)
    code, report = verify(load, job, "--repair")
    assert (code, bad(report)) == (1, ["surplus"])
    kept = {generate_uuid5(f"k1#{n}") for n in range(chunks - 2)}
    assert {r["uuid"] for r in report["wrong"]["surplus"]["first"]} < kept


def test_tenants_are_kept_apart(load: Load) -> None:
    table = rows(20, key=[f"k{i // 2}" for i in range(20)], shop=["a", "b"] * 10)
    definition = TWO | {"multiTenancyConfig": {"enabled": True}}
    job = loaded(load, table, definition=definition, target={"tenant": {"column": "shop", "create": True}})
    code, report = verify(load, job)
    assert (code, bad(report), report["missing"]["figures"]["present"]) == (0, [], 20)
    httpx.delete(url(load, "k3"), params={"tenant": "b"}, timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert bad(report) == ["missing"]
    assert report["wrong"]["missing"]["first"] == [{"uuid": generate_uuid5("k3"), "tenant": "b", "key": "k3"}]
    assert verify(load, job, "--repair")[0] == 0
    body = {"class": load.collection, "id": generate_uuid5("x"), "tenant": "a", "properties": {STORED_JOB: "job"}}
    httpx.post(f"{load.server.url}/v1/objects", json=body, timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert report["wrong"]["surplus"]["first"] == [{"uuid": generate_uuid5("x"), "tenant": "a"}]


def test_a_schema_that_is_not_the_definition_is_named(load: Load) -> None:
    job = loaded(load, rows())
    other = TWO | {"vectorConfig": {"v": NONE | {"vectorIndexConfig": {"distance": "dot"}}, "w": NONE}, "description": "Things"}
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | other))
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["schema"])
    assert report["schema"]["figures"]["differences"] == [
        "vectorConfig.v.vectorIndexConfig.distance is 'cosine', not 'dot'",
        "description is None, not 'Things'",
    ]


def test_a_missing_collection_and_a_dead_server_have_their_exit_codes(load: Load) -> None:
    job = job_of(load, rows())
    result = load.command("verify", job)
    assert result.exit_code == 2 and "is missing on the server" in result.output
    away = ["--set", "target.weaviate.url=http://127.0.0.1:9", "--set", "target.retry_s=0"]
    assert load.command("verify", job, *away).exit_code == 3


@pytest.mark.parametrize("distance", ["cosine", "l2-squared", "dot"])
def test_the_one_unnamed_vector_of_an_old_class(load: Load, distance: str) -> None:
    old = {"properties": PROPERTIES, "vectorizer": "none", "vectorIndexConfig": {"distance": distance}}
    job = loaded(load, rows(20), vectors={"default": VECTORS["v"]}, definition=old)
    code, report = verify(load, job)
    assert (code, bad(report)) == (0, [])
    assert report["vector default"]["figures"]["compared"] == 20
    assert report["recall default"]["good"] is (None if distance == "dot" else True)


def test_what_cannot_be_read_leaves_surplus_open(load: Load) -> None:
    job = loaded(load, rows())
    data = bytearray((load.folder / "rows.parquet").read_bytes())
    start = pq.ParquetFile(load.folder / "rows.parquet").metadata.row_group(1).column(0)
    data[start.data_page_offset : start.data_page_offset + 8] = b"\xff" * 8  # the keys of the second row group
    (load.folder / "rows.parquet").write_bytes(data)
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["source"])
    assert report["surplus"]["good"] is None and report["missing"]["figures"]["expected"] < ROWS


def test_marked_rows_must_be_gone(load: Load) -> None:
    job = loaded(load, rows())
    marks = rows(6, gone=[True, False, True, False, None, False])
    source = load.parquet(marks, "delta.parquet") | {"deleted": "gone", "properties": {n: n for n in ("key", "title", "price")}}
    job = load.job(source, VECTORS, {"create": "class.json", "delete": "marked"})
    httpx.delete(url(load, "k0"), timeout=60).raise_for_status()
    code, report = verify(load, job)
    assert (code, bad(report)) == (1, ["surplus"])
    assert [r["uuid"] for r in report["wrong"]["surplus"]["first"]] == [generate_uuid5("k2")]
    assert report["missing"]["figures"]["expected"] == 4


def test_a_version_is_verified_before_and_after_it_is_published(load: Load) -> None:
    alias = f"{load.collection}Live"
    job = loaded(load, rows(), target={"alias": alias})
    assert verify(load, job)[1]["collection"] == f"{load.collection}_v1"
    assert load.command("publish", job).exit_code == 0
    code, report = verify(load, job)
    assert (code, report["collection"]) == (0, f"{load.collection}_v1")
    httpx.delete(f"{load.server.url}/v1/aliases/{alias}", timeout=60).raise_for_status()
    httpx.delete(f"{load.server.url}/v1/schema/{load.collection}_v1", timeout=60).raise_for_status()
