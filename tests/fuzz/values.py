"""Random columns: every Arrow type that a source may have for a Weaviate type, with values at the edges of it."""

import math
import random
from decimal import Decimal
from typing import Any

import pyarrow as pa

TEXTS = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
BYTES = (pa.binary(), pa.large_binary(), pa.binary(16))
NUMBERS = (
    pa.int64(),
    pa.int8(),
    pa.uint64(),
    pa.float64(),
    pa.float32(),
    pa.float16(),
    pa.decimal128(20, 2),
    pa.decimal128(38, 0),
    pa.decimal256(60, 3),
)
TIMES = (
    *(pa.timestamp(u) for u in ("s", "ms", "us", "ns")),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns", "Europe/Berlin"),
    pa.date32(),
    pa.date64(),
)
GEO = tuple(pa.struct([("latitude", t), ("longitude", t)]) for t in (pa.float64(), pa.float32(), pa.string(), pa.int64()))
PHONE = (pa.struct([("input", pa.string()), ("defaultCountry", pa.string())]), pa.string(), pa.struct([("input", pa.int64())]))
OBJECT = (
    pa.struct([("name", pa.string()), ("tags", pa.list_(pa.int64()))]),
    pa.struct([("name", pa.string())]),
    pa.struct([("tags", pa.large_list(pa.float64()))]),
)
FITS: dict[str, tuple[pa.DataType, ...]] = {
    "text": (*TEXTS, *BYTES),
    "int": NUMBERS,
    "number": NUMBERS,
    "boolean": (pa.bool_(),),
    "date": (*TIMES, *TEXTS),
    "uuid": (pa.string(), pa.binary(16)),
    "blob": (*BYTES, *TEXTS),
    "geoCoordinates": GEO,
    "phoneNumber": PHONE,
    "object": OBJECT,
}
OTHERS = (pa.null(), pa.time64("us"), pa.duration("s"), pa.map_(pa.string(), pa.int64()), pa.list_(pa.list_(pa.string())))
VECTORS = (
    pa.list_(pa.float32()),
    pa.list_(pa.float64()),
    pa.list_(pa.float32(), 3),
    pa.binary(),
    pa.large_list(pa.int64()),
    pa.list_(pa.float16()),
)

WORDS = (
    "",
    " ",
    "a",
    "ä\u0301",
    "\0",
    "\ufeff",
    "\u2028",
    "😀" * 9,
    "x" * 3000,
    "2026-01-31T08:00:00Z",
    "0000-99-99T99:99:99Z",
    "aGVsbG8=",
    "=",
    "+49 30",
    "030",
    "eea9cb72-744e-5814-a929-652d970d86ac",
    "NaN",
    "-0",
    "91",
    '"',
    "\r\n",
    "\ud7ff",
)
FLOATS = (0.0, -0.0, 1.5, -1e308, 1e-320, 2.0**53, 2.0**63, 1e19, math.nan, math.inf, -math.inf, 89.9, -180.0)


def kind_for(data_type: str, r: random.Random) -> pa.DataType:
    """An Arrow type for a Weaviate type: mostly one that fits."""
    if r.random() < 0.06:
        return r.choice(OTHERS)
    inner = r.choice(FITS[data_type.removesuffix("[]")])
    if not data_type.endswith("[]"):
        return inner
    return pa.list_(inner) if r.random() < 0.7 else pa.large_list(inner)


def value(kind: pa.DataType, r: random.Random, nulls: float = 0.15) -> Any:
    """A value of `kind`, or None."""
    if r.random() < nulls or pa.types.is_null(kind):
        return None
    if pa.types.is_dictionary(kind):
        return value(kind.value_type, r, 0)
    if pa.types.is_struct(kind):
        return {field.name: value(field.type, r) for field in kind}
    if pa.types.is_map(kind):
        return [(value(kind.key_type, r, 0), value(kind.item_type, r)) for _ in range(r.randrange(3))]
    if pa.types.is_fixed_size_list(kind):
        return [value(kind.value_type, r, nulls / 3) for _ in range(kind.list_size)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [value(kind.value_type, r, nulls / 3) for _ in range(r.choice((0, 1, 3, 3, 3, 7)))]
    return scalar(kind, r)


def scalar(kind: pa.DataType, r: random.Random) -> Any:
    """A value of a type that has no other inside it."""
    if pa.types.is_boolean(kind):
        return r.random() < 0.5
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return r.choice(WORDS) if r.random() < 0.7 else "".join(chr(r.randrange(1, 0xD800)) for _ in range(r.randrange(12)))
    if pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind):
        return r.randbytes(kind.byte_width)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return r.randbytes(r.choice((0, 1, 4, 12, 16))) if r.random() < 0.6 else r.choice(WORDS).encode()
    if pa.types.is_floating(kind):
        number = r.choice(FLOATS) if r.random() < 0.5 else r.uniform(-200, 200)
        return number if kind != pa.float16() else max(-60000.0, min(60000.0, number)) if math.isfinite(number) else number
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        return Decimal(f"{r.choice((0, 1, -1, r.randrange(10**9), most, -most, 10**kind.scale))}e-{kind.scale}")
    return whole(kind, r)


def whole(kind: pa.DataType, r: random.Random) -> int:
    """An integer that `kind` holds: of numbers, times and durations."""
    bits = kind.bit_width
    low, high = (0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if pa.types.is_time64(kind):
        low, high = 0, 86399_999_999
    if kind == pa.timestamp("s"):
        low, high = -(2**53), 2**53  # Parquet keeps milliseconds
    edges = (0, 1, low, high, 2**53, 2**53 + 1, 1_770_000_000_000)
    return max(low, min(high, r.choice(edges) if r.random() < 0.6 else r.randrange(low, high)))


def column(kind: pa.DataType, rows: int, r: random.Random, broken: float = 0.1) -> pa.Array:
    """A column of `rows` random values; a share `broken` of text columns holds bytes that are no UTF-8."""
    if pa.types.is_dictionary(kind):
        return column(kind.value_type, rows, r, broken).dictionary_encode()
    if pa.types.is_date64(kind):
        return pa.array([None if r.random() < 0.1 else r.randrange(-100_000, 100_000) * 86_400_000 for _ in range(rows)], pa.int64()).cast(
            kind
        )
    if pa.types.is_string(kind) and r.random() < broken:
        return pa.array([r.choice((b"\xff\xfe", b"ok", None, b"\xc3")) for _ in range(rows)], pa.binary()).view(pa.string())
    return pa.array([value(kind, r) for _ in range(rows)], kind)


def table(types: dict[str, pa.DataType], rows: int, r: random.Random) -> pa.Table:
    """A table with a key column `id` and random columns; some keys are null, empty or equal."""
    ids = pa.array(
        [None if r.random() < 0.03 else r.choice(("", "same")) if r.random() < 0.05 else f"k{i}" for i in range(rows)], pa.string()
    )
    return pa.table({"id": ids} | {name: column(kind, rows, r) for name, kind in types.items()})
