"""The mark of a run that did not end, and what is sent again because of it; against a real Weaviate."""

import json
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weaviate.util import generate_uuid5

import jobs.open_run
from jobs.doubt import EVER, Doubt
from jobs.incremental import JOB_DESCRIPTION
from jobs.job_file import load_job
from jobs.noted import Note, Noted
from jobs.open_run import OPEN, _marks, open_since
from jobs.server import start_server
from pipelines.targets.connection import Connection
from pipelines.targets.cursor import LAST, Range
from pipelines.targets.reindex import _nudged, reindex
from pipelines.targets.weaviate import WeaviateTarget
from schemas.fingerprints import STORED_JOB
from schemas.job import TargetSpec, WeaviateSpec
from tests.conftest import Load

NONE = {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}
CLASS: dict[str, Any] = {
    "properties": [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}],
    "vectorConfig": {"v": NONE},
}
FAKE = {"v": {"model": {"fake": 4}, "text_fields": ["title"]}}
ALL = Range(0, LAST)
HOUR = timedelta(hours=1)


def job_of(load: Load, rows: int = 30, vectors: dict[str, Any] = FAKE, **rest: Any) -> Path:
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection} | CLASS))
    table = pa.table({"key": [f"k{i}" for i in range(rows)], "title": [f"title {i}" for i in range(rows)]})
    return load.job(load.parquet(table, row_group_size=10), vectors, {"create": "class.json"}, **rest)


def definition(load: Load) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).raise_for_status().json()
    return found


def description(load: Load) -> str:
    return str(next(p for p in definition(load)["properties"] if p["name"] == STORED_JOB)["description"])


def leave_open(load: Load, **marks: datetime) -> None:
    """What a run that was killed leaves."""
    found = definition(load)
    prop = next(p for p in found["properties"] if p["name"] == STORED_JOB)
    prop["description"] = JOB_DESCRIPTION + OPEN + json.dumps({job: since.isoformat() for job, since in marks.items()})
    httpx.put(f"{load.server.url}/v1/schema/{load.collection}", json=found, timeout=60).raise_for_status()


def updated(load: Load) -> dict[str, int]:
    return {i: o["lastUpdateTimeUnix"] for i, o in load.objects().items()}


