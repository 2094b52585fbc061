"""Objects as the gRPC messages that Weaviate takes, in their wire format, whole columns at a time."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.targets.values import setter
from pipelines.targets.wire import (
    BINARY,
    FIXED64,
    LENGTH,
    VARINT,
    constant,
    cut,
    doubles,
    field,
    fixed_bytes,
    head,
    joined,
    rows,
    sizes,
    tag,
    unless_empty,
    uuid_texts,
    varint,
    where,
)
from schemas.collection import Property, VectorConfig
from schemas.columns import FINGERPRINTS, TENANT, UUID, VECTOR
from schemas.fingerprints import STORED, STORED_JOB

OBJECTS = 512  # a request: enough to keep the server busy, few enough to be done within its timeout
BYTES = 8 << 20
TEXTS, NUMBERS = ("text", "date", "uuid"), ("int", "number")
SINGLE, MULTI = 1, 2  # VECTOR_TYPE_SINGLE_FP32, VECTOR_TYPE_MULTI_FP32


def messages(
    batch: pa.RecordBatch,
    collection: str,
    properties: Sequence[Property],
    vectors: Mapping[str, VectorConfig],
    tenant: str = "",
    job: str = "",
) -> list[bytes]:
    """A BatchObject for each row of `batch`, serialised: id, tenant, the `properties` it has columns for, its vectors, and its fingerprints."""
    from weaviate.proto.v1 import batch_pb2

    ids = field(batch_pb2.BatchObject, "uuid", rows(uuid_texts(fixed_bytes(batch.column(UUID)))))
    same = constant(
        _text_field(batch_pb2.BatchObject, "collection", collection)
        + (_text_field(batch_pb2.BatchObject, "tenant", tenant) if tenant else b"")
    )
    parts = [ids, same, field(batch_pb2.BatchObject, "properties", _properties(batch, properties, job))]
    if TENANT in batch.schema.names:
        parts.append(field(batch_pb2.BatchObject, "tenant", batch.column(TENANT).cast(BINARY)))
    for name, config in vectors.items():
        if VECTOR + name in batch.schema.names:
            parts += _vector(config, vector_bytes(batch.column(VECTOR + name)))
    made: list[bytes] = joined(parts).to_pylist()
    return made


def _properties(batch: pa.RecordBatch, properties: Sequence[Property], job: str) -> pa.Array:
    """The Properties of each row; null where it has none. Null values are left out, which is how Weaviate stores them."""
    from weaviate.proto.v1 import batch_pb2

    kind = batch_pb2.BatchObject.Properties
    entries, others = [pa.nulls(batch.num_rows, BINARY)], []
    for prop in properties:
        if prop.name in batch.schema.names:
            value = _value(prop, batch.column(prop.name))
            if value is None:
                others.append(_one_by_one(prop, batch.column(prop.name), whole=True))
            else:
                entries.append(_entry(prop.name, value))
    if FINGERPRINTS in batch.schema.names:
        prints, there = _fingerprints(batch.column(FINGERPRINTS))
        others.append(where(there, prints))
        entries.append(where(there, _entry(STORED_JOB, _texts(pa.repeat(job, batch.num_rows)))))
    return unless_empty(joined([field(kind, "non_ref_properties", unless_empty(joined(entries))), *others]))


def _entry(name: str, value: pa.Array) -> pa.Array:
    """An entry of a Struct's fields under `name`."""
    from google.protobuf.struct_pb2 import Struct

    key = constant(_text_field(Struct.FieldsEntry, "key", name))
    return field(Struct, "fields", joined([key, field(Struct.FieldsEntry, "value", value)], "emit_null"))


def _value(prop: Property, column: pa.Array) -> pa.Array | None:
    """The values of a scalar property as messages Value; None for other properties."""
    from google.protobuf.struct_pb2 import Value

    if prop.is_list or prop.scalar == "object":
        return None
    if pa.types.is_null(column.type):
        return column.cast(BINARY)
    if prop.scalar in TEXTS:
        return _texts(column)
    if prop.scalar in NUMBERS:
        numbers = column.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
        return where(column.is_valid(), joined([constant(tag(Value, "number_value", FIXED64)), doubles(numbers)]))
    if prop.scalar == "boolean":
        bits = column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.uint8)
        return where(column.is_valid(), joined([constant(tag(Value, "bool_value", VARINT)), rows(bits[:, None])]))
    return _one_by_one(prop, column, whole=False)


def _texts(column: pa.Array) -> pa.Array:
    from google.protobuf.struct_pb2 import Value

    return field(Value, "string_value", column.cast(BINARY))


