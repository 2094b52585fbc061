"""An object's fields to what is encoded."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.compose import MEDIA, Parts, compose
from schemas.columns import CHUNK
from schemas.job import VectorSpec


def spec(**fields: Any) -> VectorSpec:
    return VectorSpec.model_validate({"model": {"fake": 4}, **fields})


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def rows(part: Parts) -> list[tuple[int, Any, float]]:
    """(row, value, weight) of each part."""
    return list(zip(part.owner.tolist(), part.values, [round(w, 4) for w in part.weights.tolist()], strict=True))


def test_list_of_fields_is_one_text_in_the_given_order() -> None:
    (part,) = compose(batch(title=["t"], body=["b"]), spec(text_fields=["body", "title"]))
    assert rows(part) == [(0, "b\nt", 1.0)]
    assert part.modality == "text"


@pytest.mark.parametrize("blank", [None, "", " ", "\n\t\u3000"])
def test_blank_field_leaves_no_empty_line(blank: str | None) -> None:
    (part,) = compose(batch(title=pa.array([blank, "t"]), body=["b", "b"]), spec(text_fields=["title", "body"]))
    assert rows(part) == [(0, "b", 1.0), (1, "t\nb", 1.0)]


def test_row_without_any_text_has_no_part() -> None:
    (part,) = compose(batch(title=pa.array([None, "t", " "])), spec(text_fields=["title"]))
    assert rows(part) == [(1, "t", 1.0)]


def test_column_without_any_text_has_no_parts() -> None:
    assert compose(batch(title=pa.array([None, ""])), spec(text_fields=["title"])) == []


def test_map_of_fields_is_one_part_a_field_in_row_order() -> None:
    (part,) = compose(batch(title=["t0", "t1"], body=pa.array([None, "b1"])), spec(text_fields={"title": 0.25, "body": 0.75}))
    assert rows(part) == [(0, "t0", 0.25), (1, "t1", 0.25), (1, "b1", 0.75)]


def test_field_of_weight_zero_is_not_encoded() -> None:
    (part,) = compose(batch(title=["t"], body=["b"]), spec(text_fields={"title": 0, "body": 1}))
    assert rows(part) == [(0, "b", 1.0)]


def test_texts_and_images_are_parts_apart() -> None:
    text, image = compose(batch(title=["t"], photo=[b"png"]), spec(text_fields={"title": 0.25}, image_fields={"photo": 0.75}))
    assert (text.modality, rows(text)) == ("text", [(0, "t", 0.25)])
    assert (image.modality, rows(image)) == ("image", [(0, b"png", 0.75)])


def test_images_in_a_list_are_encoded_apart() -> None:
    (part,) = compose(batch(front=[b"f"], back=[b"b"]), spec(image_fields=["front", "back"]))
    assert rows(part) == [(0, b"f", 1.0), (0, b"b", 1.0)]


def test_fetched_bytes_go_before_their_uri() -> None:
    (part,) = compose(batch(photo=["s3://x", "s3://y"], **{MEDIA + "photo": pa.array([b"png", None])}), spec(image_fields=["photo"]))
    assert rows(part) == [(0, b"png", 1.0)]


def test_field_that_the_batch_lacks_is_absent() -> None:
    (part,) = compose(batch(title=["t"]), spec(text_fields=["title", "body"], image_fields=["photo"]))
    assert rows(part) == [(0, "t", 1.0)]


@pytest.mark.parametrize(("value", "text"), [(["a", None, "b"], "a\nb"), (7, "7"), (0.5, "0.5"), (True, "True")])
def test_other_types_are_written_as_text(value: Any, text: str) -> None:
    (part,) = compose(batch(field=[value]), spec(text_fields=["field"]))
    assert part.values == [text]


def test_slices_count_rows_from_their_start() -> None:
    whole = batch(title=["t0", "t1", "t2"], photo=[b"0", b"1", b"2"])
    text, image = compose(whole.slice(1, 2), spec(text_fields=["title"], image_fields=["photo"]))
    assert rows(text) == [(0, "t1", 1.0), (1, "t2", 1.0)]
    assert rows(image) == [(0, b"1", 1.0), (1, b"2", 1.0)]


CHUNKED = {"title": ["t", "t", "u"], "body": ["b0", "b1", "c0"], CHUNK: pa.array([0, 1, 0], pa.int32())}


def test_vector_of_other_fields_stays_with_chunk_0() -> None:
    (part,) = compose(batch(**CHUNKED), spec(text_fields=["title"]), chunked="body")
    assert rows(part) == [(0, "t", 1.0), (2, "u", 1.0)]


def test_vector_of_the_chunked_field_is_on_every_chunk() -> None:
    (part,) = compose(batch(**CHUNKED), spec(text_fields=["title", "body"]), chunked="body")
    assert part.values == ["t\nb0", "t\nb1", "u\nc0"]


def test_dtypes() -> None:
    (part,) = compose(batch(title=["t"]), spec(text_fields=["title"]))
    assert (part.owner.dtype, part.weights.dtype) == (np.int64, np.float32)
