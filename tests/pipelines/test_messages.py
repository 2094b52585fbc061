"""Objects as gRPC messages: every Weaviate type, vectors as bytes, requests within their bounds."""

import struct
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from weaviate.proto.v1 import base_pb2, batch_pb2

from pipelines.targets.messages import messages, pieces, uuid_text, vector_bytes
from schemas.collection import Property, VectorConfig
from schemas.columns import TENANT, UUID, VECTOR
from schemas.objects import coerce

ROOT = Path(__file__).parents[2]
ID = uuid.UUID("eea9cb72-744e-5814-a929-652d970d86ac")


def batch_of(n: int, **columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({UUID: pa.array([ID.bytes] * n, pa.binary(16))} | columns)


def body(prop: Property, value: Any) -> Any:
    """The Properties message of one object with `value`, coerced as `read` does."""
    values, reasons = coerce(pa.array([value, value]).slice(1), prop)
    assert reasons == {}
    (message,) = parsed(batch_of(1, **{prop.name: values}), "A", [prop], {})
    return message.properties


def parsed(*asked: Any) -> list[Any]:
    """The messages as protobuf reads them."""
    return [batch_pb2.BatchObject.FromString(m) for m in messages(*asked)]


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [
        ("text", "ä", "ä"),
        ("text", "", ""),
        ("string", "a", "a"),
        ("int", 2**53, float(2**53)),
        ("int", 0, 0.0),
        ("number", 0.1, 0.1),
        ("boolean", False, False),
        ("date", "2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
        ("uuid", ID.hex, str(ID)),
        ("blob", b"\x00\xff", "AP8="),
        ("blobHash", b"\x00\xff", "AP8="),
        ("geoCoordinates", {"latitude": 52.5, "longitude": 13.25}, {"latitude": 52.5, "longitude": 13.25}),
        ("phoneNumber", {"input": "030", "defaultCountry": "DE"}, {"input": "030", "defaultCountry": "DE"}),
        ("phoneNumber", "+4930", {"input": "+4930"}),
    ],
)
def test_scalars(word: str, value: Any, expected: Any) -> None:
    found = body(Property("p", word), value)
    assert MessageToDict(found.non_ref_properties) == {"p": expected}


@pytest.mark.parametrize(
    ("word", "value", "field"),
    [
        ("text[]", ["a", ""], "text_array_properties"),
        ("string[]", ["a"], "text_array_properties"),
        ("date[]", ["2026-01-31T08:00:00Z"], "text_array_properties"),
        ("uuid[]", [str(ID)], "text_array_properties"),
        ("int[]", [1, -(2**53)], "int_array_properties"),
        ("boolean[]", [True, False], "boolean_array_properties"),
    ],
)
def test_lists(word: str, value: list[Any], field: str) -> None:
    (array,) = getattr(body(Property("p", word), value), field)
    assert (array.prop_name, list(array.values)) == ("p", value)


def test_list_of_numbers_is_little_endian_doubles() -> None:
    (array,) = body(Property("p", "number[]"), [0.1, -2.0]).number_array_properties
    assert struct.unpack("<2d", array.values_bytes) == (0.1, -2.0)


@pytest.mark.parametrize("word", ["text[]", "date[]", "uuid[]", "int[]", "boolean[]", "number[]", "object[]"])
def test_empty_list_is_not_the_same_as_none(word: str) -> None:
    prop = Property("p", word)
    column = pa.array([[], None], pa.list_(pa.null()))
    empty, none = parsed(batch_of(2, p=column), "A", [prop], {})
    assert list(empty.properties.empty_list_props) == ["p"]
    assert none.properties == batch_pb2.BatchObject.Properties()


PERSON = (
    Property("name", "text"),
    Property("tags", "int[]"),
    Property("home", "object", (Property("city", "text"), Property("at", "geoCoordinates"))),
)
ANNA = {"name": "Anna", "tags": [1, 2], "home": {"city": "Ulm", "at": {"latitude": 1.0, "longitude": 2.0}}}


def assert_anna(value: Any) -> None:
    assert value.non_ref_properties["name"] == "Anna"
    assert list(value.int_array_properties[0].values) == [1, 2]
    (home,) = value.object_properties
    assert home.prop_name == "home"
    assert MessageToDict(home.value.non_ref_properties) == {"city": "Ulm", "at": {"latitude": 1.0, "longitude": 2.0}}


def test_object() -> None:
    (found,) = body(Property("p", "object", PERSON), ANNA).object_properties
    assert found.prop_name == "p"
    assert_anna(found.value)


def test_object_of_nulls_alone_is_sent_as_an_empty_one() -> None:
    """A real server falls over an object without a value, and every object of the request with it."""
    prop = Property("address", "object", (Property("city", "text"), Property("at", "object", (Property("x", "int"),))))
    for value in ({"city": None, "at": None}, {"city": None, "at": {"x": None}}):
        sent = body(prop, value).object_properties[0]
        assert sent.HasField("value")
        assert all(inner.HasField("value") for inner in sent.value.object_properties)


def test_list_of_objects() -> None:
    (found,) = body(Property("p", "object[]", PERSON), [ANNA, ANNA]).object_array_properties
    assert found.prop_name == "p"
    assert len(found.values) == 2
    for value in found.values:
        assert_anna(value)


def test_null_leaf_of_an_object_is_left_out() -> None:
    values, _ = coerce(pa.array([{**ANNA, "home": None, "name": None}, ANNA]), Property("p", "object", PERSON))
    first, _ = parsed(batch_of(2, p=values), "A", [Property("p", "object", PERSON)], {})
    value = first.properties.object_properties[0].value
    assert "name" not in value.non_ref_properties
    assert len(value.object_properties) == 0


def test_id_collection_and_tenant() -> None:
    (message,) = parsed(batch_of(1), "Product", [], {}, "acme")
    assert (message.uuid, message.collection, message.tenant) == (str(ID), "Product", "acme")


def test_tenant_of_each_row() -> None:
    found = parsed(batch_of(2, **{TENANT: ["a", "b"]}), "Product", [], {})
    assert [m.tenant for m in found] == ["a", "b"]


def test_property_without_a_column_is_left_out() -> None:
    (message,) = parsed(batch_of(1), "A", [Property("p", "text")], {})
    assert message.properties == batch_pb2.BatchObject.Properties()


FIXED = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))


