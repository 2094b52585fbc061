"""Ids, and every Weaviate type from every Arrow type that may fill it."""

import base64
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.collection import Property
from schemas.objects import TYPES, coerce, decode_base64, type_fault, uuid5

UUID = "eea9cb72-744e-5814-a929-652d970d86ac"
ZONED = pa.timestamp("ms", "Europe/Berlin")
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
GEO = {"latitude": 52.5, "longitude": 13.25}
PHONE = {"input": "0301234", "defaultCountry": "DE"}
LIST_WORDS = ["text", "int", "number", "boolean", "date", "uuid"]


@pytest.mark.parametrize(
    ("identifier", "namespace", "expected"),
    [
        ("doc-1", "", "eea9cb72-744e-5814-a929-652d970d86ac"),
        ("doc-1", "Article", "e3725ceb-0df8-5766-ad36-0bcd64cafff3"),
        ("b", "a", "710a586f-e1aa-54ec-93a9-85a85aa0b725"),
        ("42", "", "7c411b5e-9d3f-50b5-9c28-62096e41c4ed"),
        (str({"title": "x", "n": 1}), "", "be8ea259-d5d1-5a54-aff9-2dfb4ba21841"),
    ],
)
def test_uuid5_is_weaviates(identifier: str, namespace: str, expected: str) -> None:
    """The values of section 5.1 of the parity specification."""
    assert str(uuid.UUID(bytes=uuid5(identifier, namespace))) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_uuid5_is_the_standard_librarys(key: str, namespace: str) -> None:
    assert uuid5(key, namespace) == uuid.uuid5(uuid.NAMESPACE_DNS, namespace + key).bytes


GOOD: list[tuple[str, pa.Array, Any]] = [
    ("text", pa.array(["ä"]), "ä"),
    ("string", pa.array(["a"]), "a"),
    ("text", pa.array(["a"], pa.large_string()), "a"),
    ("text", pa.array(["a"], pa.string_view()), "a"),
    ("text", pa.array(["a"]).dictionary_encode(), "a"),
    ("text", pa.array(["ä".encode()]), "ä"),
    ("text", pa.array(["ä".encode()], pa.large_binary()), "ä"),
    ("text", pa.array([b"abc"], pa.binary(3)), "abc"),
    *(
        ("int", pa.array([7], t), 7)
        for t in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64())
    ),
    *(("int", pa.array([7.0], t), 7) for t in (pa.float16(), pa.float32(), pa.float64())),
    ("int", pa.array([Decimal("7.00")]), 7),
    ("int", pa.array([2**53, -(2**53)]), 2**53),
    ("number", pa.array([7], pa.int8()), 7.0),
    ("number", pa.array([0.5], pa.float16()), 0.5),
    ("number", pa.array([0.1]), 0.1),
    ("number", pa.array([Decimal("1.25")]), 1.25),
    ("boolean", pa.array([True]), True),
    ("date", pa.array(["2026-01-31T08:00:00Z"]), "2026-01-31T08:00:00Z"),
    ("date", pa.array(["2026-01-31T08:00:00.123+02:00"], pa.large_string()), "2026-01-31T08:00:00.123+02:00"),
    ("date", pa.array([NOON.replace(tzinfo=None)], pa.timestamp("s")), "2026-01-31T12:00:00.000000Z"),
    ("date", pa.array([1_769_860_800_123_456_789], pa.timestamp("ns")), "2026-01-31T12:00:00.123456Z"),
    ("date", pa.array([NOON], ZONED), "2026-01-31T12:00:00.000000Z"),
    ("date", pa.array([dt.date(2026, 1, 31)]), "2026-01-31T00:00:00.000000Z"),
    ("date", pa.array([dt.date(1969, 1, 31)], pa.date64()), "1969-01-31T00:00:00.000000Z"),
    ("uuid", pa.array([UUID]), UUID),
    ("uuid", pa.array([UUID.upper().replace("-", "")]), UUID),
    ("uuid", pa.array([uuid.UUID(UUID).bytes], pa.binary(16)), UUID),
    ("uuid", pa.array([uuid.UUID(UUID).bytes], pa.uuid()), UUID),
    ("blob", pa.array([b"\x00\xff"]), b"\x00\xff"),
    ("blob", pa.array([b"\x00\xff"], pa.large_binary()), b"\x00\xff"),
    ("blob", pa.array([b"\x00\xff"], pa.binary(2)), b"\x00\xff"),
    ("blob", pa.array(["AP8="]), b"\x00\xff"),
    ("blobHash", pa.array(["AP8="]), b"\x00\xff"),
    ("geoCoordinates", pa.array([GEO]), GEO),
    ("phoneNumber", pa.array([PHONE]), PHONE),
    ("phoneNumber", pa.array(["+49301234"]), {"input": "+49301234", "defaultCountry": None}),
    ("text[]", pa.array([["a", "b"]]), ["a", "b"]),
    ("text[]", pa.array([["a", "b"]], pa.large_list(pa.string())), ["a", "b"]),
    ("text[]", pa.array([["a", "b"]], pa.list_(pa.string(), 2)), ["a", "b"]),
    ("text[]", pa.array([["a", "b"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))), ["a", "b"]),
    ("int[]", pa.array([[1, 2]], pa.list_(pa.int16())), [1, 2]),
    ("number[]", pa.array([[1, 2]]), [1.0, 2.0]),
    ("boolean[]", pa.array([[True, False]]), [True, False]),
    ("date[]", pa.array([[NOON]], pa.list_(ZONED)), ["2026-01-31T12:00:00.000000Z"]),
    ("uuid[]", pa.array([[UUID]]), [UUID]),
    ("text[]", pa.array([[]], pa.list_(pa.string())), []),
    ("text[]", pa.array([[]], pa.list_(pa.null())), []),
]


