"""The parts of a verification that need no server."""

import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.examine.matching import match
from jobs.verify.findings import NAMED, Wrong, uuids_in
from jobs.verify.id_sets import SourceIds, as_ids, compared, ordered_ids, places, unmarked
from jobs.verify.schema import differences_of, index_check
from jobs.verify.stale import Staleness, stale_line
from jobs.verify.values import moment, same
from jobs.verify.vectors import finds_itself, wrong_vectors
from pipelines.targets.cursor import LAST, id_ranges
from schemas.collection import Property
from schemas.objects import uuid5

# few bytes, so that equal ids, zeros at the end and prefixes of one another occur
ID = st.lists(st.sampled_from([0, 1, 255]), min_size=2, max_size=2).map(lambda b: bytes(b) + bytes(14)) | st.binary(
    min_size=16, max_size=16
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ID), st.lists(ID))
def test_ids_are_compared_as_sets_of_16_bytes(mine: list[bytes], theirs: list[bytes]) -> None:
    source = ordered_ids(SourceIds([]), [(0, as_ids(mine), np.arange(len(mine)))])
    assert uuids_in(source.ids) == sorted(set(mine))
    assert source.duplicates == len(mine) - len(set(mine))
    position, hit = places(source.ids, as_ids(theirs))
    assert hit.tolist() == [u in set(mine) for u in theirs]
    there = np.zeros(len(source.ids), bool)
    there[position[hit]] = True
    assert set(uuids_in(source.ids[~there])) == set(mine) - set(theirs)
    assert uuids_in(as_ids(theirs)[~hit]) == [u for u in theirs if u not in set(mine)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(ID, max_size=6), max_size=5), st.data())
def test_the_first_shard_and_row_keep_an_id(shards: list[list[bytes]], data: st.DataObject) -> None:
    pieces = [(n, as_ids(ids), np.arange(len(ids))) for n, ids in enumerate(shards)]
    source = ordered_ids(SourceIds([]), pieces)
    first: dict[bytes, tuple[int, int]] = {}
    for n, ids in enumerate(shards):
        for row, i in enumerate(ids):
            first.setdefault(i, (n, row))
    assert dict(zip(uuids_in(source.ids), zip(source.shard.tolist(), source.row.tolist(), strict=True), strict=True)) == first
    lost = {(n, int(row)) for n, rows in source.lost.items() for row in rows}
    assert lost == {(n, r) for n, ids in enumerate(shards) for r in range(len(ids))} - set(first.values())
    marks = data.draw(st.sets(st.sampled_from(sorted(set(first.values()))))) if first else set()
    source.marked = {n: np.array([r for m, r in marks if m == n], np.int64) for n in {m for m, _ in marks}}
    kept = unmarked(source)
    assert uuids_in(kept.marked_ids) == sorted(i for i, place in first.items() if place in marks)
    assert uuids_in(kept.ids) == sorted(i for i, place in first.items() if place not in marks)


def test_one_id_in_two_tenants_is_two_objects() -> None:
    both = compared([b"x" * 16, b"x" * 16], ["a", "b"])
    assert uuids_in(both) == [uuid5((b"x" * 16).hex(), t) for t in "ab"]


@given(st.integers(1, 64))
def test_ranges_are_all_uuids_once(count: int) -> None:
    ranges = id_ranges(count)
    assert ranges[0].first == 0 and ranges[-1].end == LAST
    assert all(a.end == b.first for a, b in pairwise(ranges))


def test_wrong_objects_are_counted_named_and_all_written(tmp_path: Path) -> None:
    wrong = Wrong(str(tmp_path / "wrong.parquet"))
    ids = [uuid.uuid4().bytes for _ in range(50)]
    wrong.add("missing", ids[:30], None, [str(i) for i in range(30)])
    wrong.add("missing", ids[30:])
    wrong.add("surplus", ids[:1], ["acme"])
    wrong.close()
    assert wrong.counts == {"missing": 50, "surplus": 1}
    assert len(wrong.named["missing"]) == NAMED and wrong.named["surplus"] == [{"uuid": str(uuid.UUID(bytes=ids[0])), "tenant": "acme"}]
    assert pq.read_table(wrong.path).column("uuid").to_pylist() == [*ids, ids[0]]
    Wrong(wrong.path).close()
    assert not Path(wrong.path).exists()


def test_stale_objects_are_told_apart() -> None:
    o, v, w, x = (bytes([i]) * 16 for i in range(4))
    found = Staleness()
    prints = [[o, v, w]] * 5
    stale, untracked = found.add(["v", "w"], prints, {0: [o, v, w], 1: [x, v, w], 2: [o, x, w], 3: []})
    assert (stale, untracked) == ([1, 2], [3])
    assert (found.unchanged, found.changed, found.remade, found.untracked, found.new) == (1, 1, 1, 1, 1)
    assert found.vectors == {"v": 1}
    assert stale_line(found, ["v", "w"]) == (
        "of 5 objects 1 are there unchanged, 4 would be written (1 new, 1 changed, 1 made in another way, 1 of unknown origin); "
        "vectors to encode: 3 v, 2 w"
    )


