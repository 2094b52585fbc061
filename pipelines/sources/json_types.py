"""The Arrow types of JSON values: inferred from some, enforced on the others."""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import pyarrow as pa

SCALARS = {type(None): pa.null(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def inferred(value: Any) -> pa.DataType:
    """The Arrow type of a JSON value; null where nothing is known."""
    if isinstance(value, dict):
        return pa.struct([(name, inferred(inner)) for name, inner in value.items()])
    if isinstance(value, list):
        kinds = dict.fromkeys(map(type, value))  # a vector of a thousand floats has one
        known: Iterable[pa.DataType] = map(inferred, value) if dict in kinds or list in kinds else map(SCALARS.__getitem__, kinds)
        return pa.list_(reduce(merged, known, pa.null()))
    return SCALARS[type(value)]


def merged(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The type for values of both; `a`, the earlier, where none fits both."""
    if pa.types.is_null(a) or a == b:
        return b
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        fields = {field.name: field.type for field in a}
        for field in b:
            fields[field.name] = merged(fields.get(field.name, pa.null()), field.type)
        return pa.struct(list(fields.items()))
    if pa.types.is_list(a) and pa.types.is_list(b):
        return pa.list_(merged(a.value_type, b.value_type))
    return pa.float64() if {a, b} == {pa.int64(), pa.float64()} else a


def settled(kind: pa.DataType) -> pa.DataType:
    """`kind` with string where no value was seen."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, settled(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(settled(kind.value_type))
    return pa.string() if pa.types.is_null(kind) else kind


def converter(kind: pa.DataType) -> Callable[[Any], Any]:
    """The function that gives a JSON value as one of type `kind`, null as None, and raises ValueError if it does not fit."""
    if pa.types.is_struct(kind):
        fields = {field.name: converter(field.type) for field in kind}
        return lambda value: None if value is None else _struct(value, fields)
    if pa.types.is_list(kind):
        item = converter(kind.value_type)
        return lambda value: value if _is_vector(value, kind) else None if value is None else [item(inner) for inner in _of(list, value)]
    if kind in (pa.int64(), pa.float64()):
        number = _integer if kind == pa.int64() else _double
        return lambda value: None if value is None else number(value)
    python = bool if kind == pa.bool_() else str
    return lambda value: None if value is None else _of(python, value)


def _struct(value: Any, fields: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    known = _of(dict, value)
    return {name: convert(known.get(name)) for name, convert in fields.items()}


def _of(python: type, value: Any) -> Any:
    if type(value) is not python:
        raise ValueError(f"not a {python.__name__}")
    return value


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if not -(2**63) <= _of(int, value) < 2**63:
        raise ValueError("beyond 64 bits")
    return int(value)


def _double(value: Any) -> float:
    try:
        number = float(value if type(value) is int else _of(float, value))
    except OverflowError as error:
        raise ValueError("too large for a double") from error
    if not math.isfinite(number):
        raise ValueError("too large for a double")
    return number


def _is_vector(value: Any, kind: pa.DataType) -> bool:
    """Whether `value` is a list of finite floats as it stands: the common case, in one pass."""
    return type(value) is list and kind.value_type == pa.float64() and set(map(type, value)) == {float} and math.isfinite(sum(value))
