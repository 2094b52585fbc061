"""An object's values as Weaviate's text2vec modules write them into a text.

Sources of the rules: usecases/modulecomponents/vectorizer/object_texts.go and usecases/objects/validation of Weaviate,
fatih/camelcase, and Go's fmt, time and encoding/json. Values are as `schemas.objects.coerce` makes them.
"""

import base64
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.collection import Property
from schemas.modules import TextModule

RUNS = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[^a-zA-Z0-9]+")
ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # what encoding/json escapes and Python does not
DATE = re.compile(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def split_name(name: str) -> str:
    """The words of a class or property name, in its own case: `PDFLoader2` is `PDF Loader 2`, `a_b` is `a _ b`."""
    runs = RUNS.findall(name)
    for i, (run, after) in enumerate(itertools.pairwise(runs)):
        if run[0].isupper() and after[0].islower():
            runs[i], runs[i + 1] = run[:-1], run[-1] + after
    return " ".join(run for run in runs if run)


def number_text(value: float) -> str:
    """A number as Go's `%v` writes a float64: the fewest digits, with an exponent below 1e-4 and from 1e6 on."""
    return _float(float(value), 1e-4, 1e6, 2)


def number_json(value: float) -> str:
    """A number as Go's encoding/json writes a float64: the fewest digits, with an exponent below 1e-6 and from 1e21 on."""
    return _float(float(value), 1e-6, 1e21, 1)


def _float(value: float, smallest: float, large: float, exponent_digits: int) -> str:
    """The shortest digits that give `value` again, which Go and Python agree on, with the exponent where Go has one."""
    mantissa, _, exponent = repr(value).partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))  # the point stands before digits[point]
    digits = digits.rstrip("0")
    if not digits:
        return sign + "0"
    if smallest <= abs(value) < large:
        return sign + _plain(digits, point)
    tail = f"{abs(point - 1):0{exponent_digits}d}"
    return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{'-' if point < 1 else '+'}{tail}"


def _plain(digits: str, point: int) -> str:
    if point <= 0:
        return "0." + "0" * -point + digits
    return digits.ljust(point, "0") if point >= len(digits) else digits[:point] + "." + digits[point:]


def date_text(value: str) -> str:
    """An RFC 3339 date at second precision, in its own offset; an offset of nothing is `Z`."""
    second, _, offset = _date_parts(value)
    return second + offset


def date_json(value: str) -> str:
    """An RFC 3339 date as encoding/json writes it: with its fraction, at most nine digits and no zeros at the end."""
    second, fraction, offset = _date_parts(value)
    fraction = fraction[:9].rstrip("0")
    return f"{second}.{fraction}{offset}" if fraction else second + offset


def _date_parts(value: str) -> tuple[str, str, str]:
    """Date and time, fraction, offset as Go writes them; what is no date, and fails at the server, stays as it is."""
    parts = DATE.fullmatch(value)
    if parts is None:
        return value, "", ""
    second, fraction, offset = parts[1], parts[2] or "", parts[3]
    if offset[-5:] == "00:00":
        offset = "Z"
    elif offset.endswith(":60"):  # Go reads sixty minutes, and writes the hour
        offset = f"{offset[0]}{int(offset[1:3]) + 1:02d}:00"
    return second, fraction, offset


def object_json(value: Mapping[str, Any], nested: tuple[Property, ...]) -> str:
    """An object as the server writes it: keys in the order of their bytes, no blanks, without what is null, as we send it."""
    types = {p.name: p for p in nested}
    fields = sorted((name for name in value if value[name] is not None), key=str.encode)
    return "{" + ",".join(f"{_json_text(n)}:{_json_value(value[n], types[n])}" for n in fields) + "}"


def _json_value(value: Any, prop: Property) -> str:
    write = _json_object(prop) if prop.scalar == "object" else JSON[prop.scalar]
    return "[" + ",".join(map(write, value)) + "]" if prop.is_list else write(value)


def _json_object(prop: Property) -> Callable[[Any], str]:
    return lambda value: object_json(value, prop.nested)


def _json_text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).translate(ESCAPED)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def as_base64(value: bytes) -> str:
    """Bytes as they are sent in a blob."""
    return base64.b64encode(value).decode()


JSON: dict[str, Callable[[Any], str]] = {
    "text": _json_text,
    "uuid": _json_text,
    "date": lambda value: _json_text(date_json(value)),
    "int": number_json,
    "number": number_json,
    "boolean": _bool,
    "blob": lambda value: _json_text(as_base64(value)),
    "blobHash": lambda value: _json_text(as_base64(value)),
}
TEXTS: dict[str, Callable[[Any], str]] = {"text": str, "text[]": str, "blob": as_base64, "blobHash": as_base64}
SOURCE_TEXTS: dict[str, Callable[[Any], str]] = {  # what counts only where source properties are listed; a date[] never does
    "int": number_text,
    "number": number_text,
    "boolean": _bool,
    "date": date_text,
    "int[]": number_text,
    "number[]": number_text,
    "boolean[]": _bool,
}


def fragments(value: Any, prop: Property, source: bool) -> list[str]:
    """What a value of `prop` adds to a text, before names: one piece, one for each element of a list, or none.

    `source`: the module lists its properties. Null, and types that do not count, add nothing.
    """
    word = prop.scalar + ("[]" if prop.is_list else "")
    if value is None:
        return []
    if prop.scalar == "object":
        return _object_fragments(value, prop) if source else []
    write = TEXTS.get(word) or (SOURCE_TEXTS.get(word) if source else None)
    if write is None:
        return []
    return [write(v) for v in value] if prop.is_list else [write(value)]


def _object_fragments(value: Any, prop: Property) -> list[str]:
    """One piece for all objects of a list; an empty list has none."""
    return [] if prop.is_list and not value else [_json_value(value, prop)]


def lower(text: str) -> str:
    """`text` in lower case, letter by letter as Go does it: no final sigma, and a dotted I is one letter."""
    return text.lower() if text.isascii() else "".join("i" if c == "\u0130" else c.lower() for c in text)


def named(name: str, module: TextModule) -> str:
    """The words of `name` as `module` puts them into a text."""
    return lower(split_name(name)) if module.lower else split_name(name)


def pieces(value: Any, prop: Property, module: TextModule) -> list[str]:
    """What a value of `prop` adds to the text of `module`, each piece with the property's name where the module wants it."""
    prefix = named(prop.name, module) + " " if prop.name in module.named else ""
    return [prefix + (lower(f) if module.lower else f) for f in fragments(value, prop, module.source)]


def object_text(values: Mapping[str, Any], module: TextModule) -> str:
    """The text that `module` makes of an object; where it is empty, the object has no vector."""
    found = [named(module.collection, module)] if module.class_name else []
    for name in module.fields:
        if name in module.properties:
            found += pieces(values.get(name), module.properties[name], module)
    if not found and not module.source:
        found = [named(module.collection, module)]
    return " ".join(found)
