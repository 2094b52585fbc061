"""Each distinct value is encoded once, and all rows get what is theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import encoder_of
from encoders.base import Encoding, Groups, LoadedLate
from encoders.distinct import encode_distinct
from encoders.fake import FakeEncoder
from pipelines.one_vector import vectorize_objects
from schemas.errors import RowError
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from tests.encoders.tiny_models import tiny_text_model

VALUES = st.lists(st.sampled_from(["", "red", "blue", "!bad", "!worse", "a long text that is cut"]), max_size=30)


class Choosy(FakeEncoder):
    """Refuses values that begin with `!`, cuts those over ten letters, and keeps what it was asked for."""

    def __init__(self, grouped: bool = False) -> None:
        super().__init__(ModelSpec(fake=4), {})
        self.grouped = grouped
        self.asked: list[str] = []
        self.groups: Groups | None = None

    def encode(self, values: Sequence[str | bytes], *modality: Any, **rest: Any) -> Encoding:
        self.asked, self.groups = [str(v) for v in values], rest.get("groups")
        found = super().encode(values, *modality, **rest)
        found.errors = {i: RowError("refused", v) for i, v in enumerate(self.asked) if v.startswith("!")}
        found.truncated = [i for i, v in enumerate(self.asked) if len(v) > 10]
        return found


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_the_same_as_encoding_every_value(values: list[str]) -> None:
    encoder, done = Choosy(), list[int]()
    found = encode_distinct(encoder, values, "text", done.append)
    asked = encoder.asked
    wanted = encoder.encode(values)
    assert np.array_equal(found.vectors, wanted.vectors)
    assert {i: e.reason for i, e in found.errors.items()} == {i: e.reason for i, e in wanted.errors.items()}
    assert found.truncated == wanted.truncated
    assert sorted(asked) == sorted(set(values)) and found.tokens == len(asked)
    assert sum(done) == len(values)


def test_a_model_that_looks_at_neighbours_gets_every_value() -> None:
    encoder, groups = Choosy(grouped=True), np.array([0, 0, 1])
    assert len(encode_distinct(encoder, ["red", "red", "red"], "text", groups=groups).vectors) == 3
    assert encoder.asked == ["red"] * 3 and encoder.groups is groups


def test_only_what_says_so_looks_at_neighbours() -> None:
    assert not LoadedLate().grouped and not FakeEncoder(ModelSpec(fake=4), {}).grouped
    url = {"inference_url": "http://127.0.0.1:9"}
    assert not encoder_of(VectorSpec.model_validate({"model": url, "text_fields": ["title"]})).grouped
    assert encoder_of(VectorSpec.model_validate({"model": url, "text_fields": ["title"], "image_fields": ["photo"]})).grouped


def test_a_field_with_few_values_costs_few_forward_passes(tmp_path: Path) -> None:
    folder = tiny_text_model(tmp_path / "tiny", seed=5)
    spec = VectorSpec.model_validate({"model": {"name": str(folder), "device": "cpu"}, "text_fields": {"title": 2, "colour": 1}})
    titles, colours = [f"the picture {i}" for i in range(40)], ["red", "green"] * 20
    batch = pa.record_batch({"title": titles, "colour": colours})
    encoder = encoder_of(spec)
    found = vectorize_objects(batch, spec, encoder)
    alone = sum(encoder.encode([value], "text").tokens for value in [*titles, "red", "green"])
    assert found.tokens == alone and found.column.null_count == 0
    one_by_one = [vectorize_objects(batch.slice(i, 1), spec, encoder).column.to_pylist()[0] for i in range(40)]
    assert np.allclose(found.column.to_pylist(), one_by_one, atol=1e-6)
