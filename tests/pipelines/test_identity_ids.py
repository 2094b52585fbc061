"""Ids of rows, and which rows occur twice."""

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.identity import add_reasons, ids
from pipelines.ids import PARTITIONS, find_losers, hashes_of, merge_losers, packed, repeated, shard_hashes, shard_pieces, unpacked
from pipelines.layout import Layout
from pipelines.sources import Shard, ShardError
from schemas.columns import KEY, ROW, TENANT, UUID, Rejection
from schemas.objects import Reasons, uuid5

KEYED = Layout(key="sku", key_is_uuid=False, namespace="shop")
TENANTED = Layout(key="sku", key_is_uuid=False, namespace="", tenant="shop")
AS_UUID = Layout(key="id", key_is_uuid=True, namespace="")
SOME = uuid.UUID("eea9cb72-744e-5814-a929-652d970d86ac")


def made(layout: Layout, **columns: Any) -> tuple[dict[str, list[Any]], Reasons]:
    reasons: Reasons = {}
    found = {name: array.to_pylist() for name, array in ids(pa.RecordBatch.from_pydict(columns), layout, reasons)}
    return found, reasons


@pytest.mark.parametrize(
    "column", [pa.array(["7"]), pa.array([7]), pa.array(["7"]).dictionary_encode(), pa.array(["7"], pa.large_string())]
)
def test_key_is_a_text_whatever_its_type(column: pa.Array) -> None:
    found, reasons = made(KEYED, sku=column)
    assert found == {KEY: ["7"], UUID: [uuid5("7", "shop")]}
    assert reasons == {}


def test_row_without_a_key_is_named() -> None:
    found, reasons = made(KEYED, sku=["a", None, ""])
    assert found[UUID] == [uuid5("a", "shop"), None, None]
    assert {i: code for i, (code, _) in reasons.items()} == {1: "no_key", 2: "no_key"}


@pytest.mark.parametrize(
    "column",
    [pa.array([str(SOME)]), pa.array([SOME.hex.upper()]), pa.array([SOME.bytes], pa.binary(16)), pa.array([SOME.bytes], pa.uuid())],
)
def test_uuid_column_is_taken_as_it_is(column: pa.Array) -> None:
    found, reasons = made(AS_UUID, id=column)
    assert found[UUID] == [SOME.bytes]
    assert reasons == {}


@pytest.mark.parametrize("column", [pa.array(["12"]), pa.array([b"\x01" * 15]), pa.array([12]), pa.array(["not a uuid at all"])])
def test_bad_uuid_is_named(column: pa.Array) -> None:
    found, reasons = made(AS_UUID, id=column)
    assert found[UUID] == [None]
    assert reasons[0][0] == "bad_uuid"


def test_tenant_column() -> None:
    found, reasons = made(TENANTED, sku=["a", "b", "c"], shop=["x", None, ""])
    assert found[TENANT] == ["x", "", ""]
    assert {i: code for i, (code, _) in reasons.items()} == {1: "no_tenant", 2: "no_tenant"}


def test_row_with_two_faults_keeps_both_messages() -> None:
    reasons: Reasons = {1: ("first", "one")}
    add_reasons(reasons, {1: ("second", "two"), 2: ("third", "three")})
    assert reasons == {1: ("first", "one; two"), 2: ("third", "three")}


class Rows:
    """A source in memory: shard name -> its rows as (key, tenant), or None for a row that cannot be parsed."""

    def __init__(self, shards: dict[str, list[tuple[str, str] | None]], breaks: bool = False) -> None:
        self.content, self.breaks = shards, breaks

    def schema(self) -> pa.Schema:
        return pa.schema([("sku", pa.string()), ("shop", pa.string())])

    def shards(self) -> list[Shard]:
        return [Shard(name, name) for name in self.content]

    def read(self, shard: Shard, columns: list[str]) -> Iterator[pa.RecordBatch | Rejection]:
        """Three rows a batch."""
        rows = self.content[shard.name]
        for start in range(0, len(rows), 3):
            numbered = [(i, r) for i, r in enumerate(rows[start : start + 3], start) if r is not None]
            yield from (
                Rejection(None, None, "read", "bad", "", shard.name, i) for i, r in enumerate(rows[start : start + 3], start) if r is None
            )
            columns_ = {"sku": [r[0] for _, r in numbered], "shop": [r[1] for _, r in numbered]}
            yield pa.RecordBatch.from_pydict(
                {c: pa.array(columns_[c], pa.string()) for c in columns} | {ROW: pa.array([i for i, _ in numbered], pa.int64())}
            )
        if self.breaks:
            raise ShardError(shard.name)


