"""Values as texts: what Go, and Weaviate's modules, write."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.weaviate_texts import date_json, date_text, fragments, lower, number_json, number_text, object_json, object_text, split_name
from schemas.collection import Property
from schemas.modules import TextModule


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ArticleDoc", "Article Doc"),
        ("PDFLoader", "PDF Loader"),
        ("BL99", "BL 99"),
        ("bodyText", "body Text"),
        ("GPT4all", "GPT 4 all"),
        ("string_prop", "string _ prop"),
        ("My_Class2B", "My _ Class 2 B"),
        ("camelCaseURL", "camel Case URL"),
        ("Ab", "Ab"),
        ("ABc", "A Bc"),
        ("A", "A"),
        ("_", "_"),
        ("a__1", "a __ 1"),
    ],
)
def test_names_are_split_into_words(name: str, words: str) -> None:
    assert split_name(name) == words


# float64 -> what Go 1.26 printed for `%v` and for encoding/json; some 360,000 random values agreed as well
GO_NUMBERS = [
    (999999.0, "999999", "999999"),
    (1000000.0, "1e+06", "1000000"),
    (1234567.0, "1.234567e+06", "1234567"),
    (123456789.0, "1.23456789e+08", "123456789"),
    (12345678.5, "1.23456785e+07", "12345678.5"),
    (100000.5, "100000.5", "100000.5"),
    (2024.0, "2024", "2024"),
    (0.0001, "0.0001", "0.0001"),
    (0.00001, "1e-05", "0.00001"),
    (-5.0, "-5", "-5"),
    (0.0, "0", "0"),
    (-0.0, "-0", "-0"),
    (1e-6, "1e-06", "0.000001"),
    (9.5e-7, "9.5e-07", "9.5e-7"),
    (1e20, "1e+20", "100000000000000000000"),
    (1e21, "1e+21", "1e+21"),
    (2.0**53, "9.007199254740992e+15", "9007199254740992"),
    (5e-324, "5e-324", "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"),
    (0.1, "0.1", "0.1"),
]


@pytest.mark.parametrize(("value", "text", "in_json"), GO_NUMBERS)
def test_numbers_as_go_writes_them(value: float, text: str, in_json: str) -> None:
    assert (number_text(value), number_json(value)) == (text, in_json)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_as_they_were(value: float) -> None:
    for text in (number_text(value), number_json(value)):
        assert float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)
        assert "." not in text or not text.partition("e")[0].endswith("0")
    assert ("e" in number_text(value)) == (value != 0 and not 1e-4 <= abs(value) < 1e6)
    assert ("e" in number_json(value)) == (value != 0 and not 1e-6 <= abs(value) < 1e21)


@pytest.mark.parametrize(
    ("date", "text", "in_json"),
    [
        ("2011-05-05T07:16:30.123+02:00", "2011-05-05T07:16:30+02:00", "2011-05-05T07:16:30.123+02:00"),
        ("2011-05-05T07:16:30+00:00", "2011-05-05T07:16:30Z", "2011-05-05T07:16:30Z"),
        ("2011-05-05T07:16:30-00:00", "2011-05-05T07:16:30Z", "2011-05-05T07:16:30Z"),
        ("2011-05-05T07:16:30.500Z", "2011-05-05T07:16:30Z", "2011-05-05T07:16:30.5Z"),
        ("2011-05-05T07:16:30.000Z", "2011-05-05T07:16:30Z", "2011-05-05T07:16:30Z"),
        ("2011-05-05T07:16:30.1234567899-11:30", "2011-05-05T07:16:30-11:30", "2011-05-05T07:16:30.123456789-11:30"),
        ("2011-05-05T07:16:30+01:60", "2011-05-05T07:16:30+02:00", "2011-05-05T07:16:30+02:00"),
    ],
)
def test_dates_as_go_writes_them(date: str, text: str, in_json: str) -> None:
    assert (date_text(date), date_json(date)) == (text, in_json)


def test_lower_case_letter_by_letter() -> None:
    assert lower("ÀΣ İ ΟΔΟΣ") == "àσ i οδοσ"  # Python's own would end with another sigma, and dot the i twice


NESTED = (
    Property("z", "int"),
    Property("a", "text"),
    Property("Z", "number[]"),
    Property("n", "text"),
    Property("d", "date[]"),
    Property("b", "blob"),
    Property("u", "uuid"),
    Property("o", "object[]", (Property("t", "boolean"),)),
)


def test_object_as_json() -> None:
    value = {"z": 1000000, "a": "<b>&\u2028é\x00\x7f", "Z": [1e-7, 2.0], "n": None, "d": ["2011-05-05T07:16:30.10+00:00"], "b": b"\xff\xfe"}
    value |= {"u": "eea9cb72-744e-5814-a929-652d970d86ac", "o": [{"t": True}, {"t": None}]}
    assert object_json(value, NESTED) == (
        '{"Z":[1e-7,2],"a":"\\u003cb\\u003e\\u0026\\u2028é\\u0000\x7f","b":"//4=","d":["2011-05-05T07:16:30.1Z"],"o":[{"t":true},{}],'
        '"u":"eea9cb72-744e-5814-a929-652d970d86ac","z":1000000}'
    )
    assert object_json({"n": None}, NESTED) == "{}"


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"\A[_A-Za-z][_0-9A-Za-z]{0,5}\Z"), st.one_of(st.none(), st.text(), st.lists(st.text(), max_size=3)), max_size=6
    )
)
def test_json_reads_back(value: dict[str, Any]) -> None:
    nested = tuple(Property(n, "text[]" if isinstance(v, list) else "text") for n, v in value.items())
    text = object_json(value, nested)
    found = json.loads(text)
    assert found == {n: v for n, v in value.items() if v is not None} and list(found) == sorted(found)
    assert not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize(
    ("word", "value", "always", "with_source"),
    [
        ("text", "", [""], [""]),
        ("string", "a", ["a"], ["a"]),
        ("text[]", ["b", ""], ["b", ""], ["b", ""]),
        ("text[]", [], [], []),
        ("text", None, [], []),
        ("blob", b"abc", ["YWJj"], ["YWJj"]),
        ("blobHash", b"abc", ["YWJj"], ["YWJj"]),
        ("int", 1000000, [], ["1e+06"]),
        ("int[]", [1, 2], [], ["1", "2"]),
        ("number[]", [0.5], [], ["0.5"]),
        ("boolean", True, [], ["true"]),
        ("boolean[]", [False], [], ["false"]),
        ("date", "2011-05-05T07:16:30.5+00:00", [], ["2011-05-05T07:16:30Z"]),
        ("date[]", ["2011-05-05T07:16:30Z"], [], []),
        ("uuid", "eea9cb72-744e-5814-a929-652d970d86ac", [], []),
        ("uuid[]", ["eea9cb72-744e-5814-a929-652d970d86ac"], [], []),
        ("geoCoordinates", {"latitude": 1.0, "longitude": 2.0}, [], []),
        ("phoneNumber", {"input": "+491711234567", "defaultCountry": None}, [], []),
        ("object", {"z": 1}, [], ['{"z":1}']),
        ("object", {}, [], ["{}"]),
        ("object[]", [{"z": 1}, {}], [], ['[{"z":1},{}]']),
        ("object[]", [], [], []),
    ],
)
def test_what_a_value_adds(word: str, value: Any, always: list[str], with_source: list[str]) -> None:
    prop = Property("p", word, NESTED if word.startswith("object") else ())
    assert (fragments(value, prop, False), fragments(value, prop, True)) == (always, with_source)


def test_lower_case_of_names_and_values() -> None:  # E3
    properties = {n: Property(n, "text") for n in ("bodyText", "title")}
    module = TextModule("m", "ArticleDoc", ("bodyText", "title"), named=frozenset({"bodyText"}), lower=True, properties=properties)
    assert object_text({"title": "Hello World", "bodyText": "It's me"}, module) == "article doc body text it's me hello world"