def plain(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Without what says when an object was written."""
    return {i: {k: v for k, v in o.items() if k not in ("lastUpdateTimeUnix", "creationTimeUnix")} for i, o in objects.items()}


def test_a_run_that_ends_leaves_no_mark(load: Load) -> None:
    code, report = load.run(job_of(load))
    assert code == 0, report
    assert description(load) == JOB_DESCRIPTION
    assert open_since(definition(load), "job") is None


def test_after_a_run_that_did_not_end_what_it_wrote_is_sent_again(load: Load) -> None:
    job = job_of(load)
    load.run(job)
    before, times = load.objects(), updated(load)
    leave_open(load, job=datetime.now(timezone.utc) - HOUR, other=datetime.now(timezone.utc))
    assert "indexed" in load.command("verify", job).output  # names what is open
    result = load.command("run", job)
    text = " ".join(result.output.split())
    assert result.exit_code == 0 and "did not end" in text and "30 objects sent again" in text, text
    assert plain(load.objects()) == plain(before)
    assert all(updated(load)[i] > times[i] for i in times)
    assert json.loads((load.folder / "report" / "report.json").read_text())["counts"]["unchanged"] == 30
    assert list(_marks(description(load))) == ["other"]  # another job's run is its own affair
    code = load.command("run", job).exit_code
    assert code == 0 and list(_marks(description(load))) == ["other"]


def test_only_what_was_written_in_a_span_of_lost_requests_is_sent_again(load: Load) -> None:
    """Two runs, and requests of the first were lost: what the second one wrote later stays as it is."""
    load.run(job_of(load))
    first = updated(load)
    time.sleep(1.1 - time.time() % 1)  # the mark has whole seconds
    load.run(job_of(load, 40))
    times = updated(load)
    begin, end = (datetime.fromtimestamp(f(first.values()) / 1000, timezone.utc) for f in (min, max))
    doubt = Doubt(datetime.now(timezone.utc) + HOUR, ((begin - timedelta(seconds=1), (end + timedelta(seconds=1)).replace(microsecond=0)),))
    assert all(times[i] == first[i] for i in first) and len(times) == 40
    began = begin.replace(microsecond=0) - HOUR
    noted(load).write(began, Note(doubt))
    leave_open(load, job=began)
    text = " ".join(load.command("run", job_of(load, 40)).output.split())
    assert "at times when requests were lost" in text and "30 objects sent again" in text, text
    after = updated(load)
    assert {i for i in after if after[i] != times[i]} == set(first)
    assert not Path(noted(load).path).exists()


def noted(load: Load) -> Noted:
    return Noted(load_job(load.folder / "job.yaml"))


def test_what_another_run_noted_and_what_cannot_be_read_says_nothing(load: Load) -> None:
    job_of(load)
    file, now = noted(load), datetime.now(timezone.utc).replace(microsecond=0)
    assert file.read(now) is None
    note = Note(Doubt(now + HOUR), "[]")
    file.write(now, note)
    assert file.read(now) == note and file.read(now - HOUR) is None
    for text in ("", "{", "[]", "3", '{"begun": 3, "doubt": ""}', json.dumps({"begun": now.isoformat(), "doubt": "?"})):
        Path(file.path).write_text(text)
        assert file.read(now) is None
    file.forget()
    file.forget()
    assert not Path(file.path).exists()


def test_the_class_is_not_changed_while_objects_are_written(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change would leave objects out of its indexes that the server acknowledged; how far a run has come is in a file."""
    changes, seen, put, write = [], [], Connection.put, Noted.write

    def changed(self: Connection, path: str, body: Any) -> Any:
        changes.append(path)
        return put(self, path, body)

    def wrote(self: Noted, begun: datetime, note: Note) -> None:
        write(self, begun, note)
        seen.append((len(changes), self.read(begun), begun))

    monkeypatch.setattr(Connection, "put", changed)
    monkeypatch.setattr(Noted, "write", wrote)
    monkeypatch.setattr(jobs.open_run, "BEAT_S", 0.05)
    job = job_of(load, 3000)
    assert load.command("run", job, "--set", "target.timeout_s=1", "--set", "target.max_objects_per_s=1000").exit_code == 0
    assert len(changes) == 2 and len(seen) > 5  # before the first object, and after the last
    assert {n for n, _, _ in seen} == {1}
    assert seen[-1][1].doubt.since > seen[-1][2] and not seen[-1][1].doubt.spans and "node" in seen[-1][1].servers
    assert not Path(noted(load).path).exists()


def test_what_was_written_long_before_stays(load: Load) -> None:
    job = job_of(load)
    load.run(job)
    times = updated(load)
    leave_open(load, job=datetime.now(timezone.utc) + HOUR)
    assert "0 objects sent again" in " ".join(load.command("run", job).output.split())
    assert updated(load) == times


def test_verify_names_an_open_run_and_mends_it(load: Load) -> None:
    job = job_of(load)
    load.run(job)
    times = updated(load)
    leave_open(load, job=datetime.now(timezone.utc) - HOUR)
    result = load.command("verify", job, "--json")
    checks = {c["name"]: c for c in json.loads(result.output)["checks"]}
    assert result.exit_code == 1 and checks["indexed"]["good"] is False and "did not end" in checks["indexed"]["said"]
    assert updated(load) == times  # it only reads
    assert load.command("verify", job, "--repair").exit_code == 0
    assert all(updated(load)[i] > times[i] for i in times)
    assert open_since(definition(load), "job") is None


def test_a_server_that_goes_away_leaves_the_mark(load: Load) -> None:
    """Its gRPC is nowhere: the run stops with exit code 3, and the next one knows."""
    job = job_of(load)
    load.run(job)
    code = load.command("run", job_of(load, 31), "--set", "target.retry_s=1", "--set", "target.weaviate.grpc=127.0.0.1:1").exit_code
    assert code == 3
    assert open_since(definition(load), "job") is not None
    assert load.command("run", job_of(load, 31)).exit_code == 0
    assert open_since(definition(load), "job") is None and len(load.objects()) == 31


def rich(load: Load) -> str:
    """A collection of most property types with references, two vectors and a multi-vector, and one object that has it all; its id."""
    extra = [
        ("price", "number"), ("count", "int"), ("good", "boolean"), ("day", "date"), ("place", "geoCoordinates"), ("phone", "phoneNumber"),
        ("tags", "text[]"), ("numbers", "number[]"), ("ids", "uuid[]"), ("one", "uuid"), ("days", "date[]"), ("picture", "blob"),
    ]  # fmt: skip
    nested = [{"name": "city", "dataType": ["text"]}, {"name": "codes", "dataType": ["int[]"]}]
    properties = [{"name": n, "dataType": [t]} for n, t in extra]
    properties += [{"name": n, "dataType": [t], "nestedProperties": nested} for n, t in (("home", "object"), ("homes", "object[]"))]
    properties.append({"name": "likes", "dataType": [load.collection]})
    multi = {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw", "vectorIndexConfig": {"multivector": {"enabled": True}}}
    load.create({"properties": [*CLASS["properties"], *properties], "vectorConfig": {"v": NONE, "m": multi}})
    other, own = generate_uuid5("other"), generate_uuid5("k")
    beacon = {"beacon": f"weaviate://localhost/{load.collection}/{other}"}
    values = {
        "key": "k", "title": "ä\n", "price": 2.5, "count": -3, "good": False, "day": "2020-01-02T03:04:05.123456Z",
        "place": {"latitude": 52.5, "longitude": 13.25}, "phone": {"input": "+49 171 1234567"}, "tags": ["a", ""], "numbers": [0.1, -2],
        "ids": [str(other), str(own)], "one": str(other), "days": ["2020-01-02T03:04:05Z"], "picture": "AP8=",
        "home": {"city": "Köln", "codes": [1, 2]}, "homes": [{"city": "A"}, {"codes": [3]}], "likes": [beacon],
    }  # fmt: skip
    for data in (
        {"id": other, "properties": {"key": "other"}, "vectors": {"v": [0, 0, 0, 1]}},
        {"id": own, "properties": values, "vectors": {"v": [1, 2, 3, 0], "m": [[0.5, 1], [2, -0.0]]}},
    ):
        httpx.post(f"{load.server.url}/v1/objects", json={"class": load.collection} | data, timeout=60).raise_for_status()
    return str(own)


def test_an_object_with_everything_is_the_same_afterwards(load: Load) -> None:
    uuid = rich(load)
    before, times = load.objects(), updated(load)
    spec = TargetSpec(weaviate=WeaviateSpec(url=load.server.url, grpc=load.server.grpc), collection=load.collection)
    with closing(WeaviateTarget(spec)) as target:
        collection = target.collection()
    assert collection is not None
    with closing(WeaviateTarget(spec, collection)) as target:
        assert reindex(target, collection, "job", "", ALL, lambda ms: ms > max(times.values())) == 0
        assert updated(load) == times
        assert reindex(target, collection, "job", "", ALL, Doubt(EVER).covers) == 2
    after = load.objects()
    assert plain(after)[uuid] == plain(before)[uuid]
    assert plain(after) == plain(before) and all(updated(load)[i] > times[i] for i in times)


@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=1, max_size=8))
def test_a_vector_apart_is_another_one_and_hardly_so(numbers: list[float]) -> None:
    vector = np.array(numbers, "<f4")
    other = np.frombuffer(_nudged(vector.tobytes()), "<f4")
    assert other.tobytes() != vector.tobytes() and _nudged(other.tobytes()) == vector.tobytes()
    assert np.array_equal(other[:-1], vector[:-1])
    assert np.isinf(other[-1]) or abs(float(other[-1]) - float(vector[-1])) <= np.spacing(abs(vector[-1]))


