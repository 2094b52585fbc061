"""Ids, and columns coerced to what Weaviate takes.

After `coerce`, a column has one Arrow type for each Weaviate type, so that later stages need no case analysis:
text string · int int64 · number double · boolean bool · date string (RFC 3339) · uuid string · blob binary ·
geoCoordinates, phoneNumber, object struct · lists of these.
"""

import base64
import binascii
import hashlib
import re
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.collection import Property
from schemas.dates import as_numbers, outside_years

Reasons = dict[int, tuple[str, str]]  # position in the batch -> (code, message)

MAX_INT = 2**53  # beyond it Weaviate's wire format, a double, cannot hold every integer
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")  # capitals: Go takes no others


def uuid5(key: str, namespace: str = "") -> bytes:
    """The 16 bytes of weaviate-client's generate_uuid5(key, namespace): version 5 of RFC 4122 in the DNS name space."""
    digest = bytearray(hashlib.sha1(uuid.NAMESPACE_DNS.bytes + (namespace + key).encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def shorten(value: object, length: int = 60) -> str:
    """`value` as a person reads it in a message, cut to `length` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _is_text(t: pa.DataType) -> bool:
    if pa.types.is_dictionary(t):
        t = t.value_type
    return bool(pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t))


def _is_bytes(t: pa.DataType) -> bool:
    return bool(pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_binary_view(t) or pa.types.is_fixed_size_binary(t))


def _is_number(t: pa.DataType) -> bool:
    return bool(pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t))


def _is_uuid(t: pa.DataType) -> bool:
    return _is_text(t) or (pa.types.is_fixed_size_binary(t) and t.byte_width == 16) or getattr(t, "extension_name", "") == "arrow.uuid"


def _is_list(t: pa.DataType) -> bool:
    return bool(pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t))


ACCEPTS: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "text": (lambda t: _is_text(t) or _is_bytes(t), "strings"),
    "int": (_is_number, "whole numbers"),
    "number": (_is_number, "numbers"),
    "boolean": (pa.types.is_boolean, "booleans"),
    "date": (lambda t: _is_text(t) or pa.types.is_timestamp(t) or pa.types.is_date(t), "timestamps, dates or RFC 3339 strings"),
    "uuid": (_is_uuid, "uuids as strings or 16 bytes"),
    "blob": (lambda t: _is_bytes(t) or _is_text(t), "bytes or base64 strings"),
    "blobHash": (lambda t: _is_bytes(t) or _is_text(t), "bytes or base64 strings"),
    "geoCoordinates": (pa.types.is_struct, "structs of latitude and longitude"),
    "phoneNumber": (lambda t: pa.types.is_struct(t) or _is_text(t), "structs of input and defaultCountry, or strings"),
    "object": (pa.types.is_struct, "structs"),
}


def type_fault(column: str, found: pa.DataType, prop: Property) -> str | None:
    """A sentence that says why a column of type `found` cannot fill `prop`, or None if it can."""
    accepts, words = ACCEPTS[prop.scalar]
    inner = found
    if pa.types.is_null(found):
        return None
    if prop.is_list:
        if not _is_list(found):
            return f"column {column!r} has the type {found}; property {prop.name!r} is {prop.data_type} and needs lists of {words}"
        inner = found.value_type
    if not accepts(inner) and not pa.types.is_null(inner):
        return f"column {column!r} has the type {found}; property {prop.name!r} is {prop.data_type} and needs {words}"
    return _nested_fault(column, inner, prop) if prop.scalar == "object" and pa.types.is_struct(inner) else None


def _nested_fault(column: str, found: pa.StructType, prop: Property) -> str | None:
    known = {p.name: p for p in prop.nested}
    for child in found:
        if child.name not in known:
            return f"column {column!r} has the field {child.name!r}; property {prop.name!r} knows {', '.join(known) or 'no fields'}"
        if fault := type_fault(f"{column}.{child.name}", child.type, known[child.name]):
            return fault
    return None


def coerce(array: pa.Array, prop: Property) -> tuple[pa.Array, Reasons]:
    """`array` in the one Arrow type of `prop`'s Weaviate type; positions that cannot be, with the reason, become null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    reasons: Reasons = {}
    if prop.is_list:
        return _coerce_list(array, prop, reasons), reasons
    return _coerce_scalar(array, prop, reasons), reasons


def _coerce_scalar(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), TYPES.get(prop.scalar, pa.null()))
    return COERCE[prop.scalar](array, prop, reasons)


def _coerce_list(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    """Coerce the elements and put the lists together again; a null or bad element spoils its row."""
    if pa.types.is_null(array.type):
        return array
    lists = array.cast(pa.large_list(array.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    owner = np.repeat(np.arange(len(lists)), lengths)  # not list_parent_indices: it counts what lies behind a null
    elements = pc.list_flatten(lists)
    bad: Reasons = {}
    values = _coerce_scalar(elements, Property(prop.name, prop.scalar, prop.nested), bad)
    for null in np.flatnonzero(elements.is_null().to_numpy(zero_copy_only=False)):
        bad.setdefault(int(null), ("null_in_list", f"property {prop.name!r} has a null inside its list; Weaviate takes none"))
    for i, reason in bad.items():
        reasons.setdefault(int(owner[i]), reason)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, mask=lists.is_null())


def _per_value(to: pa.DataType, code: str, convert: Callable[[Any], Any], words: str) -> Callable[[pa.Array, Property, Reasons], pa.Array]:
    """A coercion that converts value by value in Python; `convert` raises ValueError for a bad one."""

    def coerced(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
        values = array.to_pylist()
        for i, value in enumerate(values):
            try:
                values[i] = None if value is None else convert(value)
            except (ValueError, TypeError, KeyError, AttributeError):
                reasons[i] = (code, f"property {prop.name!r} has {shorten(value)}; {words}")
                values[i] = None
        return pa.array(values, to)

    return coerced


def _mark(array: pa.Array, bad: pa.Array, code: str, words: str, prop: Property, reasons: Reasons) -> pa.Array:
    """Null the values where `bad` is true, and say why."""
    for i in map(int, np.flatnonzero(pc.fill_null(bad, False).to_numpy(zero_copy_only=False))):
        reasons[i] = (code, f"property {prop.name!r} has {shorten(array[i].as_py())}; {words}")
    return pc.if_else(pc.fill_null(bad, False), None, array)


def _text(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    if _is_bytes(array.type):
        return _per_value(pa.string(), "not_utf8", lambda b: b.decode("utf-8"), "bytes for a text must be UTF-8")(array, prop, reasons)
    return array.cast(pa.string())


def _number(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    array = array.cast(pa.float64(), safe=False)
    return _mark(array, pc.invert(pc.is_finite(array)), "not_finite", "Weaviate stores only finite numbers", prop, reasons)


def _int(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    limit = MAX_INT
    if pa.types.is_decimal(array.type):
        limit -= 1  # 2^53 + 1 becomes 2^53 as a double
        array = _whole(array, prop, reasons).cast(pa.float64(), safe=False)
    elif not pa.types.is_integer(array.type):
        array = _whole(_number(array, prop, reasons), prop, reasons)
    if array.type.bit_width == 64:
        array = _mark(array, _beyond(array, limit), "int_too_large", "Weaviate's wire format is exact only up to 2^53", prop, reasons)
    return array.cast(pa.int64())


def _whole(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    return _mark(array, pc.not_equal(pc.trunc(array), array), "not_whole", "an int must be a whole number", prop, reasons)


def _beyond(array: pa.Array, limit: int) -> pa.Array:
    """Where a number lies outside of ±`limit`."""
    over = pc.greater(array, pa.scalar(limit, array.type))
    return over if pa.types.is_unsigned_integer(array.type) else pc.or_(over, pc.less(array, pa.scalar(-limit, array.type)))


def _date(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    """RFC 3339; a timestamp without a zone is taken as UTC."""
    if _is_text(array.type):
        text = array.cast(pa.string())
        good = pc.match_substring_regex(text, RFC3339.pattern)
        return _mark(text, pc.invert(good), "bad_date", "a date is written as in 2026-01-31T08:00:00Z", prop, reasons)
    words = f"as {array.type} that is in no year from 1 to 9999"
    array = _mark(as_numbers(array), outside_years(array), "bad_date", words, prop, reasons).cast(array.type)
    array = array.cast(pa.timestamp("us") if pa.types.is_date(array.type) else array.type)
    zoned = (
        array.cast(pa.timestamp("us", "UTC"), safe=False)
        if array.type.tz
        else pc.assume_timezone(array.cast(pa.timestamp("us"), safe=False), "UTC")
    )
    return pc.strftime(zoned, format="%Y-%m-%dT%H:%M:%SZ")


def _uuid(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    return _per_value(pa.string(), "bad_uuid", lambda v: str(as_uuid(v)), "a uuid is 16 bytes or 32 hexadecimal digits")(
        array, prop, reasons
    )


def as_uuid(value: Any) -> uuid.UUID:
    """`value` (a UUID, 16 bytes or a string) as a UUID. Raises ValueError."""
    if isinstance(value, uuid.UUID):
        return value
    return uuid.UUID(bytes=value) if isinstance(value, bytes) else uuid.UUID(value)


def _blob(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    if _is_bytes(array.type):
        return array.cast(pa.large_binary() if pa.types.is_large_binary(array.type) else pa.binary())
    return _per_value(pa.binary(), "bad_base64", decode_base64, "a blob in a string is padded base64 without `data:`")(array, prop, reasons)


def decode_base64(text: str) -> bytes:
    """The bytes of padded standard base64. Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


GEO = pa.struct([("latitude", pa.float32()), ("longitude", pa.float32())])
PHONE = pa.struct([("input", pa.string()), ("defaultCountry", pa.string())])


def _geo_value(value: dict[str, Any]) -> dict[str, float]:
    latitude, longitude = float(value["latitude"]), float(value["longitude"])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError("outside the globe")
    return {"latitude": latitude, "longitude": longitude}


def _phone_value(value: Any) -> dict[str, Any]:
    phone = {"input": value, "defaultCountry": None} if isinstance(value, str) else {k: value.get(k) for k in ("input", "defaultCountry")}
    if not phone["input"] or not (phone["defaultCountry"] or phone["input"].strip().startswith("+")):
        raise ValueError("no country")
    return phone


def _boolean(array: pa.Array, prop: Property, reasons: Reasons) -> pa.Array:
    return array


def _object(array: pa.StructArray, prop: Property, reasons: Reasons) -> pa.Array:
    """Coerce each field by its own type; a bad field spoils its row."""
    known = {p.name: p for p in prop.nested}
    fields: dict[str, pa.Array] = {}
    for field, values in zip(array.type, array.flatten(), strict=True):
        inner = known[field.name]
        fields[field.name], bad = coerce(values, Property(f"{prop.name}.{inner.name}", inner.data_type, inner.nested))
        reasons.update({i: reason for i, reason in bad.items() if i not in reasons})
    return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=array.is_null())


COERCE: dict[str, Callable[[pa.Array, Property, Reasons], pa.Array]] = {
    "text": _text,
    "int": _int,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "uuid": _uuid,
    "blob": _blob,
    "blobHash": _blob,
    "geoCoordinates": _per_value(GEO, "bad_geo", _geo_value, "latitude is from -90 to 90, longitude from -180 to 180"),
    "phoneNumber": _per_value(PHONE, "bad_phone", _phone_value, "a phone number starts with + or has a defaultCountry such as DE"),
    "object": _object,
}
TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.string(),
    "uuid": pa.string(),
    "blob": pa.binary(),
    "blobHash": pa.binary(),
    "geoCoordinates": GEO,
    "phoneNumber": PHONE,
}
