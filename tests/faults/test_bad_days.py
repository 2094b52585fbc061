"""A server that is overloaded, read-only, slow, silent or away: slower before failing, with an end, and then a clear stop."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import grpc
import httpx
import numpy as np
import pyarrow as pa
import pytest

from pipelines.targets.connection import Connection, waits
from pipelines.targets.cursor import id_ranges
from pipelines.targets.reindex import reindex
from pipelines.targets.weaviate import WeaviateTarget
from schemas.errors import JobError, WorldError
from schemas.job import TargetSpec, WeaviateSpec
from tests.conftest import Load
from tests.faults.forwarder import Forwarder
from tests.faults.overloaded import Gate, gate
from tests.loopback import Reply, Request, loopback

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
SIMPLE = {"properties": [{"name": n, "dataType": ["text"]} for n in ("key", "title")], "vectorConfig": {"v": NONE}}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}


def rows(n: int) -> pa.Table:
    return pa.table({"key": [f"k{i}" for i in range(n)], "title": [f"title {i}" for i in range(n)]})


@pytest.fixture
def gated(load: Load) -> Iterator[Gate]:
    load.create(SIMPLE)
    with gate(load.server.grpc) as made:
        yield made


def through(load: Load, made: Gate) -> dict[str, object]:
    return {"weaviate": {"url": load.server.url, "grpc": made.address}}


def test_pauses_end_by_the_clock_also_where_each_try_takes_long() -> None:
    start, tries = time.monotonic(), 0
    for _ in waits(1.0, first_s=0.02):
        tries += 1
        time.sleep(0.4)
    assert time.monotonic() - start > 0.9 and tries <= 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_believed(status: int) -> None:
    def answer(request: Request) -> Reply:
        return Reply(status, {}, {"Retry-After": "1"}) if len(server.requests) < 3 else Reply(200, {"version": "1"})

    with loopback(answer) as server:
        connection = Connection(WeaviateSpec(url=server.url), timeout_s=5, retry_s=10)
        assert connection.get("/v1/meta") == {"version": "1"}
        connection.close()
        first, second, third = (r.at for r in server.requests)
        assert second - first >= 1 and third - second >= 1


def test_a_date_to_come_back_and_nonsense_are_no_fault() -> None:
    values = iter(["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-3", "nan"])

    def answer(request: Request) -> Reply:
        value = next(values, None)
        return Reply(503, {}, {"Retry-After": value}) if value else Reply(200, {})

    with loopback(answer) as server:
        connection = Connection(WeaviateSpec(url=server.url), timeout_s=5, retry_s=10)
        assert connection.get("/v1/meta") == {}
        connection.close()


def test_to_come_back_in_an_hour_ends_in_time() -> None:
    with loopback(lambda _: Reply(503, {}, {"Retry-After": "3600"})) as server:
        connection = Connection(WeaviateSpec(url=server.url), timeout_s=5, retry_s=1)
        start = time.monotonic()
        with pytest.raises(WorldError, match="does not answer: status 503"):
            connection.get("/v1/meta")
        connection.close()
        assert time.monotonic() - start < 60


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE])
def test_an_overloaded_server_gets_less_at_a_time(load: Load, gated: Gate, code: grpc.StatusCode) -> None:
    gated.most, gated.code = 130, code
    report_code, report = load.run(load.job(load.parquet(rows(700)), FAKE, through(load, gated) | {"retry_s": 10}))
    assert (report_code, report["counts"]["loaded"]) == (0, 700), report
    assert max(gated.sizes) > 130 and gated.refused < 40 and len(load.objects()) == 700


def test_after_an_overload_requests_grow_again(load: Load, gated: Gate) -> None:
    target = WeaviateTarget(TargetSpec.model_validate(through(load, gated) | {"collection": load.collection, "retry_s": 10}))
    before = target.delivery.pressure.objects
    target.delivery.pressure.overloaded()
    target.delivery.pressure.overloaded()
    assert target.delivery.pressure.objects == before // 4 and target.delivery.pressure.in_flight == 1
    for _ in range(100):
        target.delivery.pressure.took()
    assert target.delivery.pressure.objects == before and target.delivery.pressure.in_flight == 4


def test_an_overload_without_an_end_stops_the_run_clearly_and_the_next_one_goes_on(load: Load, gated: Gate) -> None:
    job = load.job(load.parquet(rows(300)), FAKE, through(load, gated) | {"retry_s": 1})
    threading.Timer(0, lambda: setattr(gated, "most", 0)).run()
    result = load.command("run", job)
    said = " ".join(result.output.split())
    assert result.exit_code == 3 and "RESOURCE_EXHAUSTED: too much at a time" in said
    assert "0 written" in said and "run the job again" in said
    gated.most = 1 << 30
    assert load.run(job)[0] == 0 and len(load.objects()) == 300


def test_what_a_server_may_have_half_is_indexed_whole(load: Load, gated: Gate) -> None:
    """A server that is killed leaves objects in no index, and does nothing when the same comes again: so something else comes between."""
    gated.lose = 1
    code, report = load.run(load.job(load.parquet(rows(300)), FAKE, through(load, gated) | {"retry_s": 10}))
    assert (code, report["counts"]["loaded"]) == (0, 300), report
    [lost] = gated.lost
    wanted = {o.uuid: o.vectors[0].vector_bytes for o in lost.objects}
    again: dict[str, list[bytes]] = {}
    for request in gated.after:
        for o in request.objects:
            again.setdefault(o.uuid, []).append(o.vectors[0].vector_bytes)
    for uuid, vector in wanted.items():
        *_, apart, same = again[uuid]  # before them the retry, which the server need not have indexed
        assert same == vector != apart
        assert np.allclose(np.frombuffer(apart, "<f4"), np.frombuffer(same, "<f4"), rtol=2e-7, atol=1e-40)
    stored = {k: np.array(o["vectors"]["v"], "<f4").tobytes() for k, o in load.objects().items()}
    assert len(stored) == 300 and {k: stored[k] for k in wanted} == wanted


def test_a_reply_that_is_lost_while_objects_are_mended_begins_it_anew(load: Load, gated: Gate) -> None:
    assert load.run(load.job(load.parquet(rows(100)), FAKE, through(load, gated)))[0] == 0
    before = {k: o["vectors"] for k, o in load.objects().items()}
    gated.passes, gated.lose, gated.after = 1, 1, []
    spec = TargetSpec.model_validate(through(load, gated) | {"collection": load.collection, "retry_s": 10})
    with closing(WeaviateTarget(spec)) as target:
        collection = target.collection()
        assert collection is not None
        assert reindex(target, collection, "job", "", id_ranges(1)[0], lambda ms: True) == 100
    first, retry, apart, same = ([o.vectors[0].vector_bytes for o in request.objects] for request in (gated.lost[0], *gated.after))
    assert first == retry == same and not set(apart) & set(same)
    assert {k: o["vectors"] for k, o in load.objects().items()} == before


def test_a_connection_that_fell_silent_is_replaced(load: Load) -> None:
    load.create(SIMPLE)
    with closing(Forwarder(load.server.grpc)) as way:
        spec = WeaviateSpec(url=load.server.url, grpc=f"127.0.0.1:{way.port}")
        target = WeaviateTarget(TargetSpec(weaviate=spec, collection=load.collection, timeout_s=1, retry_s=8))
        collection = target.collection()
        target.close()
        target = WeaviateTarget(target.spec, collection)
        assert target.count() == 0
        way.freeze()
        assert target.count() == 0
        assert way.accepted == 2
        target.close()


def test_objects_sent_into_a_silent_connection_are_sent_again(load: Load) -> None:
    load.create(SIMPLE)
    with closing(Forwarder(load.server.grpc)) as way:
        job = load.job(
            load.parquet(rows(900)),
            FAKE,
            {
                "weaviate": {"url": load.server.url, "grpc": f"127.0.0.1:{way.port}"},
                "max_objects_per_s": 300,
                "timeout_s": 1,
                "retry_s": 20,
            },
        )
        threading.Timer(2.0, way.freeze).start()
        code, report = load.run(job)
        assert (code, report["counts"]["loaded"], len(load.objects())) == (0, 900, 900)


def test_a_read_only_shard_is_waited_for(load: Load) -> None:
    load.create(SIMPLE)
    shards = f"{load.server.url}/v1/schema/{load.collection}/shards"
    name = httpx.get(shards).json()[0]["name"]

    def become(status: str) -> None:
        httpx.put(f"{shards}/{name}", json={"status": status}, timeout=30).raise_for_status()

    become("READONLY")
    threading.Timer(3.0, become, ["READY"]).start()
    code, report = load.run(load.job(load.parquet(rows(100)), FAKE, {"retry_s": 20}))
    assert (code, report["counts"]["loaded"], report["counts"]["failed"]) == (0, 100, 0)


def test_a_shard_that_stays_read_only_stops_the_run_and_fails_no_row(load: Load) -> None:
    load.create(SIMPLE)
    shards = f"{load.server.url}/v1/schema/{load.collection}/shards"
    httpx.put(f"{shards}/{httpx.get(shards).json()[0]['name']}", json={"status": "READONLY"}, timeout=30).raise_for_status()
    code, report = load.run(load.job(load.parquet(rows(100)), FAKE, {"retry_s": 1}))
    assert (code, report["counts"]["failed"]) == (3, 0) and "read-only" in report["problem"]


@pytest.mark.parametrize("cut", ["before", "within"])
def test_a_collection_whose_making_was_not_heard_of_is_made(load: Load, cut: str) -> None:
    """The server made it, and the answer was lost: the second try must not call the job wrong."""

    def answer(request: Request) -> Reply:
        response = httpx.request("POST" if request.raw else "GET", load.server.url + request.path, content=request.raw, headers=JSON)
        lost = bool(request.raw) and sum(bool(r.raw) for r in server.requests) == 1
        return Reply(response.status_code, response.json(), cut=cut if lost else "")

    with loopback(answer) as server:
        target = WeaviateTarget(TargetSpec(weaviate=WeaviateSpec(url=server.url), collection=load.collection, retry_s=5))
        assert set(target.create({"class": load.collection} | SIMPLE).vectors) == {"v"}
        target.close()


JSON = {"Content-Type": "application/json"}


def test_a_class_that_the_server_refuses_is_still_the_jobs_fault(load: Load) -> None:
    load.create(SIMPLE)
    target = WeaviateTarget(TargetSpec(weaviate=WeaviateSpec(url=load.server.url), collection="Nothing", retry_s=5))
    with pytest.raises(JobError, match="refuses /v1/schema"):
        target.create({"class": "Nothing", "vectorizer": "no-such-module"})
    target.close()


def test_a_server_at_its_limit_is_not_asked_again() -> None:
    """Weaviate's usage limits come as 429, and stay."""
    body = {"errorCode": "USAGE_LIMIT_EXCEEDED", "limit": "collections", "value": 1, "message": "collections count limit of 1 reached"}
    with loopback(lambda _: Reply(429, body)) as server:
        connection = Connection(WeaviateSpec(url=server.url), timeout_s=5, retry_s=20)
        with pytest.raises(JobError, match="limit of 1 reached"):
            connection.post("/v1/schema", {})
        connection.close()
        assert len(server.requests) == 1
