"""Which column goes where, and each sentence that says what does not fit."""

from typing import Any

import pyarrow as pa
import pytest

from pipelines.layout import Layout, Precomputed, layout_of
from schemas.collection import Collection, Property, parse_collection
from schemas.job import Job

COLUMNS = {
    "sku": pa.string(),
    "title": pa.string(),
    "views": pa.int64(),
    "photo": pa.string(),
    "thumb": pa.binary(),
    "emb": pa.list_(pa.float32(), 4),
    "shop": pa.string(),
}
PROPERTIES = {"title": "text", "views": "int", "photo": "text", "thumb": "blob", "shop": "text"}
VECTORS: dict[str, Any] = {
    "text": {"vectorizer": {"none": {}}},
    "old": {"vectorizer": {"none": {}}, "vectorIndexConfig": {"distance": "dot"}},
    "many": {"vectorizer": {"none": {}}, "vectorIndexConfig": {"multivector": {"enabled": True}}},
}
TEXT = {"text": {"model": {"fake": 4}, "text_fields": ["title"]}}


def collection_of(**more: str) -> Collection:
    properties = [{"name": n, "dataType": [t]} for n, t in (PROPERTIES | more).items()]
    return parse_collection({"class": "Product", "properties": properties, "vectorConfig": VECTORS})


def layout(
    columns: dict[str, pa.DataType] | None = None,
    collection: Collection | None = None,
    source: dict[str, Any] | None = None,
    tenant: Any = None,
    **job: Any,
) -> tuple[Layout, list[str]]:
    """The layout of `columns` for a job that reads the listed properties, with whole sections replaced."""
    data = {
        "source": {"parquet": "x", "key": "sku", "properties": {p: p for p in ("title", "views")}} | (source or {}),
        "target": {"weaviate": "http://x", "collection": "Product", "tenant": tenant},
        "vectors": TEXT,
    }
    return layout_of(pa.schema(list((columns or COLUMNS).items())), Job.model_validate(data | job), collection or collection_of())


def test_listed_properties_and_the_key_are_read() -> None:
    found, faults = layout()
    assert faults == []
    assert found.columns == ["sku", "title", "views"]
    assert found.id_columns == ["sku"]
    assert found.stored == [Property("title", "text"), Property("views", "int")]


def test_without_a_list_every_column_goes_under_its_own_name() -> None:
    found, faults = layout(source={"properties": None}, vectors=TEXT | {"old": {"column": "emb"}})
    assert faults == []
    assert list(found.properties) == ["title", "views", "photo", "thumb", "shop"]
    assert found.vectors == {"old": Precomputed("emb", 4, multi=False, zero_allowed=True)}


def test_key_that_is_also_a_property_is_stored() -> None:
    found, faults = layout(source={"properties": None}, collection=collection_of(sku="text"), vectors=TEXT | {"old": {"column": "emb"}})
    assert faults == []
    assert "sku" in found.properties


def test_column_under_another_name() -> None:
    found, faults = layout(source={"properties": {"title": "shop"}})
    assert faults == []
    assert found.properties == {"title": ("shop", Property("title", "text"))}


def test_tenant_column_is_read() -> None:
    found, _ = layout(tenant={"column": "shop"})
    assert (found.tenant, found.id_columns) == ("shop", ["sku", "shop"])


def test_uuid_column() -> None:
    found, faults = layout(source={"key": None, "uuid": "sku"})
    assert (found.key, found.key_is_uuid, faults) == ("sku", True, [])


def test_media_that_are_fetched_keep_their_uri_in_a_text() -> None:
    found, faults = layout(source={"properties": {"title": "title", "photo": "photo"}}, media={"photo": {"fetch": ["/photos"]}})
    assert faults == []
    assert (found.media, found.unstored) == ({"photo": "photo"}, frozenset())


def test_media_bytes_leave_unless_they_are_stored() -> None:
    properties = {"title": "title", "thumb": "thumb"}
    assert layout(source={"properties": properties}, media={"thumb": {}})[0].unstored == frozenset({"thumb"})
    assert layout(source={"properties": properties}, media={"thumb": {"store": True}})[0].unstored == frozenset()


@pytest.mark.parametrize(("t", "dim"), [(pa.list_(pa.float32(), 4), 4), (pa.list_(pa.float32()), None), (pa.binary(), None)])
def test_length_of_a_precomputed_vector(t: pa.DataType, dim: int | None) -> None:
    found, faults = layout(COLUMNS | {"emb": t}, vectors={"text": {"column": "emb"}})
    assert faults == []
    assert found.vectors["text"] == Precomputed("emb", dim, multi=False, zero_allowed=False)