def _one_by_one(prop: Property, column: pa.Array, whole: bool) -> pa.Array:
    """What a setter makes of each value: a message Value, or the `whole` Properties with a list or an object."""
    from weaviate.proto.v1 import batch_pb2

    put = setter(prop)

    def made(value: Any) -> bytes:
        body = batch_pb2.BatchObject.Properties()
        put(body, prop.name, value)
        message = body if whole else body.non_ref_properties.fields[prop.name]
        return bytes(message.SerializeToString())

    return pa.array([None if v is None else made(v) for v in column.to_pylist()], BINARY)


def _fingerprints(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """What made each object, as a list of texts in its Properties, and where there is any."""
    from weaviate.proto.v1 import base_pb2, batch_pb2

    lengths = column.value_lengths().fill_null(0).to_numpy()
    texts = uuid_texts(fixed_bytes(column.flatten()))
    before = np.frombuffer(tag(base_pb2.TextArrayProperties, "values", LENGTH) + varint(texts.shape[1]), np.uint8)
    values = np.concatenate([np.broadcast_to(before, (len(texts), len(before))), texts], axis=1)
    content = cut(values, np.r_[0, np.cumsum(lengths)] * values.shape[1])
    named = joined([constant(_text_field(base_pb2.TextArrayProperties, "prop_name", STORED)), content])
    return field(batch_pb2.BatchObject.Properties, "text_array_properties", named), pa.array(lengths > 0)


def _vector(config: VectorConfig, data: pa.Array) -> list[pa.Array]:
    """What comes before the vector of each object, and the vector, which is copied only when all is joined; null where `data` is."""
    from weaviate.proto.v1 import base_pb2, batch_pb2

    lengths = sizes(data)
    if config.unnamed:
        return [where(data.is_valid(), head(batch_pb2.BatchObject, "vector_bytes", lengths)), data]
    kind = tag(base_pb2.Vectors, "type", VARINT) + varint(MULTI if config.multi else SINGLE)
    inner = joined([constant(_text_field(base_pb2.Vectors, "name", config.name) + kind), head(base_pb2.Vectors, "vector_bytes", lengths)])
    outer = head(batch_pb2.BatchObject, "vectors", sizes(inner) + lengths)
    return [where(data.is_valid(), joined([outer, inner])), data]


def _text_field(kind: Any, name: str, text: str) -> bytes:
    data = text.encode()
    return tag(kind, name, LENGTH) + varint(len(data)) + data


def uuid_text(uuid: bytes) -> str:
    """16 bytes as a UUID is written."""
    h = uuid.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def merged(message: bytes, more: Any) -> bytes:
    """A serialised BatchObject with what the BatchObject `more` adds."""
    from weaviate.proto.v1 import batch_pb2

    whole = batch_pb2.BatchObject.FromString(message)
    whole.MergeFrom(more)
    return bytes(whole.SerializeToString())


def uuid_in(message: bytes) -> str:
    """The id in a serialised BatchObject."""
    from weaviate.proto.v1 import batch_pb2

    return str(batch_pb2.BatchObject.FromString(message).uuid)


def vector_bytes(column: pa.Array) -> pa.Array:
    """Each vector of `column` as little-endian float32 bytes; a multi-vector begins with its dimension in two bytes."""
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        flat = column.flatten() if not column.null_count else column.fill_null([0.0] * width).flatten()
        data = rows(flat.to_numpy().astype("<f4", copy=False).view(np.uint8).reshape(-1, 4 * width))
        return where(column.is_valid(), data) if column.null_count else data
    dim = np.array([column.type.value_type.list_size], "<u2").tobytes()
    return pa.array([None if v is None else dim + np.array(v, "<f4").tobytes() for v in column.to_pylist()], BINARY)


def request(group: Sequence[bytes], consistency_level: str) -> bytes:
    """A BatchObjectsRequest with these messages, serialised."""
    from weaviate.proto.v1 import base_pb2, batch_pb2

    rest = batch_pb2.BatchObjectsRequest(consistency_level=base_pb2.ConsistencyLevel.Value(f"CONSISTENCY_LEVEL_{consistency_level}"))
    heads = head(batch_pb2.BatchObjectsRequest, "objects", np.array([len(m) for m in group], np.int64)).to_pylist()
    return b"".join([*chain.from_iterable(zip(heads, group, strict=True)), rest.SerializeToString()])


def pieces(made: Sequence[bytes], objects: int = OBJECTS, size: int = BYTES) -> Iterator[tuple[int, list[bytes]]]:
    """`made` cut into requests of at most `objects` messages and `size` bytes: (first position, messages); a larger one stands alone."""
    start, total = 0, 0
    for i, message in enumerate(made):
        if i > start and (i - start >= objects or total + len(message) > size):
            yield start, list(made[start:i])
            start, total = i, 0
        total += len(message)
    if start < len(made):
        yield start, list(made[start:])
