"""What a run will meet in the sample, against what a run then does to the same rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoders.sharing import shared_encoder
from jobs.examine.foresight import Finding, failing_values, foresee
from pipelines.one_vector import Outcome, parts_of, vectorize_objects
from schemas.collection import Property
from schemas.job import VectorSpec
from schemas.modules import MultiModule, TextModule
from tests.golden import clip_models, models

LONG = "a red fox " * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models of the containers."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("foresight")
    models.build("bert-tiny", root)
    return clip_models.build(root)


def text_spec(folder: Path, types: dict[str, str], name: str = "bert-tiny", source: bool = False, **model: Any) -> VectorSpec:
    properties = {f: Property(f, t) for f, t in types.items()}
    module = TextModule("text2vec-transformers", "Doc", tuple(sorted(types)), class_name=False, source=source, properties=properties)
    return VectorSpec.model_validate({"model": {"name": str(folder / name), "device": "cpu", **model}, "module": module})


def multi_spec(
    folder: Path, types: dict[str, str], weights: tuple[float, ...] = (), name: str = "clip-tiny", unnamed: bool = False
) -> VectorSpec:
    properties = {f: Property(f, t) for f, t in types.items()}
    module = MultiModule("multi2vec-clip", "Doc", {"text": tuple(types)}, weights, unnamed=unnamed, properties=properties)
    return VectorSpec.model_validate({"model": {"name": str(folder / name), "device": "cpu"}, "module": module})


def batch(**columns: list[Any]) -> pa.RecordBatch:
    n = len(next(iter(columns.values())))
    return pa.RecordBatch.from_pydict({"@key": [f"k{i}" for i in range(n)], **columns})


def foreseen(objects: pa.RecordBatch, spec: VectorSpec) -> dict[str, Finding]:
    parts = parts_of(objects, spec)
    with shared_encoder(spec) as encoder:
        tokens = [n for p in parts if p.modality == "text" for n in encoder.count_tokens(p.values)]  # type: ignore[attr-defined]
        return {f.code: f for f in foresee(objects, "v", spec, encoder, parts, tokens)}


def outcome(objects: pa.RecordBatch, spec: VectorSpec) -> Outcome:
    with shared_encoder(spec) as encoder:
        return vectorize_objects(objects, spec, encoder)


def rejected(made: Outcome) -> dict[str, int]:
    codes = [code for code, _ in made.reasons.values()]
    return {code: codes.count(code) for code in codes}


def test_blank_and_empty_texts(folder: Path) -> None:
    objects = batch(title=["A fox. Two birds.", " ", "", None, "\t\n"], body=[None] * 5)
    spec = text_spec(folder, {"title": "text", "body": "text"})
    found, made = foreseen(objects, spec), outcome(objects, spec)
    # without any value the collection's name is the text, so k3 has a vector
    assert {c: (f.rows, f.of, f.key) for c, f in found.items()} == {"without_vector": (1, 5, "k2"), "no_sentence": (2, 5, "k1")}
    assert rejected(made) == {"no_sentence": 2} and made.column.null_count == 3
    assert "v: 2 of 5 rows (such as k1): nothing but white space to encode" in str(found["no_sentence"])


@pytest.mark.parametrize("model", [{"direct": True}, {"prefixes": True}, {"name": "st-text-tiny", "mode": "sentence-transformers"}])
def test_other_modes_encode_a_blank_text(folder: Path, model: dict[str, Any]) -> None:
    objects = batch(title=[" ", "x"])
    spec = text_spec(folder, {"title": "text"}, **model)
    assert foreseen(objects, spec) == {} and rejected(outcome(objects, spec)) == {}


@pytest.mark.parametrize(("source", "way"), [(False, "`skip: true`"), (True, "taking it out of `properties`")])
def test_a_blob_in_the_text(folder: Path, source: bool, way: str) -> None:
    objects = batch(title=["x", "y"], photo=pa.array([b"abc", None], pa.binary()))
    found = foreseen(objects, text_spec(folder, {"title": "text", "photo": "blob"}, source=source))
    assert found["blob_in_text"].rows == 1 and way in found["blob_in_text"].what


@pytest.mark.parametrize("name", ["clip-tiny", "st-clip-tiny"])
def test_a_text_over_clips_limit_is_refused(folder: Path, name: str) -> None:
    objects = batch(title=["x", LONG, LONG], body=["y", None, LONG])
    spec = multi_spec(folder, {"title": "text", "body": "text"}, name=name)
    found = foreseen(objects, spec)
    assert (found["text_too_long"].rows, found["text_too_long"].key) == (2, "k1")
    assert rejected(outcome(objects, spec)) == {"text_too_long": 2}


def test_a_model_that_cuts_refuses_nothing(folder: Path) -> None:
    objects = batch(title=[LONG])
    spec = multi_spec(folder, {"title": "text"}, name="openclip-tiny")
    assert foreseen(objects, spec) == {} and outcome(objects, spec).truncated == [0]


@pytest.mark.parametrize("unnamed", [False, True])
def test_an_object_without_any_field(folder: Path, unnamed: bool) -> None:
    objects = batch(title=["x", None])
    spec = multi_spec(folder, {"title": "text"}, unnamed=unnamed)
    found, made = foreseen(objects, spec), outcome(objects, spec)
    assert list(found) == ["without_vector" if unnamed else "no_fields"]
    assert rejected(made) == ({} if unnamed else {"no_fields": 1}) and made.column.null_count == 1


VALUES = st.lists(st.none() | st.lists(st.sampled_from(["x", "a red fox", LONG]), max_size=4), min_size=1, max_size=6)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(tags=VALUES, weights=st.integers(0, 3))
def test_what_is_foreseen_is_what_happens(folder: Path, tags: list[Any], weights: int) -> None:
    objects = batch(tags=pa.array(tags, pa.list_(pa.string())))
    spec = multi_spec(folder, {"tags": "text[]"}, (1.0,) * weights)
    found, made = foreseen(objects, spec), outcome(objects, spec)
    would_fail = {c: f.rows for c, f in found.items()}
    happened = {
        "text_too_long": sum(LONG in (v or []) for v in tags),
        "no_fields": sum(not v for v in tags),
        "more_vectors_than_weights": sum(len(v or []) > weights for v in tags) if weights else 0,
    }
    assert would_fail == {code: n for code, n in happened.items() if n}
    assert set(rejected(made)) <= set(would_fail)
    assert len(made.reasons) == sum(not v or LONG in v or bool(weights and len(v) > weights) for v in tags)


@few
@given(tags=VALUES)
def test_siglip_texts_that_depend_on_their_neighbours(folder: Path, tags: list[Any]) -> None:
    """Exactly the objects whose vector differs when each text is encoded alone."""
    objects = batch(tags=pa.array(tags, pa.list_(pa.string())))
    spec = multi_spec(folder, {"tags": "text[]"}, name="siglip-tiny", unnamed=True)
    found = foreseen(objects, spec).get("depends_on_neighbours")
    with shared_encoder(spec) as encoder:
        alone = [encoder.encode(v, "text").vectors.mean(axis=0) if v else None for v in tags]
    together = outcome(objects, spec).column.to_pylist()
    changed = [i for i, (a, b) in enumerate(zip(alone, together, strict=True)) if a is not None and np.abs(a - np.array(b)).max() > 1e-4]
    assert (found.rows if found else 0) == len(changed)
    assert found is None or found.key == f"k{changed[0]}"


def test_a_row_of_several_chunks_is_one_row(folder: Path) -> None:
    objects = batch(title=[" ", " ", "x"]).set_column(0, "@key", pa.array(["a", "a", "b"]))
    found = foreseen(objects, text_spec(folder, {"title": "text"}))["no_sentence"]
    assert (found.rows, found.of, found.key) == (1, 2, "a")


def test_what_only_encoding_can_tell(folder: Path) -> None:
    spec = multi_spec(folder, {"title": "text"})
    with shared_encoder(spec) as encoder:
        errors = encoder.encode(["x", b"no image", b"nor this"][1:], "image").errors
    found = failing_values(batch(title=["x", "y", "z"]), "v", spec.module, {i + 1: e for i, e in errors.items()}, [0, 1, 2, 2])
    assert [(f.code, f.rows, f.of, f.key, bool(f.weaviate)) for f in found] == [("image_unreadable", 2, 3, "k1", True)]
    native = failing_values(batch(title=["x"]), "v", None, {0: errors[0]}, [0])
    assert native[0].weaviate == "" and "Weaviate" not in str(native[0])


def test_a_native_vector_has_none_of_this(folder: Path) -> None:
    spec = VectorSpec.model_validate({"model": {"name": str(folder / "st-text-tiny"), "device": "cpu"}, "text_fields": ["title"]})
    assert foreseen(batch(title=[" ", None]), spec) == {}