@given(st.dictionaries(st.text(max_size=20), st.datetimes(timezones=st.just(timezone.utc)), max_size=4))
def test_marks_are_read_as_they_were_written(marks: dict[str, datetime]) -> None:
    text = JOB_DESCRIPTION + OPEN + json.dumps({job: since.isoformat() for job, since in marks.items()})
    found = {"properties": [{"name": STORED_JOB, "description": text}]}
    assert {job: open_since(found, job) for job in marks} == marks


@pytest.mark.parametrize("text", ["", "mine", OPEN, OPEN + "[]", OPEN + "{", OPEN + '{"job": 3}', OPEN + '{"job": "today"}'])
def test_what_a_person_wrote_there_is_no_mark(text: str) -> None:
    assert open_since({"properties": [{"name": STORED_JOB, "description": text}]}, "job") is None


def test_a_login_that_may_neither_delete_nor_look_at_the_cluster_loads_and_is_told(
    tmp_path: Path, collection_name: str, monkeypatch: Any
) -> None:
    env = {
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "root-key,loader-key",
        "AUTHENTICATION_APIKEY_USERS": "root,loader",
        "AUTHORIZATION_RBAC_ENABLED": "true",
        "AUTHORIZATION_RBAC_ROOT_USERS": "root",
    }
    with start_server(tmp_path / "data", env=env, log=tmp_path / "log") as server:
        root = httpx.Client(base_url=server.url, headers={"authorization": "Bearer root-key"}, timeout=60)
        data, classes = ({kind: {"collection": "*"}} for kind in ("data", "collections"))
        actions = [{"action": f"{do}_data"} | data for do in ("create", "read", "update")]
        actions += [{"action": f"{do}_collections"} | classes for do in ("create", "read", "update")]
        root.post("/v1/authz/roles", json={"name": "loads", "permissions": actions}).raise_for_status()
        root.post("/v1/authz/users/loader/assign", json={"roles": ["loads"], "userType": "db"}).raise_for_status()
        monkeypatch.setenv("LOADER_KEY", "loader-key")
        load = Load(tmp_path, server, collection_name)
        result = load.command("run", job_of(load), "--set", "target.weaviate.api_key=${LOADER_KEY}")
        text = " ".join(result.output.split())
        assert result.exit_code == 0 and "30 written" in text, text
        assert "may not ask for a delete" in text and "verify --repair" in text, text
        spec = WeaviateSpec(url=server.url, grpc=server.grpc, api_key="${LOADER_KEY}")
        with closing(Connection(spec, 5, 5)) as connection:
            assert connection.server_starts() is None
        found = root.get(f"/v1/schema/{collection_name}").raise_for_status().json()
        assert open_since(found, "job") is None
        root.close()
