"""Objects as the gRPC messages that Weaviate takes: properties by their type, vectors as bytes straight from numpy."""

import base64
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.collection import Property, VectorConfig
from schemas.columns import FINGERPRINTS, TENANT, UUID, VECTOR
from schemas.fingerprints import STORED, STORED_JOB

Put = Callable[[Any, str, Any], None]  # puts a value under a name into a Properties message

OBJECTS = 512  # a request: enough to keep the server busy, few enough to be done within its timeout
BYTES = 8 << 20


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


def messages(
    batch: pa.RecordBatch,
    collection: str,
    properties: Sequence[Property],
    vectors: Mapping[str, VectorConfig],
    tenant: str = "",
    job: str = "",
) -> list[Any]:
    """One BatchObject for each row of `batch`: id, tenant, the `properties` it has columns for, its vectors, and its fingerprints."""
    from weaviate.proto.v1 import batch_pb2

    names = [p for p in properties if p.name in batch.schema.names]
    columns = [(p.name, setter(p), batch.column(p.name).to_pylist()) for p in names]
    packed = [
        (config, vector_bytes(batch.column(VECTOR + name))) for name, config in vectors.items() if VECTOR + name in batch.schema.names
    ]
    prints = batch.column(FINGERPRINTS).to_pylist() if FINGERPRINTS in batch.schema.names else [[]] * batch.num_rows
    tenants = batch.column(TENANT).to_pylist() if TENANT in batch.schema.names else [tenant] * batch.num_rows
    made = []
    for i, (uuid, own) in enumerate(zip(batch.column(UUID).to_pylist(), tenants, strict=True)):
        message = batch_pb2.BatchObject(uuid=uuid_text(uuid), collection=collection, tenant=own)
        body = message.properties
        for name, put, values in columns:
            if values[i] is not None:
                put(body, name, values[i])
        for config, data in packed:
            _put_vector(message, config, data[i])
        if prints[i]:
            _put_fingerprints(body, prints[i], job)
        made.append(message)
    return made


def _put_fingerprints(body: Any, prints: Sequence[bytes], job: str) -> None:
    """What made the object, and the job that wrote it."""
    body.text_array_properties.add(prop_name=STORED).values.extend(map(uuid_text, prints))
    body.non_ref_properties.fields[STORED_JOB].string_value = job


def _put_vector(message: Any, config: VectorConfig, data: bytes | None) -> None:
    if data is None:
        return
    if config.unnamed:
        message.vector_bytes = data
    else:
        message.vectors.add(name=config.name, vector_bytes=data, type=2 if config.multi else 1)  # MULTI_FP32, SINGLE_FP32


def uuid_text(uuid: bytes) -> str:
    """16 bytes as a UUID is written."""
    h = uuid.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def vector_bytes(column: pa.Array) -> list[bytes | None]:
    """Each vector of `column` as little-endian float32 bytes; a multi-vector begins with its dimension in two bytes."""
    if pa.types.is_fixed_size_list(column.type):
        step = 4 * column.type.list_size
        flat = column.flatten() if not column.null_count else column.fill_null([0.0] * column.type.list_size).flatten()
        data = flat.to_numpy().astype("<f4", copy=False).tobytes()
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        return [data[i * step : i * step + step] if valid[i] else None for i in range(len(column))]
    dim = struct.pack("<H", column.type.value_type.list_size)
    return [None if v is None else dim + np.array(v, "<f4").tobytes() for v in column.to_pylist()]


def pieces(made: Sequence[Any], objects: int = OBJECTS, size: int = BYTES) -> Iterator[tuple[int, list[Any]]]:
    """`made` cut into requests of at most `objects` messages and `size` bytes: (first position, messages); a larger one stands alone."""
    start, total = 0, 0
    for i, message in enumerate(made):
        weight = message.ByteSize()
        if i > start and (i - start >= objects or total + weight > size):
            yield start, list(made[start:i])
            start, total = i, 0
        total += weight
    if start < len(made):
        yield start, list(made[start:])
