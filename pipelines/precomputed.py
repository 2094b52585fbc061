"""Vectors that the source already has: from fixed-size lists, lists or bytes, checked before they are sent."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.objects import Reasons

Floats = npt.NDArray[np.float32]


def is_multi(t: pa.DataType) -> bool:
    """Whether a column of this type holds several vectors a row."""
    return bool(_is_list(t) and _is_list(t.value_type))


def _is_list(t: pa.DataType) -> bool:
    return bool(pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t))


def _is_binary(t: pa.DataType) -> bool:
    return bool(pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_fixed_size_binary(t))


def vector_type_fault(column: str, t: pa.DataType, multi: bool) -> str | None:
    """Why a column of type `t` cannot hold vectors (or multi-vectors), or None."""
    good = _is_binary(t) or (is_multi(t) if multi else _is_list(t) and not _is_list(t.value_type))
    leaf = t
    while _is_list(leaf):
        leaf = leaf.value_type
    numeric = _is_binary(t) or pa.types.is_floating(leaf) or pa.types.is_integer(leaf)
    if good and numeric:
        return None
    wanted = "lists of lists of numbers (a multi-vector)" if multi else "fixed-size lists or lists of numbers"
    return f"column {column!r} has the type {t}; a vector column needs {wanted}, or little-endian float32 bytes"


def usual_length(column: pa.Array) -> int | None:
    """The most common length of the vectors in `column`, or None where all are null."""
    lengths = Counter(len(v) // 4 if isinstance(v, bytes) else len(v) for v in column.to_pylist() if v)
    return lengths.most_common(1)[0][0] if lengths else None


def as_vectors(column: pa.Array, dim: int, zero_allowed: bool) -> tuple[pa.Array, Reasons]:
    """`column` as fixed_size_list<float32>[dim]; wrong length, NaN, infinity and (for cosine) all-zero are named and null."""
    flat, starts, lengths, valid = _flatten(column)
    reasons = {
        int(i): ("vector_length", f"the vector has {_count(lengths[i])}; the others have {dim}")
        for i in np.flatnonzero(valid & (lengths != dim))
    }
    good = np.flatnonzero(valid & (lengths == dim))
    vectors = flat[starts[good][:, None] + np.arange(dim)] if len(good) else np.zeros((0, dim), np.float32)
    reasons |= {int(good[i]): reason for i, reason in value_faults(vectors, zero_allowed).items()}
    out = np.zeros((len(column), dim), np.float32)
    out[good] = vectors
    return fixed(out, np.array([bool(valid[i]) and i not in reasons for i in range(len(column))], bool)), reasons


def _count(length: int) -> str:
    return f"{length} numbers" if length >= 0 else "bytes that are no whole number of float32"


def _flatten(column: pa.Array) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """All numbers of `column` in one row, and where each vector starts, how long it is, and whether it is there."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if _is_binary(column.type):
        return _flatten_bytes(column, valid)
    if pa.types.is_null(column.type):
        return np.zeros(0, np.float32), np.zeros(len(column), np.int64), np.zeros(len(column), np.int64), valid
    lists = column.cast(pa.large_list(column.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    flat = lists.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return flat, np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64), lengths, valid


def _flatten_bytes(
    column: pa.Array, valid: npt.NDArray[np.bool_]
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """As `_flatten`, for little-endian float32 bytes; a length that is no multiple of 4 counts as -1."""
    values = [v if v is not None else b"" for v in column.to_pylist()]
    lengths = np.array([len(v) // 4 if len(v) % 4 == 0 else -1 for v in values], np.int64)
    flat = np.frombuffer(b"".join(v for v in values if len(v) % 4 == 0), "<f4").astype(np.float32)
    return flat, np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))[:-1]]).astype(np.int64), lengths, valid


def value_faults(vectors: Floats, zero_allowed: bool) -> Reasons:
    """The rows of `vectors` (n, dim) that no index should get, with the reason."""
    faults: Reasons = {}
    for i in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
        faults[int(i)] = ("vector_not_finite", f"the vector has {vectors[i][~np.isfinite(vectors[i])][0]} in it")
    if not zero_allowed:
        for i in np.flatnonzero(~vectors.any(axis=1)):
            faults[int(i)] = ("vector_zero", "all numbers of the vector are 0, and cosine distance needs a direction")
    return faults


def fixed(vectors: Floats, valid: npt.NDArray[np.bool_]) -> pa.Array:
    """`vectors` (n, dim) as fixed_size_list<float32>[dim], null where `valid` (n,) is false."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=None if valid.all() else pa.array(~valid))


def as_multi_vectors(column: pa.Array, dim: int) -> tuple[pa.Array, Reasons]:
    """`column` (lists of lists, or bytes) as list<fixed_size_list<float32>[dim]>; a ragged, empty or not finite one is named and null."""
    reasons: Reasons = {}
    rows: list[list[Floats] | None] = []
    for i, value in enumerate(column.to_pylist()):
        try:
            rows.append(None if value is None else list(_tokens(value, dim)))
        except ValueError as error:
            reasons[i] = ("vector_shape", str(error))
            rows.append(None)
    return pa.array(rows, pa.large_list(pa.list_(pa.float32(), dim))), reasons


def _tokens(value: bytes | list[list[float]], dim: int) -> Floats:
    """One multi-vector (tokens, dim) float32. Raises ValueError."""
    if isinstance(value, bytes):
        if len(value) == 0 or len(value) % (4 * dim):
            raise ValueError(f"the multi-vector has {len(value)} bytes; that is no multiple of {dim} float32 numbers")
        tokens = np.frombuffer(value, "<f4").reshape(-1, dim).astype(np.float32)
    else:
        lengths = {len(v) if v is not None else 0 for v in value}
        if lengths != {dim}:
            raise ValueError(f"the multi-vector has vectors of {sorted(lengths) or 'no'} numbers; each needs {dim}")
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused below
            tokens = np.array(value, np.float32)
    if not np.isfinite(tokens).all():
        raise ValueError("the multi-vector has a number that is not finite")
    return tokens
