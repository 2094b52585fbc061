"""Fingerprints: equal for what is equal, different for everything that changes an object or a vector, and for nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import ROW, VECTOR
from schemas.fingerprints import canonical, fingerprints, recipe
from schemas.job import VectorSpec
from schemas.models import InferenceSpec, ModelSpec, NvidiaSpec
from schemas.modules import MultiModule, TextModule

CONTENT = {"name": "files 12ab"}
SPEC = VectorSpec.model_validate({"model": "./a", "text_fields": ["title", "body"]})
MODEL: dict[str, Any] = {  # field -> a value other than the default that changes the vectors
    "prebuilt": "transformers-inference:x",
    "inference_url": InferenceSpec(url="http://a"),
    "nvidia": NvidiaSpec(model="nvidia/other"),
    "preset": "container",
    "fake": 8,
    "mode": "onnx",
    "direct": True,
    "prefixes": True,
    "dtype": "float16",
    "dimensions": 12,
    "image_decoding": "reduced",
    "trust_remote_code": True,
}
PLACES = {"name": "./b", "text": "./b", "image": "./b", "passage": "./b", "query": "./b", "imagebind": "./b", "vocabulary": "./b"}
# paths stand for content, which is digested instead
NO_MATTER = PLACES | {"revision": "v2", "device": "cuda", "backend": "openvino", "batch_tokens": 64}
VECTOR_FIELDS: dict[str, Any] = {
    "text_fields": ["body", "title"],
    "image_fields": ["photo"],
    "audio_fields": ["sound"],
    "video_fields": ["clip"],
    "imu_fields": ["motion"],
    "thermal_fields": ["warm"],
    "depth_fields": ["deep"],
    "prompts": {"document": "passage: "},
    "long_text": "mean",
    "module": TextModule("text2vec-transformers", "Article", ("title",)),
}


def changed(key: str, value: Any) -> VectorSpec:
    assert SPEC.model
    return SPEC.model_copy(update={"model": SPEC.model.model_copy(update={key: value})})


def test_every_field_of_a_model_is_known_here() -> None:
    assert set(ModelSpec.model_fields) == set(MODEL) | set(NO_MATTER)
    assert set(VectorSpec.model_fields) == set(VECTOR_FIELDS) | {"model", "column", "dimensions"}


@pytest.mark.parametrize(("key", "value"), MODEL.items())
def test_what_changes_a_vector_changes_its_recipe(key: str, value: Any) -> None:
    assert recipe("v", changed(key, value), CONTENT) != recipe("v", SPEC, CONTENT)


@pytest.mark.parametrize(("key", "value"), NO_MATTER.items())
def test_places_and_devices_do_not(key: str, value: Any) -> None:
    assert recipe("v", changed(key, value), CONTENT) == recipe("v", SPEC, CONTENT)


@pytest.mark.parametrize(("key", "value"), VECTOR_FIELDS.items())
def test_what_a_vector_reads_changes_its_recipe(key: str, value: Any) -> None:
    assert recipe("v", SPEC.model_copy(update={key: value}), CONTENT) != recipe("v", SPEC, CONTENT)


def test_weights_and_their_order_of_magnitude_count() -> None:
    made = [recipe("v", SPEC.model_copy(update={"text_fields": f}), CONTENT) for f in ({"title": 0.3}, {"title": 0.30001}, ["title"])]
    assert len(set(made)) == 3


def test_content_and_name_count() -> None:
    assert len({recipe("v", SPEC, CONTENT), recipe("w", SPEC, CONTENT), recipe("v", SPEC, {"name": "files 34cd"})}) == 3


def test_how_a_service_is_asked_does_not_count() -> None:
    one, other = (changed("nvidia", NvidiaSpec(requests_per_minute=n, api_key=k)) for n, k in ((10, "${A}"), (20, "${B}")))
    assert recipe("v", one, {}) == recipe("v", other, {})
    one, other = (changed("inference_url", InferenceSpec(url="http://a", concurrency=n, token=k)) for n, k in ((1, None), (9, "${B}")))
    assert recipe("v", one, {}) == recipe("v", other, {})


TEXT = TextModule("text2vec-transformers", "Article", ("title",), settings={"poolingStrategy": "cls", "inferenceUrl": "http://a"})
MULTI = MultiModule("multi2vec-clip", "Article", {"text": ("title",), "image": ("photo",)}, (0.3, 0.7))


@pytest.mark.parametrize(
    ("module", "change", "same"),
    [
        (TEXT, {"collection": "Other"}, False),
        (TEXT, {"fields": ("body", "title")}, False),
        (TEXT, {"class_name": False}, False),
        (TEXT, {"source": True}, False),
        (TEXT, {"named": frozenset({"title"})}, False),
        (TEXT, {"lower": True}, False),
        (TEXT, {"settings": {"poolingStrategy": "masked_mean", "inferenceUrl": "http://a"}}, False),
        (TEXT, {"settings": {"poolingStrategy": "cls", "inferenceUrl": "http://b"}}, True),
        (MULTI, {"weights": (0.4, 0.6)}, False),
        (MULTI, {"by_modality": {"text": ("title",), "image": ("cover",)}}, False),
    ],
)
def test_a_modules_settings(module: Any, change: dict[str, Any], same: bool) -> None:
    before, after = (recipe("v", SPEC.model_copy(update={"module": m}), CONTENT) for m in (module, replace(module, **change)))
    assert (before == after) is same


ROWS = st.fixed_dictionaries(
    {
        "title": st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
        "body": st.none() | st.sampled_from(["a", "b"]),
        "count": st.none() | st.integers(-5, 5),
        "price": st.none() | st.floats(-1, 1),
        "on": st.none() | st.booleans(),
        "tags": st.none() | st.lists(st.text(st.characters(codec="ascii"), max_size=3), max_size=2),
        "detail": st.none()
        | st.fixed_dictionaries({"n": st.none() | st.integers(0, 3), "s": st.none() | st.text(max_size=2).filter(str.isascii)}),
        "raw": st.none() | st.binary(max_size=4),
    }
)
SCHEMA = pa.schema(
    {
        "title": pa.string(),
        "body": pa.string(),
        "count": pa.int64(),
        "price": pa.float64(),
        "on": pa.bool_(),
        "tags": pa.list_(pa.string()),
        "detail": pa.struct({"n": pa.int64(), "s": pa.string()}),
        "raw": pa.binary(),
    }
)


def without_nulls(value: Any) -> Any:
    return sorted((k, without_nulls(v)) for k, v in value.items() if v is not None) if isinstance(value, dict) else value


def prints(rows: list[dict[str, Any]], names: list[str] | None = None) -> list[list[bytes]]:
    table = pa.Table.from_pylist(rows, SCHEMA).select(names or SCHEMA.names)
    batch = table.append_column(ROW, pa.array(range(len(rows)), pa.int64())).combine_chunks().to_batches()[0]
    return fingerprints(batch, {"v": SPEC}, {"v": recipe("v", SPEC, CONTENT)})


@settings(max_examples=300, deadline=None)
@given(ROWS, ROWS)
def test_equal_rows_equal_fingerprints_and_only_these(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = prints([one, other])
    same = repr(without_nulls(one)) == repr(without_nulls(other))
    assert (found[0][0] == found[1][0]) is same
    reads = [(r["title"], r["body"]) for r in (one, other)]
    assert (found[0][1] == found[1][1]) is (reads[0] == reads[1])


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=5), st.permutations(SCHEMA.names))
def test_neither_neighbours_nor_the_order_of_columns_count(rows: list[dict[str, Any]], names: list[str]) -> None:
    together = prints(rows, names)
    assert together == [prints([row])[0] for row in rows]


def test_absent_and_null_are_the_same_and_values_do_not_run_together() -> None:
    one = {"title": "ab", "body": None}
    assert prints([one]) == prints([one], ["title", "count"])
    assert prints([{"title": "a", "body": "bc"}]) != prints([{"title": "ab", "body": "c"}])


def test_a_precomputed_vector_counts_by_its_numbers() -> None:
    spec = VectorSpec.model_validate({"column": "embedding"})
    numbers = pa.FixedSizeListArray.from_arrays(pa.array(np.array([1, 2, 1, 2, 1, 3], np.float32)), 2)
    batch = pa.RecordBatch.from_pydict({"title": ["a", "b", "c"], VECTOR + "v": numbers})
    found = [p[1] for p in fingerprints(batch, {"v": spec}, {"v": recipe("v", spec, {})})]
    assert found[0] == found[1] != found[2]


def test_the_written_bytes_stay_as_they_are() -> None:
    """Stored fingerprints outlive this code: whoever changes them changes VERSION."""
    row = {"title": "ä", "count": -2, "price": 0.5, "on": True, "tags": ["x"], "detail": {"n": 1, "s": None}, "raw": b"\x00"}
    assert canonical(pa.array([{"b": [1.5, None], "a": None}])) == [b'{"b":[1.5,null]}']
    assert prints([row])[0][0].hex() == EXPECTED


EXPECTED = "6e41286bc1ba204dbe469365e0a2c303"
