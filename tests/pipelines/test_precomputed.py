"""Vectors that the source already has, from every type of column."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.precomputed import as_multi_vectors, as_vectors, fixed, is_multi, usual_length, value_faults, vector_type_fault

ROWS = [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]]
TYPES = [
    *(pa.list_(t, 2) for t in (pa.float16(), pa.float32(), pa.float64(), pa.int8())),
    *(pa.list_(t) for t in (pa.float16(), pa.float32(), pa.float64(), pa.int32(), pa.uint8())),
    *(pa.large_list(t) for t in (pa.float32(), pa.float64(), pa.int64())),
]


def packed(rows: list[list[float] | None], t: pa.DataType) -> pa.Array:
    """`rows` as little-endian float32 bytes."""
    return pa.array([None if r is None else np.array(r, "<f4").tobytes() for r in rows], t)


COLUMNS = [*(pa.array(ROWS, t) for t in TYPES), *(packed(ROWS, t) for t in (pa.binary(), pa.large_binary(), pa.binary(8)))]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: str(c.type))
def test_every_type_of_column(column: pa.Array) -> None:
    assert vector_type_fault("c", column.type, multi=False) is None
    vectors, reasons = as_vectors(column, 2, zero_allowed=False)
    assert vectors.type == pa.list_(pa.float32(), 2)
    assert vectors.to_pylist() == ROWS
    assert reasons == {}
    assert usual_length(column) == 2


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: str(c.type))
@pytest.mark.parametrize(("start", "length"), [(1, 3), (2, 1), (3, 1), (1, 1), (4, 0)])
def test_slices_of_every_type(column: pa.Array, start: int, length: int) -> None:
    vectors, reasons = as_vectors(column.slice(start, length), 2, zero_allowed=False)
    assert vectors.to_pylist() == ROWS[start : start + length]
    assert reasons == {}


def test_null_column() -> None:
    assert as_vectors(pa.nulls(3), 2, zero_allowed=False)[0].to_pylist() == [None] * 3


def test_all_rows_null() -> None:
    column = pa.nulls(2, pa.list_(pa.float32()))
    assert as_vectors(column, 2, zero_allowed=False)[0].to_pylist() == [None, None]
    assert usual_length(column) is None


@pytest.mark.parametrize(
    ("bad", "code", "words"),
    [
        ([1.0], "vector_length", "1 numbers; the others have 2"),
        ([1.0, 2.0, 3.0], "vector_length", "3 numbers; the others have 2"),
        ([], "vector_length", "0 numbers"),
        ([1.0, float("nan")], "vector_not_finite", "nan"),
        ([-float("inf"), 1.0], "vector_not_finite", "-inf"),
        ([1e300, 1.0], "vector_not_finite", "inf"),
        ([1.0, None], "vector_not_finite", "nan"),
        ([0.0, 0.0], "vector_zero", "cosine"),
    ],
)
def test_bad_vector_is_named_and_null(bad: list[Any], code: str, words: str) -> None:
    column = pa.array([[9.0, 9.0], [1.0, 2.0], bad, None, [3.0, 4.0]], pa.list_(pa.float64())).slice(1)
    vectors, reasons = as_vectors(column, 2, zero_allowed=False)
    assert vectors.to_pylist() == [[1.0, 2.0], None, None, [3.0, 4.0]]
    assert list(reasons) == [1]
    assert reasons[1][0] == code
    assert words in reasons[1][1]


def test_zero_vector_is_good_where_distance_is_not_cosine() -> None:
    assert as_vectors(pa.array([[0.0, 0.0]]), 2, zero_allowed=True)[1] == {}


def test_bytes_that_are_no_float32() -> None:
    column = pa.array([b"\x00" * 7, np.array([1, 2], "<f4").tobytes(), b"\x00\x00\x80\x3f"])
    vectors, reasons = as_vectors(column, 2, zero_allowed=False)
    assert vectors.to_pylist() == [None, [1.0, 2.0], None]
    assert {i: code for i, (code, _) in reasons.items()} == {0: "vector_length", 2: "vector_length"}
    assert "-1" not in reasons[0][1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.none() | st.lists(st.floats(width=32), min_size=0, max_size=4), max_size=8),
    st.integers(0, 8),
    st.sampled_from([pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.binary()]),
)
def test_against_a_plain_loop(rows: list[list[float] | None], start: int, t: pa.DataType) -> None:
    column = (packed(rows, t) if t == pa.binary() else pa.array(rows, t)).slice(min(start, len(rows)))
    vectors, reasons = as_vectors(column, 3, zero_allowed=False)
    for i, row in enumerate(rows[start:]):
        good = row is not None and len(row) == 3 and bool(np.isfinite(row).all()) and any(row)
        assert vectors[i].as_py() == (row if good else None)
        assert (i in reasons) == (row is not None and not good)


@pytest.mark.parametrize(
    "t", [pa.string(), pa.float32(), pa.list_(pa.string()), pa.list_(pa.list_(pa.float32())), pa.list_(pa.bool_()), pa.struct([])]
)
def test_refused_types(t: pa.DataType) -> None:
    fault = vector_type_fault("c", t, multi=False)
    assert (
        fault == f"column 'c' has the type {t}; a vector column needs fixed-size lists or lists of numbers, or little-endian float32 bytes"
    )


@pytest.mark.parametrize("t", [pa.list_(pa.float32()), pa.list_(pa.list_(pa.string())), pa.string()])
def test_refused_types_of_multi_vectors(t: pa.DataType) -> None:
    assert "lists of lists of numbers (a multi-vector)" in str(vector_type_fault("c", t, multi=True))


@pytest.mark.parametrize(
    ("t", "expected"), [(pa.list_(pa.list_(pa.float32(), 2)), True), (pa.list_(pa.float32(), 2), False), (pa.binary(), False)]
)
def test_is_multi(t: pa.DataType, expected: bool) -> None:
    assert is_multi(t) is expected


MULTI = [[[1.0, 2.0], [3.0, 4.0]], None, [[5.0, 6.0]]]


@pytest.mark.parametrize(
    "t",
    [pa.list_(pa.list_(pa.float32())), pa.large_list(pa.list_(pa.float64(), 2)), pa.list_(pa.large_list(pa.float16())), pa.binary()],
    ids=str,
)
def test_multi_vectors_of_every_type_and_slices(t: pa.DataType) -> None:
    assert vector_type_fault("c", t, multi=True) is None
    column = packed(MULTI, t) if t == pa.binary() else pa.array(MULTI, t)
    for start in range(3):
        vectors, reasons = as_multi_vectors(column.slice(start), 2)
        assert vectors.to_pylist() == MULTI[start:]
        assert reasons == {}
    assert vectors.type == pa.large_list(pa.list_(pa.float32(), 2))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "no numbers"),
        ([[1.0, 2.0], [1.0]], "[1, 2] numbers; each needs 2"),
        ([[1.0, 2.0], None], "[0, 2] numbers"),
        ([[1.0, float("nan")]], "not finite"),
        ([[1.0, None]], "not finite"),
        ([[1.0, 1e300]], "not finite"),
    ],
)
def test_bad_multi_vector_is_named_and_null(bad: list[Any], words: str) -> None:
    vectors, reasons = as_multi_vectors(pa.array([MULTI[0], bad], pa.list_(pa.list_(pa.float64()))), 2)
    assert vectors.to_pylist() == [MULTI[0], None]
    assert reasons[1][0] == "vector_shape"
    assert words in reasons[1][1]


@pytest.mark.parametrize("data", [b"", b"\x00" * 12])
def test_multi_vector_bytes_of_a_wrong_length(data: bytes) -> None:
    assert f"{len(data)} bytes" in as_multi_vectors(pa.array([data]), 2)[1][0][1]


def test_value_faults_of_good_vectors() -> None:
    assert value_faults(np.ones((3, 2), np.float32), zero_allowed=False) == {}


def test_fixed_keeps_valid_rows() -> None:
    made = fixed(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([True, False, True]))
    assert made.to_pylist() == [[0.0, 1.0], None, [4.0, 5.0]]