@pytest.mark.parametrize(("word", "array", "expected"), GOOD, ids=lambda v: str(v.type) if isinstance(v, pa.Array) else None)
def test_accepted_type(word: str, array: pa.Array, expected: Any) -> None:
    assert type_fault("c", array.type, Property("p", word)) is None
    values, reasons = coerce(array, Property("p", word))
    assert values[0].as_py() == expected
    assert reasons == {}


@pytest.mark.parametrize(("word", "array"), [(w, a) for w, a, _ in GOOD], ids=lambda v: str(v.type) if isinstance(v, pa.Array) else None)
def test_slices_nulls_and_empty_arrays(word: str, array: pa.Array) -> None:
    """A slice with an offset gives the values of a copy; null stays null; nothing stays nothing."""
    prop = Property("p", word)
    whole = pa.concat_arrays([array[:1], pa.nulls(1, array.type), array[:1], array[:1], pa.nulls(1, array.type)])
    expected = coerce(array, prop)[0][0].as_py()
    values, reasons = coerce(whole.slice(1, 3), prop)
    assert values.to_pylist() == [None, expected, expected]
    assert reasons == {}
    assert coerce(whole.slice(2, 0), prop)[0].to_pylist() == []
    assert coerce(whole.slice(4), prop)[0].to_pylist() == [None]


@pytest.mark.parametrize(
    ("word", "found", "needs"),
    [
        ("text", pa.int64(), "strings"),
        ("int", pa.string(), "whole numbers"),
        ("int", pa.bool_(), "whole numbers"),
        ("number", pa.timestamp("s"), "numbers"),
        ("boolean", pa.int8(), "booleans"),
        ("date", pa.int64(), "timestamps, dates or RFC 3339 strings"),
        ("date", pa.time64("us"), "timestamps, dates"),
        ("uuid", pa.binary(15), "uuids as strings or 16 bytes"),
        ("uuid", pa.int64(), "uuids as strings or 16 bytes"),
        ("blob", pa.list_(pa.uint8()), "bytes or base64 strings"),
        ("geoCoordinates", pa.list_(pa.float32()), "structs of latitude and longitude"),
        ("phoneNumber", pa.int64(), "structs of input and defaultCountry, or strings"),
        ("object", pa.string(), "structs"),
        ("text", pa.list_(pa.string()), "strings"),
        ("text[]", pa.string(), "lists of strings"),
        ("int[]", pa.list_(pa.string()), "whole numbers"),
        ("object[]", pa.struct([]), "lists of structs"),
    ],
)
def test_refused_type_is_a_sentence(word: str, found: pa.DataType, needs: str) -> None:
    fault = type_fault("c", found, Property("p", word))
    assert fault is not None
    assert fault.startswith(f"column 'c' has the type {found}; property 'p' is {word} and needs ")
    assert needs in fault