def losers(source: Rows, layout: Layout, order: Any = sorted) -> dict[str, list[int]]:
    """What all partitions together find, with the pieces in any order."""
    hashes: dict[int, list[bytes]] = {}
    for partition, data in order([p for s in source.shards() for p in shard_hashes(source, s, layout)]):
        hashes.setdefault(partition, []).append(data)
    met = b"".join(map(repeated, hashes.values()))
    partitions: dict[int, list[Any]] = {}
    for partition, piece in order([p for s in source.shards() for p in shard_pieces(source, s, layout, met)]):
        partitions.setdefault(partition, []).append(piece)
    found: dict[str, list[int]] = {}
    for pieces in partitions.values():
        for shard, rows in find_losers(iter(pieces)).items():
            found.setdefault(shard, []).extend(rows.tolist())
    return {shard: sorted(rows) for shard, rows in found.items()}


def losers_by_dict(source: Rows, by_tenant: bool) -> dict[str, list[int]]:
    """The same with a dict: shards in name order, rows in number order, the first of an id wins."""
    seen: dict[Any, int] = {}
    found: dict[str, list[int]] = {}
    for name in sorted(source.content):
        for number, row in enumerate(source.content[name]):
            if row is None or not row[0]:
                continue
            if (row if by_tenant else row[0]) in seen:
                found.setdefault(name, []).append(number)
            seen[row if by_tenant else row[0]] = 1
    return found


ROWS = st.none() | st.tuples(st.sampled_from(["", *"abcdefgh", "a\nb", "ü"]), st.sampled_from(["x", "y"]))
CONTENT = st.dictionaries(st.sampled_from(["s1", "s10", "s2", "S", "z/ä"]), st.lists(ROWS, max_size=12), max_size=5)


@settings(max_examples=150, deadline=None)
@given(CONTENT, st.booleans(), st.randoms(use_true_random=False))
def test_losers_are_those_of_a_plain_dict(content: dict[str, Any], by_tenant: bool, random: Any) -> None:
    """In whatever order the pieces come."""

    def shuffled(pieces: list[Any]) -> list[Any]:
        random.shuffle(pieces)
        return pieces

    source = Rows(content)
    assert losers(source, TENANTED if by_tenant else KEYED, shuffled) == losers_by_dict(source, by_tenant)


def test_first_shard_by_name_wins_then_the_first_row() -> None:
    source = Rows({"b": [("k", "x")], "a": [("other", "x"), ("k", "x"), ("k", "x")]})
    assert losers(source, KEYED) == {"a": [2], "b": [0]}


def test_one_key_in_two_tenants_is_two_objects() -> None:
    source = Rows({"a": [("k", "x"), ("k", "y"), ("k", "x")]})
    assert losers(source, TENANTED) == {"a": [2]}


def test_ids_of_one_key_meet_in_one_partition_and_keys_are_spread() -> None:
    source = Rows({name: [(str(i), "x") for i in range(500)] for name in "ab"})
    partitions = {name: {p for p, _ in shard_hashes(source, Shard(name, name), KEYED)} for name in "ab"}
    assert partitions["a"] == partitions["b"] == set(range(PARTITIONS))
    assert losers(source, KEYED) == {"b": list(range(500))}


def test_broken_shard_gives_the_ids_before_the_break() -> None:
    assert losers(Rows({"a": [("k", "x"), ("k", "x")]}, breaks=True), KEYED) == {"a": [1]}


def test_no_pieces_no_losers() -> None:
    assert find_losers([]) == {}
    assert repeated([]) == b""


def test_keys_are_read_again_only_where_hashes_meet() -> None:
    unread = Rows({"a": [("k", "x")]}, breaks=True)
    assert list(shard_pieces(unread, Shard("missing", "missing"), KEYED, b"")) == []


def test_ids_that_only_share_a_hash_lose_nothing() -> None:
    """Chance meetings of hashes are settled by whole ids."""
    source = Rows({"a": [("k", "x"), ("l", "x")]})
    met = b"".join(data for _, data in shard_hashes(source, Shard("a", "a"), KEYED))
    assert all(find_losers([piece]) == {} for _, piece in shard_pieces(source, Shard("a", "a"), KEYED, met))


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=50))
def test_hashes_survive_packing(whole: list[bytes]) -> None:
    hashes = hashes_of(np.frombuffer(b"".join(whole), "V16"))
    assert np.array_equal(unpacked(packed(hashes)), hashes)
    assert np.array_equal(unpacked(repeated([packed(hashes), packed(hashes)])), np.unique(hashes))


def test_sequential_uuids_do_not_share_hashes() -> None:
    counted = np.zeros((100_000, 2), ">u8")
    counted[:, 1] = np.arange(100_000)
    assert len(np.unique(hashes_of(counted.view("V16").ravel()))) == 100_000


def test_merge_losers_joins_the_partitions() -> None:
    assert merge_losers([("a", b"1"), ("b", b"2"), ("a", b"3")]) == {"a": b"13", "b": b"2"}