def test_a_vector_that_the_job_no_longer_has_makes_an_object_stale() -> None:
    found = Staleness()
    assert found.add(["v"], [[b"o" * 16, b"v" * 16]], {0: [b"o" * 16, b"v" * 16, b"w" * 16]}) == ([0], [])
    assert (found.remade, found.vectors) == (1, {})


@pytest.mark.parametrize(
    ("data_type", "ours", "theirs", "equal"),
    [
        ("text", "a", "a", True),
        ("text", "a", "b", False),
        ("text", None, "b", False),
        ("text", "", None, False),
        ("text[]", [], None, True),
        ("text[]", ["a"], None, False),
        ("text[]", ["a", "b"], ["a"], False),
        ("date", "2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00", True),
        ("date", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00.500Z", True),
        ("date", "2020-01-01T00:00:00.123456789Z", "2020-01-01T00:00:00.123456788Z", False),
        ("uuid", "AB" * 16, "ab" * 16, True),
        ("number[]", [1.0, 2.0], [1.0, 2.5], False),
        ("geoCoordinates", {"latitude": 52.1234567, "longitude": 1.0}, {"latitude": 52.123455, "longitude": 1.0}, True),
        ("geoCoordinates", {"latitude": 52.1, "longitude": 1.0}, {"latitude": 52.2, "longitude": 1.0}, False),
        ("phoneNumber", {"input": "0171", "defaultCountry": "DE"}, {"input": "0171", "defaultCountry": None}, True),
    ],
)
def test_values_are_one_value_or_two(data_type: str, ours: Any, theirs: Any, equal: bool) -> None:
    assert same(Property("p", data_type), ours, theirs) is equal


def test_nested_objects_are_compared_by_what_they_have() -> None:
    prop = Property("o", "object[]", (Property("a", "text"), Property("b", "int[]")))
    assert same(prop, [{"a": "x", "b": []}], [{"a": "x", "b": None}])
    assert not same(prop, [{"a": "x", "b": [1]}], [{"a": "x", "b": [2]}])


@given(st.datetimes(), st.integers(0, 999_999_999))
def test_a_moment_is_the_same_in_every_zone(when: Any, nanos: int) -> None:
    head = when.replace(year=max(2, when.year), microsecond=0).isoformat()
    assert moment(f"{head}.{nanos:09d}Z") == moment(f"{head}.{nanos:09d}+00:00") == moment(f"{head}.{nanos:09d}000Z")


def test_single_vectors_that_differ_are_named_but_not_another_precision() -> None:
    r = np.random.default_rng(0)
    made: list[Any] = list(r.normal(size=(40, 8)).astype(np.float32))
    assert wrong_vectors(made, made, match(made, made)) == {}
    coarse: list[Any] = [m.astype(np.float16).astype(np.float32) * 1.5 for m in made]
    assert wrong_vectors(made, coarse, match(made, coarse)) == {}
    other: list[Any] = [*made[:37], made[0], None, made[39][:4]]
    found = wrong_vectors(made, other, match(made, other))
    assert set(found) == {37, 38, 39} and "none is stored" in found[38] and "4 numbers" in found[39]
    assert wrong_vectors([None], [made[0]], match([None], [made[0]])) == {0: "a vector is stored, the job makes none"}


def test_an_object_finds_itself_or_its_double() -> None:
    a, b = b"a" * 16, b"b" * 16
    assert finds_itself(a, [(a, 0.0), (b, 0.1)], 1e-5)
    assert finds_itself(a, [(b, 0.0), (a, 1e-7)], 1e-5)
    assert finds_itself(a, [(b, 0.0)], 1e-5)  # so many doubles that it is not among the answers
    assert not finds_itself(a, [(b, 0.01), (a, 0.2)], 1e-5)
    assert not finds_itself(a, [(b, 0.01)], 1e-5)
    assert not finds_itself(a, [], 1e-5)


def test_defaults_of_the_server_are_no_difference() -> None:
    wanted = {
        "class": "A",
        "properties": [{"name": "Title", "dataType": ["string"]}, {"name": "n", "dataType": ["int"], "indexFilterable": False}],
        "vectorConfig": {"v": {"vectorizer": {"none": {}}}},
        "description": "",
    }
    live = {
        "class": "A_v2",
        "properties": [
            {"name": "n", "dataType": ["int"], "indexFilterable": True},
            {"name": "title", "dataType": ["text"], "tokenization": "word"},
            {"name": "more", "dataType": ["int"]},
        ],
        "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"}},
        "replicationConfig": {"factor": 1},
    }
    assert list(differences_of(wanted, live)) == ["properties.n.indexFilterable is True, not False"]
    assert list(differences_of({"properties": [{"name": "gone", "dataType": ["int"]}]}, live)) == ["properties.gone is missing"]


def test_an_index_is_good_when_nothing_waits() -> None:
    def node(**shard: Any) -> dict[str, Any]:
        return {"name": "node1", "status": "HEALTHY", "shards": [{"vectorIndexingStatus": "READY", "vectorQueueLength": 0} | shard]}

    assert index_check([node()]).good is True
    assert index_check([node(vectorQueueLength=7, vectorIndexingStatus="INDEXING")]).good is False
    assert index_check([node(vectorIndexingStatus="READONLY")]).good is False
    assert index_check([node() | {"status": "UNAVAILABLE"}]).good is False
    assert index_check([{"name": "node1", "status": "HEALTHY", "shards": None}]).good is True
