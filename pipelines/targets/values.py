"""Values of properties in the gRPC messages that Weaviate takes, one at a time, by their type."""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.collection import Property

Put = Callable[[Any, str, Any], None]  # puts a value under a name into a Properties message


def _text(message: Any, name: str, value: str) -> None:
    message.non_ref_properties.fields[name].string_value = value


def _number(message: Any, name: str, value: float) -> None:
    message.non_ref_properties.fields[name].number_value = value


def _boolean(message: Any, name: str, value: bool) -> None:
    message.non_ref_properties.fields[name].bool_value = value


def _blob(message: Any, name: str, value: bytes) -> None:
    message.non_ref_properties.fields[name].string_value = base64.b64encode(value).decode()


def _record(message: Any, name: str, value: Mapping[str, Any]) -> None:
    message.non_ref_properties.fields[name].struct_value.update({k: v for k, v in value.items() if v is not None})


def _array(field: str) -> Put:
    """A setter for a list that has a message type of its own."""

    def put(message: Any, name: str, value: Sequence[Any]) -> None:
        if value:
            getattr(message, field).add(prop_name=name).values.extend(value)
        else:
            message.empty_list_props.append(name)

    return put


def _numbers(message: Any, name: str, value: Sequence[float]) -> None:
    if value:
        message.number_array_properties.add(prop_name=name, values_bytes=struct.pack(f"<{len(value)}d", *value))
    else:
        message.empty_list_props.append(name)


def _object(prop: Property) -> Put:
    puts = setters(prop.nested)

    def put(message: Any, name: str, value: Mapping[str, Any]) -> None:
        body = message.object_properties.add(prop_name=name).value
        body.SetInParent()  # an object with nothing in it is sent too: over a missing one the server falls, and the request with it
        fill(body, puts, value)

    return put


def _objects(prop: Property) -> Put:
    puts = setters(prop.nested)

    def put(message: Any, name: str, value: Sequence[Mapping[str, Any]]) -> None:
        if not value:
            message.empty_list_props.append(name)
            return
        array = message.object_array_properties.add(prop_name=name)
        for item in value:
            fill(array.values.add(), puts, item)

    return put


SETTERS: dict[str, Put] = {
    **dict.fromkeys(("text", "date", "uuid"), _text),
    **dict.fromkeys(("int", "number"), _number),
    **dict.fromkeys(("blob", "blobHash"), _blob),
    **dict.fromkeys(("geoCoordinates", "phoneNumber"), _record),
    **dict.fromkeys(("text[]", "date[]", "uuid[]"), _array("text_array_properties")),
    "boolean": _boolean,
    "int[]": _array("int_array_properties"),
    "boolean[]": _array("boolean_array_properties"),
    "number[]": _numbers,
}


def setter(prop: Property) -> Put:
    """How a value of `prop` is put into a message; values are as `schemas.objects.coerce` makes them."""
    if prop.scalar == "object":
        return _objects(prop) if prop.is_list else _object(prop)
    return SETTERS[prop.scalar + ("[]" if prop.is_list else "")]


def setters(properties: Sequence[Property]) -> dict[str, Put]:
    """A setter for each property, by name."""
    return {p.name: setter(p) for p in properties}


def fill(message: Any, puts: Mapping[str, Put], values: Mapping[str, Any]) -> None:
    """Put `values` into a Properties message; null is left out, which is how Weaviate stores it."""
    for name, value in values.items():
        if value is not None:
            puts[name](message, name, value)
