"""An object's fields to what is encoded, as Weaviate's modules would ask for it."""

import base64
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.compose import MEDIA, Parts
from pipelines.compose_weaviate import compose_weaviate
from pipelines.weaviate_texts import object_text
from schemas.collection import Property
from schemas.columns import CHUNK
from schemas.modules import MultiModule, TextModule

WORDS = {
    "n": "number",
    "big": "int",
    "viewCount": "int",
    "d": "date",
    "d2": "date",
    "da": "date[]",
    "tags": "text[]",
    "ta": "text[]",
    "o": "object",
}
NESTED = (Property("z", "int"), Property("a", "text"), Property("n", "text"))
DAY = "2011-05-05T07:16:30.123+02:00"


def properties(names: Any, words: dict[str, str] | None = None) -> dict[str, Property]:
    """Properties by their names' types above; text where nothing is said."""
    words = WORDS | (words or {})
    return {n: Property(n, words.get(n, "text"), NESTED if words.get(n) == "object" else ()) for n in names}


def module(names: Any, words: dict[str, str] | None = None, **rest: Any) -> TextModule:
    """A module of the class ArticleDoc that reads `names`."""
    fields = tuple(sorted(names, key=str.encode))
    return TextModule("text2vec-transformers", "ArticleDoc", fields, properties=properties(fields, words), **rest)


def column(value: Any, word: str) -> pa.Array:
    types = {
        "int": pa.int64(),
        "text[]": pa.large_list(pa.string()),
        "date[]": pa.large_list(pa.string()),
        "text": pa.string(),
        "date": pa.string(),
    }
    return pa.array([value], types.get(word))


def text(values: dict[str, Any], names: Any = None, **rest: Any) -> str:
    """The text of one object; empty where it has none."""
    names = values if names is None else names
    batch = pa.RecordBatch.from_pydict({"@row": pa.array([0])} | {n: column(v, WORDS.get(n, "text")) for n, v in values.items()})
    parts = compose_weaviate(batch, module(names, **rest))
    assert object_text(values, module(names, **rest)) == (parts[0].values[0] if parts else "")
    return str(parts[0].values[0]) if parts else ""


SHORT = {"class_name": False}
E1 = {"title": "Hello World", "body": "It's  me\n", "tags": ["A", "b"]}
E2 = {"title": "Hello World", "bodyText": "It's me", "tags": ["A", "b"]}
E10 = {"aB": "1", "a_b": "2", "ab": "3", "aZ": "4", "b": "5", "é": "6", "a10": "7", "a9": "8"}
E15 = {"big": 1000000, "d": DAY, "d2": "2011-05-05T07:16:30+00:00", "da": [DAY], "o": {"z": 1000000, "a": "<b>&", "n": None}}


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        pytest.param(E1, {}, "Article Doc It's  me\n A b Hello World", id="E1"),
        pytest.param(E2, {"named": frozenset(E2)}, "Article Doc body Text It's me tags A tags b title Hello World", id="E2"),
        pytest.param(
            {"title": "Hello World", "bodyText": "It's me"},
            {"named": frozenset({"bodyText"}), "lower": True},
            "article doc body text it's me hello world",
            id="E3",
        ),
        pytest.param({"title": "Hello World"}, {"names": (), **SHORT}, "Article Doc", id="E4"),
        pytest.param({"title": ""}, SHORT, "", id="E5"),
        pytest.param({"title": "", "body": ""}, SHORT, " ", id="E6"),
        pytest.param({"title": None}, SHORT, "Article Doc", id="E7"),
        pytest.param({}, SHORT, "Article Doc", id="E7 without columns"),
        pytest.param({"big": 3, "d": DAY, "o": {"z": 1, "a": "", "n": ""}, "t": "txt"}, SHORT, "txt", id="E8"),
        pytest.param({"t": "x"}, {"names": ("zzz",), "source": True, **SHORT}, "", id="E9"),
        pytest.param({"t": None}, {"source": True, **SHORT}, "", id="E9 with a null"),
        pytest.param(E10, SHORT, "7 8 1 4 2 3 5 6", id="E10"),
        pytest.param({"tags": []}, {}, "Article Doc", id="E11"),
        pytest.param({"tags": []}, SHORT, "Article Doc", id="E11 by falling back"),
        pytest.param({"bodyText": ""}, {"named": frozenset({"bodyText"}), **SHORT}, "body Text ", id="E12"),
        pytest.param({"a": "", "b": "x", "c": ""}, SHORT, " x ", id="E13"),
        pytest.param(
            {"viewCount": 7, "ta": ["p", "q"]},
            {"source": True, "named": frozenset({"viewCount", "ta"})},
            "Article Doc ta p ta q view Count 7",
            id="E14",
        ),
        pytest.param(
            E15,
            {"source": True, **SHORT},
            '1e+06 2011-05-05T07:16:30+02:00 2011-05-05T07:16:30Z {"a":"\\u003cb\\u003e\\u0026","z":1000000}',
            id="E15, without the null, which we do not send",
        ),
    ],
)
def test_the_texts_of_the_specification(values: dict[str, Any], options: dict[str, Any], expected: str) -> None:
    assert text(values, **options) == expected


