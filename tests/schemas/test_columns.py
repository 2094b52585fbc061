"""Record batches: cut, reject, drop rows, set columns."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import (
    CHUNK,
    KEY,
    REJECTED,
    ROW,
    SHARD,
    UUID,
    Rejection,
    bounded,
    concat,
    properties_of,
    reject,
    rejected_batch,
    set_column,
    without,
)


def batch_of(n: int) -> pa.RecordBatch:
    """`n` rows with ids, a place and a title."""
    return pa.RecordBatch.from_pydict(
        {
            KEY: [f"k{i}" for i in range(n)],
            UUID: pa.array([bytes([i]) * 16 for i in range(n)], pa.binary(16)),
            SHARD: pa.array(["s"] * n).dictionary_encode(),
            ROW: pa.array(range(100, 100 + n), pa.int64()),
            "title": [f"title {i}" for i in range(n)],
        }
    )


@settings(max_examples=100, deadline=None)
@given(n=st.integers(0, 200), rows=st.integers(1, 50), size=st.integers(1, 5000))
def test_bounded_pieces_are_the_batch_and_within_rows(n: int, rows: int, size: int) -> None:
    batch = batch_of(n)
    pieces = list(bounded(batch, rows, size))
    assert all(0 < p.num_rows <= rows for p in pieces)
    assert [row for p in pieces for row in p.to_pylist()] == batch.to_pylist()


def test_bounded_cuts_by_bytes() -> None:
    batch = pa.RecordBatch.from_pydict({"blob": [b"x" * 1000] * 64})
    pieces = list(bounded(batch, rows=1000, size=10_000))
    assert len(pieces) > 1
    assert all(p.nbytes <= 11_000 for p in pieces)


def test_bounded_leaves_a_row_whole_that_is_too_large() -> None:
    batch = pa.RecordBatch.from_pydict({"blob": [b"x" * 1000] * 3})
    assert [p.num_rows for p in bounded(batch, size=10)] == [1, 1, 1]


def test_bounded_gives_nothing_for_an_empty_batch() -> None:
    assert list(bounded(batch_of(0))) == []


def test_bounded_counts_only_the_bytes_of_a_slice() -> None:
    """A slice of a large batch is small."""
    batch = pa.RecordBatch.from_pydict({"blob": [b"x" * 1000] * 100}).slice(50, 2)
    assert [p.num_rows for p in bounded(batch, size=4000)] == [2]


def test_reject_names_the_rows_by_key_and_place() -> None:
    found = reject(batch_of(5).slice(1), {0: ("a", "first"), 3: ("b", "last")}, "read")
    assert found == [
        Rejection("k1", b"\x01" * 16, "read", "a", "first", "s", 101, 0),
        Rejection("k4", b"\x04" * 16, "read", "b", "last", "s", 104, 0),
    ]


def test_reject_says_which_chunk() -> None:
    batch = batch_of(2).append_column(CHUNK, pa.array([0, 7], pa.int32()))
    assert reject(batch, {1: ("a", "b")}, "write")[0].chunk == 7


def test_reject_works_before_there_are_ids() -> None:
    found = reject(batch_of(2).drop_columns([KEY, UUID]), {0: ("a", "b")}, "read")
    assert (found[0].key, found[0].uuid) == (None, None)


def test_reject_without_reasons_is_empty() -> None:
    assert reject(batch_of(2), {}, "read") == []


def test_rejected_batch_has_its_schema_also_when_empty() -> None:
    assert rejected_batch([]).schema == REJECTED
    assert rejected_batch([]).num_rows == 0


def test_rejected_batch_keeps_every_field() -> None:
    rejection = Rejection("k", b"\x02" * 16, "read", "code", "message", "shard", 5, 3)
    assert [tuple(row.values()) for row in rejected_batch([rejection]).to_pylist()] == [tuple(rejection)]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_without_keeps_the_others_in_order(case: tuple[int, set[int]]) -> None:
    n, positions = case
    assert without(batch_of(n), positions).column("title").to_pylist() == [f"title {i}" for i in range(n) if i not in positions]


def test_without_takes_the_positions_of_a_slice() -> None:
    assert without(batch_of(5).slice(2), [0]).column(KEY).to_pylist() == ["k3", "k4"]


def test_set_column_replaces_in_place() -> None:
    changed = set_column(batch_of(2), ROW, pa.array([7, 8]))
    assert changed.schema.names == batch_of(2).schema.names
    assert changed.column(ROW).to_pylist() == [7, 8]


def test_set_column_appends_a_new_one() -> None:
    changed = set_column(batch_of(2), "new", pa.array([7, 8]))
    assert changed.schema.names[-1] == "new"


def test_set_column_leaves_its_input_alone() -> None:
    batch = batch_of(2)
    set_column(batch, ROW, pa.array([7, 8]))
    assert batch.column(ROW).to_pylist() == [100, 101]


@pytest.mark.parametrize("counts", [[3], [1, 2, 3]])
def test_concat_is_the_batches_in_order(counts: list[int]) -> None:
    batches = [batch_of(n) for n in counts]
    assert concat(batches).column(KEY).to_pylist() == [f"k{i}" for n in counts for i in range(n)]


def test_properties_are_the_columns_that_are_not_ours() -> None:
    assert properties_of(batch_of(1).schema) == ["title"]
