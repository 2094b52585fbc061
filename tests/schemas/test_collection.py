"""Weaviate's class definitions, in the forms that the server and people write."""

import json
from typing import Any

import pytest

from schemas.collection import Property, VectorConfig, definition_in, parse_collection
from schemas.errors import JobError


def test_named_vectors() -> None:
    config = {
        "text": {"vectorizer": {"none": {}}, "vectorIndexType": "flat", "vectorIndexConfig": {"distance": "dot"}},
        "looks": {"vectorizer": {"multi2vec-clip": {"imageFields": ["photo"]}}, "vectorIndexType": "hnsw"},
        "bare": {},
    }
    assert parse_collection({"class": "A", "vectorConfig": config}).vectors == {
        "text": VectorConfig("text", "none", index="flat", distance="dot"),
        "looks": VectorConfig("looks", "multi2vec-clip"),
        "bare": VectorConfig("bare", "none"),
    }


@pytest.mark.parametrize("vectorizer", ["none", "text2vec-transformers"])
def test_legacy_class_has_one_unnamed_vector(vectorizer: str) -> None:
    found = parse_collection({"class": "A", "vectorizer": vectorizer, "vectorIndexConfig": {"distance": "l2-squared"}})
    assert found.vectors == {"default": VectorConfig("default", vectorizer, distance="l2-squared", unnamed=True)}


def test_class_without_any_vectorizer_is_self_provided() -> None:
    assert parse_collection({"class": "A"}).vectors["default"] == VectorConfig("default", "none", unnamed=True)


@pytest.mark.parametrize("enabled", [True, False])
def test_multi_vectors(enabled: bool) -> None:
    config = {"colbert": {"vectorizer": {"none": {}}, "vectorIndexConfig": {"multivector": {"enabled": enabled}}}}
    assert parse_collection({"class": "A", "vectorConfig": config}).vectors["colbert"].multi is enabled


def test_references_are_not_properties() -> None:
    properties = [{"name": "title", "dataType": ["text"]}, {"name": "WrittenBy", "dataType": ["Author", "Group"]}]
    found = parse_collection({"class": "A", "properties": properties})
    assert found.properties == {"title": Property("title", "text")}
    assert found.references == {"writtenBy": ("Author", "Group")}


def test_nested_properties_of_nested_properties() -> None:
    leaf = {"name": "city", "dataType": ["text"]}
    inner = {"name": "address", "dataType": ["object[]"], "nestedProperties": [leaf]}
    found = parse_collection({"class": "A", "properties": [{"name": "owner", "dataType": ["object"], "nestedProperties": [inner]}]})
    assert found.properties["owner"] == Property("owner", "object", (Property("address", "object[]", (Property("city", "text"),)),))


def test_names_are_as_weaviate_stores_them() -> None:
    found = parse_collection({"class": "article", "properties": [{"name": "Title", "dataType": ["text"]}]})
    assert (found.name, list(found.properties)) == ("Article", ["title"])


@pytest.mark.parametrize(
    ("tenancy", "expected"),
    [
        (None, (False, False, False)),
        ({"enabled": True}, (True, False, False)),
        ({"enabled": True, "autoTenantCreation": True, "autoTenantActivation": True}, (True, True, True)),
    ],
)
def test_tenancy(tenancy: dict[str, bool] | None, expected: tuple[bool, bool, bool]) -> None:
    found = parse_collection({"class": "A", "multiTenancyConfig": tenancy})
    assert (found.multi_tenant, found.auto_tenant_creation, found.auto_tenant_activation) == expected


def test_definition_is_kept_verbatim() -> None:
    definition = {"class": "a", "unheardOf": {"x": [1]}}
    assert parse_collection(definition).definition == {"class": "a", "unheardOf": {"x": [1]}}


@pytest.mark.parametrize(
    ("word", "scalar", "is_list"), [("string", "text", False), ("string[]", "text", True), ("int[]", "int", True), ("blob", "blob", False)]
)
def test_data_type_words(word: str, scalar: str, is_list: bool) -> None:
    prop = Property("p", word)
    assert (prop.scalar, prop.is_list) == (scalar, is_list)


@pytest.mark.parametrize("definition", [{}, {"class": None}, {"properties": [], "vectorizer": "none"}])
def test_definition_without_a_name_is_refused(definition: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="needs the key 'class'"):
        parse_collection(definition)


def test_file_with_one_class() -> None:
    assert definition_in('{"class": "Product", "vectorizer": "none"}', "Product", "p.json") == {"class": "Product", "vectorizer": "none"}


def test_file_with_several_classes() -> None:
    text = json.dumps({"classes": [{"class": "Author"}, {"class": "Product", "description": "d"}]})
    assert definition_in(text, "product", "p.json")["description"] == "d"


def test_file_that_lacks_the_class_names_what_it_has() -> None:
    with pytest.raises(JobError, match=r"p\.json defines no class 'Product'; it has Author, Shop"):
        definition_in('{"classes": [{"class": "Author"}, {"class": "Shop"}]}', "Product", "p.json")


@pytest.mark.parametrize("text", ["", "{", "class: Product"])
def test_file_that_is_no_json(text: str) -> None:
    with pytest.raises(JobError, match=r"target\.create: p\.json is no JSON"):
        definition_in(text, "Product", "p.json")


@pytest.mark.parametrize(
    "text", ["[]", "1", "null", '"Product"', '{"classes": ["Product"]}', '{"classes": []}', '{"classes": null}', '{"classes": 3}']
)
def test_file_with_other_json_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="defines no class 'Product'"):
        definition_in(text, "Product", "p.json")


@pytest.mark.parametrize(
    "prop", [{"dataType": ["text"]}, {"name": "title"}, {"name": "title", "dataType": []}, {"name": "title", "dataType": "text"}, "title"]
)
def test_broken_property_is_refused(prop: Any) -> None:
    with pytest.raises(JobError, match="propert"):
        parse_collection({"class": "A", "properties": [prop]})


def test_names_inside_objects_keep_their_first_letter() -> None:
    """Seen on a real server: it lower-cases the names of properties, not those inside of objects."""
    nested = [
        {"name": "Street", "dataType": ["text"]},
        {"name": "In", "dataType": ["object"], "nestedProperties": [{"name": "X", "dataType": ["int"]}]},
    ]
    found = parse_collection({"class": "A", "properties": [{"name": "Owner", "dataType": ["object"], "nestedProperties": nested}]})
    assert found.properties["owner"].nested == (Property("Street", "text"), Property("In", "object", (Property("X", "int"),)))


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ({"vectorConfig": [None]}, "class.vectorConfig is [None]; expected a mapping"),
        ({"vectorConfig": {"v": {"vectorizer": "none"}}}, "class.vectorConfig.v.vectorizer is 'none'; expected a mapping"),
        ({"vectorizer": {}}, "class.vectorizer is {}; expected a text"),
        ({"moduleConfig": {"m": {"textFields": [1]}}}, "class.moduleConfig.m.textFields[0] is 1; expected a text"),
        ({"multiTenancyConfig": True}, "class.multiTenancyConfig is True; expected a mapping"),
    ],
)
def test_file_with_a_definition_of_another_shape_is_refused(part: dict[str, Any], fault: str) -> None:
    with pytest.raises(JobError) as caught:
        definition_in(json.dumps({"class": "A"} | part), "A", "p.json")
    assert caught.value.faults == (f"target.create: p.json: {fault}",)