def test_blob_is_its_base64_also_where_it_was_fetched() -> None:
    batch = pa.RecordBatch.from_pydict({"photo": ["s3://x"], MEDIA + "photo": [b"abc"], "uri": ["s3://y"], MEDIA + "uri": [b"no"]})
    (part,) = compose_weaviate(batch, module(("photo", "uri"), {"photo": "blob"}))
    assert part.values == ["Article Doc YWJj s3://y"]  # a URI in a text is what the server has


def test_rows_without_a_text_have_no_part() -> None:
    batch = pa.RecordBatch.from_pydict({"t": pa.array(["", "a", None, "b"])})
    (part,) = compose_weaviate(batch, module(("t",), source=True, class_name=False))
    assert (part.modality, part.values, part.owner.tolist(), part.weights.tolist()) == ("text", ["a", "b"], [1, 3], [1, 1])
    assert (part.owner.dtype, part.weights.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("class_name", [True, False])
def test_batch_without_rows(class_name: bool) -> None:
    empty = pa.RecordBatch.from_pydict({"t": pa.array([], pa.string())})
    assert compose_weaviate(empty, module(("t",), class_name=class_name)) == []
    assert compose_weaviate(empty, MultiModule("multi2vec-clip", "A", {"text": ("t",)}, properties=properties(("t",)))) == []


VALUES = {
    "text": st.one_of(st.none(), st.text(max_size=3)),
    "tags": st.one_of(st.none(), st.lists(st.text(max_size=2), max_size=3)),
    "big": st.one_of(st.none(), st.integers(-(2**53), 2**53)),
    "n": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    "o": st.one_of(st.none(), st.fixed_dictionaries({"z": st.one_of(st.none(), st.integers(0, 9)), "a": st.text(max_size=2)})),
}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(VALUES), max_size=6),
    st.booleans(),
    st.booleans(),
    st.frozensets(st.sampled_from(list(VALUES))),
    st.booleans(),
)
def test_columns_give_what_objects_give(rows: list[dict[str, Any]], name: bool, source: bool, named: frozenset[str], low: bool) -> None:
    types = {"text": pa.string(), "tags": pa.large_list(pa.string()), "big": pa.int64(), "n": pa.float64()}
    types["o"] = pa.struct([("z", pa.int64()), ("a", pa.string())])
    batch = pa.RecordBatch.from_pydict({n: pa.array([r[n] for r in rows], t) for n, t in types.items()})
    read = module(tuple(VALUES), class_name=name, source=source, named=named, lower=low)
    found = dict.fromkeys(range(len(rows)), "")
    for part in compose_weaviate(batch, read):
        assert (np.diff(part.owner) > 0).all()
        found |= dict(zip(part.owner.tolist(), part.values, strict=True))
    assert list(found.values()) == [object_text(row, read) for row in rows]


def rows_of(part: Parts) -> list[tuple[int, Any]]:
    return list(zip(part.owner.tolist(), part.values, strict=True))


def clip(text_fields: tuple[str, ...] = (), image_fields: tuple[str, ...] = (), name: str = "multi2vec-clip", **words: str) -> MultiModule:
    known = properties({*text_fields, *image_fields, *words}, words)
    return MultiModule(name, "A", {"text": text_fields, "image": image_fields}, properties=known)