@pytest.mark.parametrize(("start", "length"), [(0, 3), (1, 2), (2, 1), (0, 1), (1, 1), (3, 0)])
def test_vector_bytes_of_slices(start: int, length: int) -> None:
    found = vector_bytes(FIXED.slice(start, length)).to_pylist()
    assert [None if v is None else np.frombuffer(v, "<f4").tolist() for v in found] == FIXED.to_pylist()[start : start + length]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.none() | st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), max_size=8),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_vector_bytes_are_those_of_each_row(rows: list[Any], start: int, length: int) -> None:
    column = pa.array(rows, pa.list_(pa.float32(), 3)).slice(min(start, len(rows)), length)
    assert vector_bytes(column).to_pylist() == [None if v is None else struct.pack("<3f", *v) for v in rows[start : start + length]]


@pytest.mark.parametrize("outer", [pa.list_, pa.large_list])
def test_multi_vector_begins_with_its_dimension(outer: Any) -> None:
    rows = [[[9.0, 9.0]], [[1.0, 2.0], [3.0, 4.0]], None]
    column = pa.array(rows, outer(pa.list_(pa.float32(), 2))).slice(1)
    assert vector_bytes(column).to_pylist() == [struct.pack("<H4f", 2, 1, 2, 3, 4), None]


def test_named_vectors() -> None:
    multi = pa.array([[[1.0, 2.0]], None, None], pa.list_(pa.list_(pa.float32(), 2)))
    configs = {
        "one": VectorConfig("one", "none"),
        "many": VectorConfig("many", "none", multi=True),
        "absent": VectorConfig("absent", "none"),
    }
    first, second, _ = parsed(batch_of(3, **{VECTOR + "one": FIXED, VECTOR + "many": multi}), "A", [], configs)
    assert [(v.name, v.vector_bytes, v.type) for v in first.vectors] == [
        ("one", struct.pack("<2f", 1, 2), base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32),
        ("many", struct.pack("<H2f", 2, 1, 2), base_pb2.Vectors.VECTOR_TYPE_MULTI_FP32),
    ]
    assert len(second.vectors) == 0


def test_unnamed_vector_of_a_legacy_class() -> None:
    configs = {"default": VectorConfig("default", "none", unnamed=True)}
    first, second, _ = parsed(batch_of(3, **{VECTOR + "default": FIXED}), "A", [], configs)
    assert (first.vector_bytes, len(first.vectors)) == (struct.pack("<2f", 1, 2), 0)
    assert second.vector_bytes == b""


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_uuid_text(data: bytes) -> None:
    assert uuid_text(data) == str(uuid.UUID(bytes=data))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 300), max_size=30), st.integers(1, 8), st.integers(1, 1000))
def test_pieces_are_all_messages_in_order_within_the_bounds(sizes: list[int], objects: int, size: int) -> None:
    made = [f"{i}:".encode() + b"x" * n for i, n in enumerate(sizes)]
    cut = list(pieces(made, objects, size))
    assert [m for _, piece in cut for m in piece] == made
    for start, piece in cut:
        assert piece[0] == made[start]
        assert 1 <= len(piece) <= objects
        assert len(piece) == 1 or sum(map(len, piece)) <= size


def test_the_client_is_imported_beside_the_caller_and_not_before() -> None:
    """Half a second of one core: whoever loads a model meanwhile does not wait for it."""
    code = (
        "import sys; from pipelines.targets.weaviate import WeaviateTarget; from schemas.job import TargetSpec\n"
        "assert 'weaviate' not in sys.modules\n"
        "spec = TargetSpec.model_validate({'weaviate': {'url': 'http://127.0.0.1:1'}, 'collection': 'A'})\n"
        "WeaviateTarget(spec).get_ready()\n"
        "import threading; [t.join(60) for t in threading.enumerate() if t.name == 'import']\n"
        "from pipelines.targets import weaviate as ours; assert hasattr(sys.modules[ours.MESSAGES], 'batch_pb2')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
