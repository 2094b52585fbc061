"""Protobuf's wire format for whole columns: one field of many messages at once, by Arrow's kernels.

A message is its fields end to end, so a column of messages is joined from columns of fields, with no Python object for
a row. All columns here are large_binary, (n,), null where a message lacks the field.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

BINARY = pa.large_binary()
VARINT, FIXED64, LENGTH = 0, 1, 2  # wire types: https://protobuf.dev/programming-guides/encoding
LONGEST = 5  # bytes of a varint, for lengths below 2^35
SHORT = 1 << 14
HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), np.uint8).reshape(256, 2)
DASHES = (8, 13, 18, 23)
DIGITS = [i for i in range(36) if i not in DASHES]


def field(kind: Any, name: str, content: pa.Array) -> pa.Array:
    """The field `name` of messages of the class `kind`, from `content`: a text's or a message's bytes, or others."""
    return joined([head(kind, name, sizes(content)), content], "emit_null")


def head(kind: Any, name: str, lengths: npt.NDArray[np.int64]) -> pa.Array:
    """What stands before contents of these `lengths` (n,) in the field `name` of messages of the class `kind`."""
    return joined([constant(tag(kind, name, LENGTH)), varints(lengths)])


def sizes(column: pa.Array) -> npt.NDArray[np.int64]:
    """The bytes of each row (n,); 0 for null."""
    return np.asarray(pc.fill_null(pc.binary_length(column), 0).to_numpy())


def constant(data: bytes) -> pa.Scalar:
    """The same bytes in every row."""
    return pa.scalar(data, BINARY)


def tag(kind: Any, name: str, wire: int) -> bytes:
    """What stands before the field `name` of messages of the class `kind`."""
    number: int = kind.DESCRIPTOR.fields_by_name[name].number
    return varint(number << 3 | wire)


def varint(number: int) -> bytes:
    """`number`, seven bits a byte, the lowest first."""
    low, rest = number & 127, number >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + varint(rest)


def varints(numbers: npt.NDArray[Any]) -> pa.Array:
    """Each of `numbers` (n,), from 0 to 2^35 - 1, as protobuf writes it."""
    return _short().take(pa.array(numbers)) if len(numbers) and numbers.max() < SHORT else _computed(numbers)


@cache
def _short() -> pa.Array:
    """The varints of all numbers below SHORT, since most lengths are."""
    return _computed(np.arange(SHORT))


def _computed(numbers: npt.NDArray[Any]) -> pa.Array:
    places = np.arange(LONGEST)
    groups = np.asarray(numbers, np.int64)[:, None] >> (7 * places)
    further = groups[:, 1:] > 0
    there, more = np.pad(further, ((0, 0), (1, 0)), constant_values=True), np.pad(further, ((0, 0), (0, 1)))
    data = ((groups & 127) | (more << 7)).astype(np.uint8)[there]
    return cut(data, np.r_[0, np.cumsum(there.sum(axis=1))])


def doubles(numbers: npt.NDArray[np.float64]) -> pa.Array:
    """Each of `numbers` (n,) in eight bytes."""
    return rows(numbers.astype("<f8").view(np.uint8).reshape(-1, 8))


def rows(data: npt.NDArray[np.uint8]) -> pa.Array:
    """Each row of `data` (n, width)."""
    return cut(data, np.arange(len(data) + 1) * data.shape[1])


def cut(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """`data` cut at `offsets` (n + 1,)."""
    data, offsets = np.ascontiguousarray(data), np.asarray(offsets, np.int64)
    return pa.LargeBinaryArray.from_buffers(BINARY, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def joined(columns: Sequence[Any], nulls: str = "skip") -> pa.Array:
    """The columns' bytes, row by row; `nulls` are left out ("skip"), or make the row null ("emit_null")."""
    nothing = constant(b"")  # in front too: of arrays alone, Arrow 25 drops the rows that have nothing but nulls
    return pc.binary_join_element_wise(nothing, *columns, nothing, null_handling=nulls)


def unless_empty(column: pa.Array) -> pa.Array:
    """`column`, null where there are no bytes."""
    return where(pc.greater(pc.binary_length(column), 0), column)


def where(there: pa.Array, column: pa.Array) -> pa.Array:
    """`column`, null where `there` is false."""
    return pc.if_else(there, column, pa.scalar(None, BINARY))


def uuid_texts(uuids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """UUIDs (n, 16) as they are written: (n, 36) ASCII."""
    texts = np.full((len(uuids), 36), ord("-"), np.uint8)
    texts[:, DIGITS] = HEX[uuids].reshape(-1, 32)
    return texts


def fixed_bytes(column: pa.Array) -> npt.NDArray[np.uint8]:
    """A fixed_size_binary column without nulls as (n, width)."""
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1] or b"", np.uint8)[column.offset * width :][: len(column) * width].reshape(-1, width)
