"""What an existing collection, its tenants, and the server itself do to a run; all against real servers."""

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from jobs.embedded import Server, start_server
from tests.conftest import Load
from tests.jobs.conftest import SERVER_KEY
from tests.loopback import Reply, Request, loopback

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
TEXTS = [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}]
SIMPLE = {"properties": TEXTS, "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


def rows(n: int, **more: Any) -> pa.Table:
    return pa.table({"key": [f"k{i}" for i in range(n)], "title": [f"title {i}" for i in range(n)], **more})


def output(result: Any) -> str:
    return " ".join(result.output.split())


def test_one_poisoned_object_among_thousands_fails_alone(load: Load) -> None:
    """Month 13 looks like RFC 3339, and only the server knows better: its own words are the reason."""
    load.create({"properties": [*TEXTS, {"name": "day", "dataType": ["date"]}], "vectorConfig": {"v": NONE}})
    days = ["2020-01-01T00:00:00Z"] * 3000
    days[1234] = "2020-13-01T00:00:00Z"
    code, report = load.run(load.job(load.parquet(rows(3000, day=days)), FAKE))
    assert code == 1
    assert (report["counts"]["loaded"], report["counts"]["failed"]) == (2999, 1)
    [failure] = load.failures()
    assert (failure["key"], failure["row"], failure["stage"], failure["code"]) == ("k1234", 1234, "write", "refused")
    assert "2020-13-01" in failure["message"]


def make_rich(load: Load) -> str:
    """A collection with more than the jobs here name, and one object that has it all; its id."""
    load.create({"properties": TEXTS, "vectorConfig": {"v": NONE}})
    other = {"name": "likes", "dataType": [load.collection]}
    nested = {"name": "home", "dataType": ["object"], "nestedProperties": [{"name": "city", "dataType": ["text"]}]}
    extra = [
        {"name": "price", "dataType": ["number"]},
        {"name": "tags", "dataType": ["text[]"]},
        {"name": "picture", "dataType": ["blob"]},
        nested,
        other,
    ]
    for prop in extra:
        httpx.post(f"{load.server.url}/v1/schema/{load.collection}/properties", json=prop, timeout=60).raise_for_status()
    httpx.delete(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).raise_for_status()
    load.create({"properties": [*TEXTS, *extra], "vectorConfig": {"v": NONE, "w": NONE}})
    target = str(uuid.uuid4())
    post(load, {"id": target, "properties": {"key": "target"}})
    properties = {"key": "k0", "title": "old", "price": 2.5, "tags": ["a", "b"], "picture": "AP8=", "home": {"city": "Köln"}}
    properties["likes"] = [{"beacon": f"weaviate://localhost/{load.collection}/{target}"}]
    post(load, {"id": generate_uuid5("k0"), "properties": properties, "vectors": {"v": [0, 0, 0, 1], "w": [1, 2, 3]}})
    return str(generate_uuid5("k0"))


def post(load: Load, data: dict[str, Any]) -> None:
    httpx.post(f"{load.server.url}/v1/objects", json={"class": load.collection} | data, timeout=60).raise_for_status()


def test_what_an_upsert_would_drop_is_a_fault_until_the_job_chooses(load: Load) -> None:
    make_rich(load)
    result = load.command("run", load.job(load.parquet(rows(1)), FAKE))
    assert result.exit_code == 2
    for word in ("merge", "replace", "price", "tags", "likes", "vectors w"):
        assert word in output(result)


def test_merge_keeps_what_the_job_does_not_name(load: Load) -> None:
    uuid_ = make_rich(load)
    before = load.objects()[uuid_]
    code, report = load.run(load.job(load.parquet(rows(2)), FAKE, {"write": "merge"}))
    after = load.objects()[uuid_]
    assert code == 0, report
    assert after["vectors"]["w"] == before["vectors"]["w"] and after["vectors"]["v"] != before["vectors"]["v"]
    assert after["properties"].pop("title") == "title 0" and before["properties"].pop("title") == "old"
    for side in (before, after):
        for beacon in side["properties"]["likes"]:
            beacon.pop("href", None)
    assert after["properties"] == before["properties"]
    assert set(load.objects()[generate_uuid5("k1")]["properties"]) == {"key", "title"}


def test_replace_replaces(load: Load) -> None:
    uuid_ = make_rich(load)
    code, _ = load.run(load.job(load.parquet(rows(1)), FAKE, {"write": "replace"}))
    assert code == 0
    assert set(load.objects()[uuid_]["properties"]) == {"key", "title"}


def test_a_vector_of_another_length_is_a_fault(load: Load) -> None:
    load.create(SIMPLE)
    load.run(load.job(load.parquet(rows(1)), FAKE))
    result = load.command("run", load.job(load.parquet(rows(1)), {"v": {"model": {"fake": 5}, "text_fields": ["title"]}}))
    assert result.exit_code == 2
    assert "vectors of 5 numbers" in output(result) and "has vectors of 4" in output(result)


TENANTS = SIMPLE | {"multiTenancyConfig": {"enabled": True}}


def make_tenants(load: Load, **states: str) -> None:
    load.create(TENANTS)
    body = [{"name": name, "activityStatus": state} for name, state in states.items()]
    httpx.post(f"{load.server.url}/v1/schema/{load.collection}/tenants", json=body, timeout=60).raise_for_status()


def test_one_tenant_for_a_job(load: Load) -> None:
    make_tenants(load, acme="HOT", other="HOT")
    code, _ = load.run(load.job(load.parquet(rows(5)), FAKE, {"tenant": "acme"}))
    assert (code, len(load.objects("acme")), len(load.objects("other"))) == (0, 5, 0)


@pytest.mark.parametrize(("tenant", "words"), [(None, "multi-tenant"), ("nobody", "has no tenant nobody"), ("cold", "cold (COLD)")])
def test_missing_and_cold_tenants_are_said(load: Load, tenant: str | None, words: str) -> None:
    make_tenants(load, cold="COLD")
    result = load.command("run", load.job(load.parquet(rows(2)), FAKE, {"tenant": tenant} if tenant else {}))
    assert result.exit_code == 2 and words in output(result)


def test_a_tenant_column_keeps_tenants_apart_and_makes_missing_ones(load: Load) -> None:
    make_tenants(load, a="HOT")
    table = pa.table({"key": ["x", "x", "y", "x"], "title": ["1", "2", "3", "4"], "shop": ["a", "b", "b", None]})
    source = load.parquet(table)
    result = load.command("run", load.job(source, FAKE, {"tenant": {"column": "shop"}}))
    assert result.exit_code == 2 and "has no tenant b" in output(result)
    code, report = load.run(load.job(source, FAKE, {"tenant": {"column": "shop", "create": True}}))
    assert (code, report["counts"]["loaded"], report["counts"]["duplicate"]) == (1, 3, 0)
    assert [f["code"] for f in load.failures()] == ["no_tenant"]
    assert {o["properties"]["title"] for o in load.objects("b").values()} == {"2", "3"}


def test_a_ceiling_of_objects_a_second_holds(load: Load) -> None:
    load.create(SIMPLE)
    job = load.job(load.parquet(rows(300)), FAKE, {"max_objects_per_s": 100})
    start = time.monotonic()
    code, report = load.run(job)
    assert (code, report["counts"]["loaded"]) == (0, 300)
    assert time.monotonic() - start > 1.9  # the first second's worth goes at once


def secured(guarded: Server, tmp_path: Path, key: str = "${LOADER_KEY}") -> tuple[Load, dict[str, Any]]:
    load = Load(tmp_path, guarded, "Guarded" + uuid.uuid4().hex[:8])
    (tmp_path / "class.json").write_text(json.dumps({"class": load.collection} | SIMPLE))
    return load, {"weaviate": {"url": guarded.url, "grpc": guarded.grpc, "api_key": key}, "create": "class.json"}


def test_a_key_from_the_environment_and_never_in_any_output(guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, target = secured(guarded, tmp_path)
    monkeypatch.setenv("LOADER_KEY", SERVER_KEY)
    result = load.command("run", load.job(load.parquet(rows(20)), FAKE, target))
    assert result.exit_code == 0, result.output
    written = result.output + "".join(p.read_text() for p in (tmp_path / "report").iterdir())
    assert SERVER_KEY not in written and "${LOADER_KEY}" in written


def test_a_refused_key_is_the_jobs_fault(guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, target = secured(guarded, tmp_path)
    monkeypatch.setenv("LOADER_KEY", "wrong-but-still-secret")
    result = load.command("run", load.job(load.parquet(rows(1)), FAKE, target))
    assert result.exit_code == 2 and "refuses this login" in output(result) and "wrong-but-still-secret" not in result.output
    monkeypatch.delenv("LOADER_KEY")
    result = load.command("run", load.job(load.parquet(rows(1)), FAKE, target))
    assert result.exit_code == 2 and "LOADER_KEY is not set" in output(result)


def test_requests_stay_below_the_servers_limit_and_one_larger_object_is_named(
    guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, target = secured(guarded, tmp_path)
    monkeypatch.setenv("LOADER_KEY", SERVER_KEY)
    titles = ["x" * 200_000] * 20 + ["y" * 1_200_000]
    table = pa.table({"key": [f"k{i}" for i in range(21)], "title": titles})
    code, report = load.run(load.job(load.parquet(table), FAKE, target))
    assert (code, report["counts"]["loaded"], report["counts"]["failed"]) == (1, 20, 1), report
    assert report["failures"]["object_too_large"][1]["key"] == "k20"


def test_a_server_that_is_away_exits_3(tmp_path: Path) -> None:
    load = Load(tmp_path, Server("http://127.0.0.1:9", "127.0.0.1:9", pid=0), "Nothing")
    result = load.command("run", load.job(load.parquet(rows(1)), FAKE, {"retry_s": 1}))
    assert result.exit_code == 3 and "does not answer" in output(result)


def test_a_server_that_goes_away_stops_the_run_and_the_next_one_finishes(tmp_path: Path) -> None:
    with start_server(tmp_path / "data", log=tmp_path / "log") as server:
        load = Load(tmp_path, server, "Gone")
        load.create(SIMPLE)
        job = load.job(load.parquet(rows(600), row_group_size=100), FAKE, {"max_objects_per_s": 150, "retry_s": 1})
        threading.Timer(2.5, server.stop).start()
        result = load.command("run", job)
        assert result.exit_code == 3, result.output
        assert "run the job again" in output(result)
    with start_server(tmp_path / "data", log=tmp_path / "log2") as server:
        load = Load(tmp_path, server, "Gone")
        code, report = load.run(load.job({"parquet": "rows.parquet", "key": "key"}, FAKE))
        assert (code, report["counts"]["loaded"], len(load.objects())) == (0, 600, 600)


def test_a_server_that_is_away_for_a_moment_is_no_fault_of_the_job(tmp_path: Path) -> None:
    """Its schema cannot be read, and then it answers again: what it says of a collection that may be missing is no evidence."""

    def answer(request: Request) -> Reply:
        return Reply(503, {}) if request.path.startswith("/v1/schema") else Reply(404, {})

    with loopback(answer) as server:
        load = Load(tmp_path, Server(server.url, "127.0.0.1:1", 0), "Thing")
        (tmp_path / "class.json").write_text(json.dumps({"class": "Thing"} | SIMPLE))
        result = load.command("run", load.job(load.parquet(rows(3)), FAKE, {"create": "class.json", "retry_s": 1}))
    assert result.exit_code == 3 and "does not answer" in output(result) and "Run it again" in output(result), result.output