def test_values_of_a_multi_modal_module_in_the_order_of_bytes() -> None:
    """Not in the order of the settings: `aB` before `a_b` before `title`, each element of a list apart, empty texts too."""
    batch = pa.RecordBatch.from_pydict(
        {
            "title": pa.array(["t0", "", None]),
            "a_b": pa.array([["x", "y"], [], ["z"]]),
            "aB": pa.array(["0", None, "2"]),
            "pic": pa.array([b"p0", None, b"p2"]),
            "Apic": pa.array([b"q0", b"q1", None]),
        }
    )
    found = clip(("title", "a_b", "aB"), ("pic", "Apic"), a_b="text[]", pic="blob", Apic="blob")
    words, images = compose_weaviate(batch, found)
    assert rows_of(words) == [(0, "0"), (0, "x"), (0, "y"), (0, "t0"), (1, ""), (2, "2"), (2, "z")]
    assert rows_of(images) == [(0, b"q0"), (0, b"p0"), (1, b"q1"), (2, b"p2")]
    assert (words.modality, images.modality) == ("text", "image")
    assert words.weights.tolist() == [1] * 7 and images.owner.dtype == np.int64


def test_types_that_a_multi_modal_module_does_not_read() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"at": [DAY], "no": ["eea9cb72-744e-5814-a929-652d970d86ac"], "n": [1.5], "pics": [["YWJj"]], "gone": [None]}
    )
    assert compose_weaviate(batch, clip(("at", "no", "n", "gone"), ("at", "no", "pics", "n"), at="date", no="uuid", pics="text[]")) == []


def test_blob_among_the_text_fields_is_its_base64() -> None:
    (part,) = compose_weaviate(pa.RecordBatch.from_pydict({"b": [b"abc"]}), clip(("b",), b="blob"))
    assert rows_of(part) == [(0, "YWJj")]


def test_text_among_the_image_fields_is_read_as_base64() -> None:
    batch = pa.RecordBatch.from_pydict({"p": ["YWJj", "data:image/png;base64,YWJj", "no picture", None]})
    (part,) = compose_weaviate(batch, clip((), ("p",), "multi2vec-nvidia"))
    assert rows_of(part) == [(0, b"abc"), (1, b"abc"), (2, b"no picture")]


def test_fetched_bytes_go_before_their_uri() -> None:
    batch = pa.RecordBatch.from_pydict({"photo": ["s3://x", "s3://y"], MEDIA + "photo": pa.array([b"png", None])})
    for word in ("text", "blob"):
        (part,) = compose_weaviate(batch, clip((), ("photo",), photo=word))
        assert rows_of(part) == [(0, b"png")]
    (part,) = compose_weaviate(batch.select([MEDIA + "photo"]), clip((), ("photo",), photo="blob"))  # a property that is not stored
    assert rows_of(part) == [(0, b"png")]


def test_the_seven_modalities_of_bind_in_the_order_of_their_vectors() -> None:
    fields = {"depth": ("a",), "text": ("t",), "imu": ("a",), "image": ("b",), "audio": ("b",)}
    words = {"a": "blob", "b": "blob"}
    found = MultiModule("multi2vec-bind", "A", fields, properties=properties(("a", "b", "t"), words))
    parts = compose_weaviate(pa.RecordBatch.from_pydict({"t": ["x"], "a": [b"a"], "b": [b"b"]}), found)
    assert [p.modality for p in parts] == ["text", "image", "audio", "imu", "depth"]


def test_later_chunks_have_a_vector_only_where_it_reads_the_chunked_property() -> None:
    batch = pa.RecordBatch.from_pydict({"title": ["t", "t", "u"], "body": ["b0", "b1", "c0"], CHUNK: pa.array([0, 1, 0], pa.int32())})
    (part,) = compose_weaviate(batch, module(("title",)), chunked="body")
    assert rows_of(part) == [(0, "Article Doc t"), (2, "Article Doc u")]
    (part,) = compose_weaviate(batch, module(("title", "body")), chunked="body")
    assert [i for i, _ in rows_of(part)] == [0, 1, 2]
    (part,) = compose_weaviate(batch, clip(("title",)), chunked="body")
    assert rows_of(part) == [(0, "t"), (2, "u")]


def test_slices_count_rows_from_their_start() -> None:
    batch = pa.RecordBatch.from_pydict({"t": ["0", "1", "2"], "p": [b"0", b"1", b"2"]}).slice(1, 2)
    assert rows_of(compose_weaviate(batch, module(("t",)))[0]) == [(0, "Article Doc 1"), (1, "Article Doc 2")]
    words, images = compose_weaviate(batch, clip(("t",), ("p",), p="blob"))
    assert (rows_of(words), rows_of(images)) == ([(0, "1"), (1, "2")], [(0, b"1"), (1, b"2")])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20))
def test_base64_of_any_bytes(data: bytes) -> None:
    batch = pa.RecordBatch.from_pydict({"p": pa.array([base64.b64encode(data).decode()])})
    assert rows_of(compose_weaviate(batch, clip((), ("p",)))[0]) == [(0, data)]
