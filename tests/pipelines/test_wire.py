"""Columns in protobuf's wire format, against protobuf itself."""

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.struct_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st
from weaviate.proto.v1 import batch_pb2

from pipelines.targets.messages import messages, request
from pipelines.targets.values import fill, setters
from pipelines.targets.wire import constant, doubles, field, joined, tag, uuid_texts, varint, varints
from schemas.collection import Property, VectorConfig
from schemas.columns import FINGERPRINTS, TENANT, UUID, VECTOR
from schemas.fingerprints import STORED, STORED_JOB

IDS = st.binary(min_size=16, max_size=16)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PROPERTIES = {
    "t": (Property("t", "text"), pa.string(), TEXT),
    "ä day": (Property("ä day", "date"), pa.string(), st.just("2026-01-31T08:00:00Z")),
    "n": (Property("n", "number"), pa.float64(), NUMBER),
    "i": (Property("i", "int"), pa.int64(), st.integers(-(2**53), 2**53)),
    "b": (Property("b", "boolean"), pa.bool_(), st.booleans()),
    "blob": (Property("blob", "blob"), pa.binary(), st.binary(max_size=200)),
    "phone": (Property("phone", "phoneNumber"), pa.struct([("input", pa.string())]), st.fixed_dictionaries({"input": TEXT})),
    "list": (Property("list", "text[]"), pa.large_list(pa.string()), st.lists(TEXT, max_size=3)),
    "numbers": (Property("numbers", "number[]"), pa.large_list(pa.float64()), st.lists(NUMBER, max_size=3)),
}
VECTORS = st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)
ROW = st.fixed_dictionaries({name: st.none() | values for name, (_, _, values) in PROPERTIES.items()})
ROWS = st.lists(st.tuples(IDS, ROW, st.none() | VECTORS, st.lists(IDS, max_size=3), TEXT), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**35 - 1), max_size=20))
def test_varints(numbers: list[int]) -> None:
    found = varints(np.array(numbers, np.int64)).to_pylist()
    assert found == [varint(n) for n in numbers]
    assert [batch_pb2.BatchObjectsRequest.FromString(b"\x10" + v).consistency_level for v in found if len(v) < 5] == [
        n for n in numbers if n < 2**28
    ]


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28, 2**35 - 1])
def test_varints_at_their_limits(number: int) -> None:
    assert varints(np.array([number])).to_pylist() == [varint(number)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | TEXT, max_size=8), st.integers(0, 8))
def test_a_field_is_what_protobuf_writes(texts: list[str | None], start: int) -> None:
    column = pa.array(texts, pa.string()).slice(min(start, len(texts)))
    found = field(Value, "string_value", column.cast(pa.large_binary())).to_pylist()
    assert found == [None if t is None else Value(string_value=t).SerializeToString() for t in texts[start:]]


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBER, max_size=8))
def test_doubles(numbers: list[float]) -> None:
    found = joined([constant(tag(Value, "number_value", 1)), doubles(np.array(numbers, np.float64))]).to_pylist()
    assert found == [Value(number_value=n).SerializeToString() for n in numbers]


@settings(max_examples=100, deadline=None)
@given(st.lists(IDS, max_size=8))
def test_uuids(ids: list[bytes]) -> None:
    texts = uuid_texts(np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16))
    assert [t.tobytes().decode() for t in texts] == [str(uuid.UUID(bytes=i)) for i in ids]


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(0, 6), st.booleans(), st.booleans())
def test_messages_are_those_that_protobuf_makes_one_by_one(rows: list[Any], start: int, unnamed: bool, tenants: bool) -> None:
    config = VectorConfig("v", "none", unnamed=unnamed)
    batch = batch_of(rows, tenants).slice(min(start, len(rows)))
    properties = [prop for prop, _, _ in PROPERTIES.values()]
    found = [
        batch_pb2.BatchObject.FromString(m) for m in messages(batch, "Thing", properties, {"v": config}, "" if tenants else "acme", "job")
    ]
    wanted = [one_by_one(row, config, tenants) for row in rows[start:]]
    assert found == wanted
    body = batch_pb2.BatchObjectsRequest.FromString(request(messages(batch, "Thing", properties, {"v": config}, "", "job"), "QUORUM"))
    assert [o.uuid for o in body.objects] == [o.uuid for o in wanted] and body.consistency_level == 2


def batch_of(rows: list[Any], tenants: bool) -> pa.RecordBatch:
    columns: dict[str, Any] = {UUID: pa.array([r[0] for r in rows], pa.binary(16))}
    columns |= {name: pa.array([r[1][name] for r in rows], kind) for name, (_, kind, _) in PROPERTIES.items()}
    columns[VECTOR + "v"] = pa.array([r[2] for r in rows], pa.list_(pa.float32(), 3))
    columns[FINGERPRINTS] = pa.array([r[3] for r in rows], pa.list_(pa.binary(16)))
    return pa.RecordBatch.from_pydict(columns | ({TENANT: pa.array([r[4] for r in rows], pa.string())} if tenants else {}))


def one_by_one(row: Any, config: VectorConfig, tenants: bool) -> Any:
    """The message, filled by protobuf's own setters."""
    key, values, vector, prints, tenant = row
    made = batch_pb2.BatchObject(uuid=str(uuid.UUID(bytes=key)), collection="Thing", tenant=tenant if tenants else "acme")
    fill(made.properties, setters([prop for prop, _, _ in PROPERTIES.values()]), {name: values[name] for name in PROPERTIES})
    if prints:
        made.properties.text_array_properties.add(prop_name=STORED, values=[str(uuid.UUID(bytes=p)) for p in prints])
        made.properties.non_ref_properties.fields[STORED_JOB].string_value = "job"
    if vector is not None:
        data = np.array(vector, "<f4").tobytes()
        if config.unnamed:
            made.vector_bytes = data
        else:
            made.vectors.add(name="v", vector_bytes=data, type=1)
    return made


def test_a_text_of_some_megabytes() -> None:
    text = "ä" * (3 << 20)
    batch = pa.RecordBatch.from_pydict({UUID: pa.array([b"0" * 16], pa.binary(16)), "t": [text]})
    (message,) = messages(batch, "Thing", [Property("t", "text")], {})
    assert batch_pb2.BatchObject.FromString(message).properties.non_ref_properties["t"] == text