BAD: list[tuple[str, Any, str]] = [
    ("text", b"\xff", "not_utf8"),
    ("int", 2**53 + 1, "int_too_large"),
    ("int", -(2**53) - 1, "int_too_large"),
    ("int", pa.scalar(2**64 - 1, pa.uint64()), "int_too_large"),
    ("int", 1e300, "int_too_large"),
    ("int", Decimal(2**53 + 1), "int_too_large"),
    ("int", 0.5, "not_whole"),
    ("int", float("nan"), "not_finite"),
    ("number", float("inf"), "not_finite"),
    ("number", float("nan"), "not_finite"),
    ("date", "2026-01-31", "bad_date"),
    ("date", "2026-01-31T08:00:00", "bad_date"),
    ("date", "2026-01-31T08:00:00Z\n", "bad_date"),
    ("date", "2026-01-31t08:00:00z", "bad_date"),
    ("uuid", "123", "bad_uuid"),
    ("uuid", "g" * 32, "bad_uuid"),
    ("blob", "AP8", "bad_base64"),
    ("blob", "AP 8=", "bad_base64"),
    ("blob", "data:image/png;base64,AP8=", "bad_base64"),
    ("blob", "ä===", "bad_base64"),
    ("geoCoordinates", {"latitude": 91.0, "longitude": 0.0}, "bad_geo"),
    ("geoCoordinates", {"latitude": float("nan"), "longitude": 0.0}, "bad_geo"),
    ("geoCoordinates", {"latitude": 1.0}, "bad_geo"),
    ("geoCoordinates", {"latitude": 1.0, "longitude": None}, "bad_geo"),
    ("phoneNumber", "0301234", "bad_phone"),
    ("phoneNumber", {"input": "0301234", "defaultCountry": None}, "bad_phone"),
    ("phoneNumber", {"input": "", "defaultCountry": "DE"}, "bad_phone"),
    ("phoneNumber", {"input": 301234, "defaultCountry": None}, "bad_phone"),
]


@pytest.mark.parametrize(("word", "value", "code"), BAD)
def test_bad_value_becomes_null_with_its_reason(word: str, value: Any, code: str) -> None:
    """The position in the reasons is the one in the slice."""
    array = pa.array([value] * 3) if not isinstance(value, pa.Scalar) else pa.repeat(value, 3)
    values, reasons = coerce(array.slice(1, 1), Property("p", word))
    assert values.to_pylist() == [None]
    assert values.type == TYPES[word]
    assert reasons[0][0] == code
    assert reasons[0][1].startswith("property 'p' has ")


@pytest.mark.parametrize(("word", "value", "code"), [b for b in BAD if b[0] in LIST_WORDS])
def test_bad_element_names_its_row(word: str, value: Any, code: str) -> None:
    one = pa.array([value]) if not isinstance(value, pa.Scalar) else pa.repeat(value, 1)
    rows = pa.array([[], None, [one[0].as_py()], []], pa.list_(one.type))
    assert {i: reason[0] for i, reason in coerce(rows, Property("p", word + "[]"))[1].items()} == {2: code}


@pytest.mark.parametrize("t", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 2)])
def test_null_in_a_list_names_its_row(t: pa.DataType) -> None:
    rows = pa.array([["x", "y"], ["a", "b"], None, ["c", None], ["d", "e"]], t).slice(1)
    values, reasons = coerce(rows, Property("p", "text[]"))
    assert {i: r[0] for i, r in reasons.items()} == {2: "null_in_list"}
    assert [v for i, v in enumerate(values.to_pylist()) if i not in reasons] == [["a", "b"], None, ["d", "e"]]


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        (pa.date32(), 2**31 - 1, -719_162),
        (pa.date64(), 86_400_000 * 2_932_897, 86_400_000 * 2_932_896),
        (pa.timestamp("s"), 2**62, 0),
        (pa.timestamp("us", "UTC"), -(2**63), 1),
    ],
)
def test_a_date_beyond_the_years_of_four_digits_spoils_its_row_only(kind: pa.DataType, bad: int, good: int) -> None:
    values, reasons = coerce(pa.array([bad, good, None], kind), Property("p", "date"))
    assert {i: r[0] for i, r in reasons.items()} == {0: "bad_date"}
    assert values.is_valid().to_pylist() == [False, True, False]
    assert len(values[1].as_py().partition("-")[0]) == 4


