"""The types of CSV values: inferred from some, enforced on the others."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")  # 007 is text: a zip code, an article number
NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
EXACT = 2**53  # a longer run of digits is a number that a double would change: text
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _integer(text: str | None) -> int | None:
    if not text:
        return None
    value = int(text) if INTEGER.fullmatch(text) else 2**63
    if not -(2**63) <= value < 2**63:
        raise ValueError("not an integer of 64 bits")
    return value


def _double(text: str | None) -> float | None:
    if not text:
        return None
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value) or (abs(value) > EXACT and text.lstrip("-").isdigit()):
        raise ValueError("not a finite number")
    return value


def _boolean(text: str | None) -> bool | None:
    if text and text not in BOOLEANS:
        raise ValueError("neither true nor false")
    return BOOLEANS[text] if text else None


def _text(text: str | None) -> str | None:
    return text


# In the order in which they are tried. Only in a string column is "" (quoted) a value.
CONVERTERS: dict[pa.DataType, Callable[[str | None], Any]] = {
    pa.int64(): _integer,
    pa.float64(): _double,
    pa.bool_(): _boolean,
    pa.string(): _text,
}


def column_type(values: Iterable[str | None]) -> pa.DataType:
    """The first type that fits all `values`: int64, double, bool, string; string where there is none."""
    texts = [text for text in values if text]
    return next(kind for kind, convert in CONVERTERS.items() if (texts and _fits(convert, texts)) or convert is _text)


def _fits(convert: Callable[[str | None], Any], texts: list[str]) -> bool:
    try:
        return all(convert(text) is not None for text in texts)
    except ValueError:
        return False