IMAGE = {"model": {"fake": 4}, "image_fields": ["photo"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": {"key": "skuu"}}, "source.key: there is no column 'skuu'; the source has sku, title, views"),
        ({"source": {"key": None, "uuid": "id"}}, "source.uuid: there is no column 'id'"),
        ({"source": {"key": "thumb"}}, "source.key: column 'thumb' has the type binary; a key is a string or a whole number"),
        ({"tenant": {"column": "store"}}, "target.tenant.column: there is no column 'store'"),
        ({"source": {"properties": {"title": "titel"}}}, "source.properties.title: there is no column 'titel'"),
        ({"vectors": TEXT | {"old": {"column": "embedding"}}}, "vectors.old.column: there is no column 'embedding'"),
        (
            {"source": {"properties": {"title": "title", "name": "title"}}},
            "column 'title' has no property 'name' in collection Product, which has title, views, photo, thumb, shop; add it there",
        ),
        (
            {"columns": COLUMNS | {"@x": pa.string()}, "source": {"properties": {"title": "@x"}}},
            "column '@x': names that start with @ are Warpbeam's own",
        ),
        (
            {"columns": COLUMNS | {"views": pa.string()}},
            "column 'views' has the type string; property 'views' is int and needs whole numbers",
        ),
        (
            {"source": {"properties": {"title": "title", "photo": "photo"}}, "media": {"photo": {"fetch": ["/p"], "store": True}}},
            "media.photo.store: property 'photo' is text; bytes are stored in a blob",
        ),
        ({"vectors": {"txt": TEXT["text"]}}, "vectors.txt: collection Product has no such vector; it has text, old, many"),
        (
            {"vectors": {"text": {"column": "title"}}},
            "vectors.text: column 'title' has the type string; a vector column needs fixed-size lists",
        ),
        (
            {"vectors": {"many": {"column": "emb"}}},
            "vectors.many: column 'emb' has the type fixed_size_list<item: float>[4]; a vector column needs lists of lists",
        ),
        (
            {"columns": COLUMNS | {"emb": pa.binary()}, "vectors": {"many": {"column": "emb"}}},
            "vectors.many: a multi-vector in bytes needs `dimensions`",
        ),
        ({"vectors": {"text": {"model": {"fake": 4}}}}, "vectors.text: name the fields to encode, as in text_fields or image_fields ("),
        (
            {"vectors": {"text": {"model": {"fake": 4}, "text_fields": ["body"]}}},
            "vectors.text: 'body' is no property of this job; it has title, views",
        ),
        (
            {"source": {"properties": {"views": "views"}}, "vectors": {"text": IMAGE | {"image_fields": ["views"]}}},
            "property 'views' is int; images are blobs",
        ),
        (
            {"source": {"properties": {"photo": "photo"}}, "vectors": {"text": IMAGE}},
            "vectors.text.image_fields: property 'photo' is text; if it holds URIs, say so: media: {photo: {fetch: [prefix]}}",
        ),
        ({"chunk": {"property": "views", "model": "text"}}, "chunk.property: collection Product needs a property 'views' of type text"),
        (
            {"chunk": {"property": "title", "model": "text", "number": "n"}},
            "chunk.number: collection Product needs a property 'n' of type int",
        ),
        (
            {"chunk": {"property": "title", "model": "text", "parent": "views"}},
            "chunk.parent: collection Product needs a property 'views' of type text",
        ),
        ({"chunk": {"property": "shop", "model": "text"}}, "chunk.property: 'shop' is no property of this job; it has title, views"),
    ],
)
def test_fault(change: dict[str, Any], sentence: str) -> None:
    _, faults = layout(**change)
    assert len(faults) == 1, faults
    assert sentence in faults[0]


@pytest.mark.parametrize("t", [pa.string(), pa.large_string(), pa.int32(), pa.dictionary(pa.int32(), pa.string())])
def test_types_that_name_a_row(t: pa.DataType) -> None:
    assert layout(COLUMNS | {"sku": t})[1] == []


def test_all_faults_are_named_together() -> None:
    _, faults = layout(
        source={"key": "k", "properties": {"title": "t", "nope": "views"}}, vectors={"v": TEXT["text"]}, tenant={"column": "c"}
    )
    assert len(faults) == 5


def test_tenant_column_needs_no_property() -> None:
    found, faults = layout(
        {"sku": pa.string(), "title": pa.string(), "store": pa.string()}, source={"properties": None}, tenant={"column": "store"}
    )
    assert faults == []
    assert list(found.properties) == ["title"]