def test_a_decimal_of_all_its_digits_is_too_large_for_an_int() -> None:
    """Rounded down it would have one digit more than its type."""
    values, reasons = coerce(pa.array([Decimal("-99.9"), Decimal("7.0")], pa.decimal256(3, 1)), Property("p", "int"))
    assert (reasons[0][0], values.to_pylist()) == ("not_whole", [None, 7])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.lists(st.integers(-9, 9), max_size=4), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_lists_keep_their_rows(rows: list[list[int] | None], start: int, length: int) -> None:
    array = pa.array(rows, pa.list_(pa.int64())).slice(min(start, len(rows)), length)
    assert coerce(array, Property("p", "number[]"))[0].to_pylist() == rows[start : start + length]


@pytest.mark.parametrize("word", [*TYPES, *(w + "[]" for w in LIST_WORDS), "object", "object[]"])
def test_all_null_column_is_accepted_and_stays_null(word: str) -> None:
    assert type_fault("c", pa.null(), Property("p", word)) is None
    values, reasons = coerce(pa.nulls(3), Property("p", word))
    assert values.to_pylist() == [None] * 3
    assert reasons == {}


PERSON = Property(
    "p",
    "object",
    (
        Property("name", "text"),
        Property("born", "date"),
        Property("tags", "int[]"),
        Property("home", "object", (Property("at", "geoCoordinates"),)),
    ),
)
ANNA = {"name": "Anna", "born": "1969-07-20T00:00:00Z", "tags": [1, 2], "home": {"at": GEO}}


def test_nested_object_is_coerced_field_by_field() -> None:
    given_ = pa.array([None, {**ANNA, "tags": [1.0, 2.0]}, None, {**ANNA, "home": None}]).slice(1)
    values, reasons = coerce(given_, PERSON)
    assert values.to_pylist() == [ANNA, None, {**ANNA, "home": None}]
    assert reasons == {}


def test_bad_leaf_names_its_path() -> None:
    _, reasons = coerce(pa.array([ANNA, {**ANNA, "home": {"at": {"latitude": 100.0, "longitude": 0.0}}}]), PERSON)
    assert list(reasons) == [1]
    assert reasons[1][0] == "bad_geo"
    assert "'p.home.at'" in reasons[1][1]


def test_list_of_objects() -> None:
    prop = Property("p", "object[]", PERSON.nested)
    values, reasons = coerce(pa.array([[ANNA], [], [ANNA, {**ANNA, "born": "then"}], [ANNA, ANNA]]).slice(1), prop)
    assert {i: r[0] for i, r in reasons.items()} == {1: "bad_date"}
    assert values[2].as_py() == [ANNA, ANNA]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"nam": "Anna"}, "column 'c' has the field 'nam'; property 'p' knows name, born, tags, home"),
        ({"name": 3}, "column 'c.name' has the type int64; property 'name' is text and needs strings"),
        (
            {"home": {"at": 3}},
            "column 'c.home.at' has the type int64; property 'at' is geoCoordinates and needs structs of latitude and longitude",
        ),
    ],
)
def test_nested_type_fault_names_the_path(value: dict[str, Any], fault: str) -> None:
    assert type_fault("c", pa.array([value]).type, PERSON) == fault
    assert type_fault("c", pa.array([[value]]).type, Property("p", "object[]", PERSON.nested)) == fault


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_decode_base64_undoes_base64(data: bytes) -> None:
    assert decode_base64(base64.b64encode(data).decode()) == data


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["date", "uuid", "blob", "text", "phoneNumber"]), st.lists(st.none() | st.text(max_size=40), max_size=5))
def test_any_text_is_a_value_or_a_reason(word: str, texts: list[str | None]) -> None:
    """Never an exception; exactly the non-null values that became null have a reason."""
    values, reasons = coerce(pa.array(texts, pa.string()), Property("p", word))
    assert set(reasons) == {
        i for i, (before, after) in enumerate(zip(texts, values.to_pylist(), strict=True)) if before is not None and after is None
    }
