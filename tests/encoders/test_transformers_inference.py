"""The text2vec-transformers container offline, against what its own code answered."""

import pickle
import shutil
import threading
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import encoder_of
from encoders.base import Encoding
from encoders.container_mode import mode_of
from encoders.transformers_inference import TransformersInference
from schemas.errors import JobError, RowError
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from schemas.modules import TextModule
from tests.golden.carry import unpack
from tests.golden.models import build, names

GOLDEN = unpack("text2vec")
ONNX = [group for group in GOLDEN if "onnx" in group]
FLOAT = [group for group in GOLDEN if group not in ONNX]
TEXT = "One red fox. Two blue birds went away! And a third sentence, about the water."


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny models."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("golden")
    for name in names():
        build(name, folder)
    return folder


def inference(name: str | Path, module: dict[str, Any] | None = None, **model: Any) -> TransformersInference:
    """The encoder for a folder; `module`: the collection's settings."""
    spec = VectorSpec(
        model=ModelSpec(name=str(name), device="cpu", **model),
        module=None if module is None else TextModule("text2vec-transformers", "Doc", ("text",), settings=module),
    )
    return TransformersInference(spec)


def of_group(group: str, models: Path, minilm: str) -> TransformersInference:
    """The encoder as the container of `group` was started."""
    facts = GOLDEN[group]
    model: dict[str, Any] = {"direct": "T2V_TRANSFORMERS_DIRECT_TOKENIZE" in facts["run_env"]}
    model["prefixes"] = "USE_QUERY_PASSAGE_PREFIXES" in facts["run_env"] and "file says False" not in facts["mode"]
    if facts["mode"].startswith("ST") and "t5" not in group:  # of a T5, the folder itself says so
        model["mode"] = "sentence-transformers"
    return inference(minilm if "minilm" in group else models / facts["model"], **model)


def requests(group: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The cases by task, pooling and dimensions; what HTTP alone refuses (401, 422) is not the encoder's."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for case in GOLDEN[group]["cases"]:
        if case["status"] not in (401, 422):
            config = case["request"].get("config") or {}
            found[config.get("task_type"), config.get("pooling_strategy"), config.get("dimensions")].append(case)
    return found


def texts_of(cases: list[dict[str, Any]]) -> list[str]:
    return [case["request"]["text"] for case in cases]


def differences(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Row by row, relative to the expected row."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def assert_answers(encoding: Encoding, cases: list[dict[str, Any]], tolerance: float = 1e-5) -> None:
    """Every case has the container's vector, or its error in its own words."""
    refused = {i: case["response"]["error"] for i, case in enumerate(cases) if case["status"] != 200}
    assert {i: error.reason for i, error in encoding.errors.items()} == refused
    assert np.isnan(encoding.vectors[list(refused)]).all()
    kept = [i for i in range(len(cases)) if i not in refused]
    if kept:
        expected = np.array([cases[i]["vector"] for i in kept], np.float32)
        off = differences(encoding.vectors[kept], expected)
        assert off.max() <= tolerance, {cases[i]["id"]: float(d) for i, d in zip(kept, off, strict=True) if d > tolerance}


@pytest.mark.parametrize("group", FLOAT)
def test_the_containers_vectors_and_errors(group: str, models: Path, minilm: str) -> None:
    encoder = of_group(group, models, minilm)
    asked = requests(group)
    assert asked
    for (task, pooling, dimensions), cases in asked.items():
        assert_answers(encoder.vectorize(texts_of(cases), task, pooling, dimensions), cases)


def test_every_case_is_asked() -> None:
    """678 answers of the container: 4 are HTTP's own, 52 of quantised models."""
    asked = {group: sum(map(len, requests(group).values())) for group in GOLDEN}
    assert sum(len(g["cases"]) for g in GOLDEN.values()) == 678
    assert (sum(asked[g] for g in FLOAT), sum(asked[g] for g in ONNX)) == (622, 52)


def test_weaviate_asks_with_the_collections_settings(minilm: str) -> None:
    """Defaults are masked_mean and no dimensions; the pooling of the collection counts, its dimensions not in this mode."""
    texts = ["A red fox. It ran.", "water"]
    plain = inference(minilm)
    assert mode_of(plain.model_spec) == "huggingface"
    assert (inference(minilm, {}).encode(texts).vectors == plain.vectorize(texts, "passage", "masked_mean", None).vectors).all()
    cls = inference(minilm, {"poolingStrategy": "cls", "dimensions": 7})
    assert (cls.encode(texts).vectors == plain.vectorize(texts, "passage", "cls", None).vectors).all()
    assert cls.dim == 384


def test_a_collections_dimensions(models: Path) -> None:
    encoder = inference(models / "st-bert-prompts", {"dimensions": 8}, mode="sentence-transformers")
    found = encoder.encode(["a red fox"], role="query").vectors
    assert found.shape == (1, 8) == (1, encoder.dim)
    assert np.isclose(np.linalg.norm(found), 1)
    assert (found == encoder.vectorize(["a red fox"], "query", None, 8).vectors).all()


def test_a_dpr_pair(models: Path) -> None:
    """Objects go through the passage model, queries through the other."""
    spec = ModelSpec(passage=str(models / "dpr-context-tiny"), query=str(models / "dpr-question-tiny"), device="cpu")
    pair = TransformersInference(VectorSpec(model=spec))
    document, query = pair.encode([TEXT]).vectors, pair.encode([TEXT], role="query").vectors
    assert (document == inference(models / "dpr-context-tiny").encode([TEXT]).vectors).all()
    assert (query == inference(models / "dpr-question-tiny").encode([TEXT]).vectors).all()
    assert (document != query).any()


def test_of_a_dpr_text_the_first_sentence_counts(models: Path) -> None:
    encoder = inference(models / "dpr-context-tiny")
    whole, first = encoder.encode([TEXT, "One red fox."]).vectors
    np.testing.assert_allclose(whole * 3, first, rtol=1e-5, atol=1e-7)


SENTENCES = st.lists(
    st.sampled_from(["The water is cold.", "Who was it?", "a", "It was he and she " * 20 + "!", "日本語。", "[MASK] x.", ""])
)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(SENTENCES.map(" ".join), min_size=1, max_size=12), pooling=st.sampled_from(["masked_mean", "cls"]))
def test_neighbours_change_nothing(models: Path, texts: list[str], pooling: str) -> None:
    encoder = shared(models / "bert-tiny")
    together = encoder.vectorize(texts, "passage", pooling, None)
    for i, text in enumerate(texts):
        alone = encoder.vectorize([text], "passage", pooling, None)
        assert (i in together.errors) == bool(alone.errors)
        if not alone.errors:
            assert differences(together.vectors[[i]], alone.vectors).max() <= 1e-5


LOADED: dict[Any, TransformersInference] = {}


def shared(folder: Path, **model: Any) -> TransformersInference:
    """One encoder for all examples of a property."""
    return LOADED.setdefault((folder, *model.items()), inference(folder, **model))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(), max_size=5), task=st.sampled_from([None, "", "query", "passage"]), direct=st.booleans())
def test_any_text_has_a_vector_or_an_error(models: Path, texts: list[str], task: str | None, direct: bool) -> None:
    result = shared(models / "bert-tiny", direct=direct).vectorize(texts, task, None, None)
    assert result.vectors.shape == (len(texts), 32)
    for i, text in enumerate(texts):
        assert np.isfinite(result.vectors[i]).all() == (i not in result.errors)
        assert (i in result.errors) == (not direct and not text.split())


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(), max_size=5), name=st.sampled_from(["st-bert-prompts", "t5-tiny"]))
def test_sentence_transformers_takes_any_text(models: Path, texts: list[str], name: str) -> None:
    result = shared(models / name, mode="sentence-transformers").vectorize(texts, "passage", None, None)
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), np.ones(len(texts)), rtol=1e-5)


@pytest.mark.parametrize("texts", [[TEXT, "", TEXT, " ", "one"], ["", " "], [], ["a"] * 7])
@pytest.mark.parametrize("mode", ["huggingface", "sentence-transformers"])
def test_progress_counts_texts(models: Path, mode: str, texts: list[str]) -> None:
    done: list[int] = []
    shared(models / "bert-tiny", mode=mode).encode(texts, progress=done.append)
    assert sum(done) == len(texts)


def test_a_batch_that_runs_out_of_memory_is_halved(models: Path) -> None:
    """A real model whose forward fails above some tokens, as a device's does; the next call knows."""
    encoder = inference(models / "bert-tiny")
    texts = [f"The water is {n}." for n in range(9)]
    expected = encoder.encode(texts).vectors
    mode: Any = encoder.model

    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > 20:
            refused.append(kwargs["input_ids"].numel())
            raise RuntimeError("CUDA out of memory")

    refused: list[int] = []
    handle = mode.model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert differences(encoder.encode(texts).vectors, expected).max() <= 1e-5
    assert refused
    refused.clear()
    assert differences(encoder.encode(texts).vectors, expected).max() <= 1e-5
    assert not refused
    handle.remove()


def test_long_sentences_are_named(models: Path) -> None:
    encoder = shared(models / "bert-tiny")
    long = "water " * 500 + "."
    result = encoder.encode(["short.", "First. " + long, "it " * 498])
    assert result.truncated == [1]
    assert encoder.max_tokens is None
    assert shared(models / "bert-tiny", direct=True).max_tokens == 500
    assert shared(models / "bert-tiny", mode="sentence-transformers").encode([long + long]).truncated == [0]


def test_a_sentence_is_computed_once(models: Path) -> None:
    encoder = shared(models / "bert-tiny")
    once, often = encoder.encode([TEXT]), encoder.encode([TEXT] * 50)
    assert once.padded == often.padded > 0
    assert (often.vectors == often.vectors[0]).all()


def test_half_precision_weights_become_float32(models: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    folder = tmp_path / "half"
    shutil.copytree(models / "bert-tiny", folder)
    BertModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    mode: Any = inference(folder).model
    assert {p.dtype for p in mode.model.parameters()} == {torch.float32}


def test_it_is_made_cheaply_and_travels_without_its_model(models: Path) -> None:
    encoder = encoder_of(inference(models / "bert-tiny", {"poolingStrategy": "cls"}).spec)
    assert isinstance(encoder, TransformersInference)
    before = len(pickle.dumps(encoder))
    vectors = encoder.encode([TEXT]).vectors
    travelled = pickle.dumps(encoder)
    assert len(travelled) == before < 5000
    assert (pickle.loads(travelled).encode([TEXT]).vectors == vectors).all()


def test_threads_load_one_model(models: Path) -> None:
    encoder = inference(models / "bert-tiny")
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(encoder.model)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(mode) for mode in found}) == 1


def test_tokens_are_counted(models: Path) -> None:
    assert shared(models / "bert-tiny").count_tokens(["", "it was"]) == [2, 4]


# --- which mode


def put(folder: Path, **files: str) -> Path:
    """A folder with these files; `__` in a name is a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"config__json": '{"model_type": "bert"}'}, "huggingface"),
        ({"config__json": '{"model_type": "bert"}', "modules__json": "[]"}, "huggingface"),
        ({"config__json": '{"model_type": "t5"}'}, "sentence-transformers"),
        ({"config__json": '{"model_type": "bert"}', "model_name": "x/y"}, "sentence-transformers"),
        ({"config__json": '{"model_type": "t5"}', "onnx_runtime": "true"}, "onnx"),
        ({"config__json": '{"model_type": "bert"}', "onnx_runtime": "True\n"}, "huggingface"),
        ({"config__json": '{"model_type": "bert"}', "onnx_runtime": "false", "model_name": "x"}, "sentence-transformers"),
    ],
)
@pytest.mark.parametrize("inside", ["", "model", "models/model"])
def test_the_container_chooses_by_the_folder(tmp_path: Path, files: dict[str, str], mode: str, inside: str) -> None:
    put(tmp_path / "image" / inside, **files)
    assert mode_of(ModelSpec(name=str(tmp_path / "image"))) == mode


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ({"name": "sentence-transformers/all-MiniLM-L6-v2"}, "huggingface"),
        ({"name": "sentence-transformers/all-mpnet-base-v2"}, "sentence-transformers"),
        ({"name": "nobody/has-heard-of-it"}, "huggingface"),
        ({"name": "nobody/has-heard-of-it", "mode": "onnx"}, "onnx"),
        ({"prebuilt": "transformers-inference:sentence-transformers-all-MiniLM-L6-v2"}, "huggingface"),
        ({"prebuilt": "semitechnologies/transformers-inference:sentence-transformers-all-MiniLM-L6-v2-onnx"}, "onnx"),
        ({"prebuilt": "transformers-inference:sentence-transformers-gtr-t5-base"}, "sentence-transformers"),
    ],
)
def test_the_mode_of_a_name(model: dict[str, str], mode: str) -> None:
    assert mode_of(ModelSpec(**model)) == mode


def test_an_image_that_was_unpacked(models: Path, tmp_path: Path) -> None:
    """`model/` with the files themselves, and in the sentence-transformers mode with the hub's cache below it."""
    shutil.copytree(models / "bert-tiny", tmp_path / "hf" / "model")
    assert (inference(tmp_path / "hf").encode([TEXT]).vectors == inference(models / "bert-tiny").encode([TEXT]).vectors).all()
    put(tmp_path / "st" / "model", model_name="weaviate/st-bert-prompts")
    shutil.copytree(models / "st-bert-prompts", tmp_path / "st" / "model" / "models--weaviate--st-bert-prompts" / "snapshots" / "0a1b")
    encoder = inference(tmp_path / "st")
    assert encoder.mode == "sentence-transformers"
    expected = inference(models / "st-bert-prompts", mode="sentence-transformers").encode([TEXT], role="query").vectors
    assert (encoder.encode([TEXT], role="query").vectors == expected).all()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "x", "mode": "openclip"}, "openclip"),
        ({"name": "/no/such/folder"}, "/no/such/folder"),
        ({"prebuilt": "transformers-inference:no-such-tag"}, "no-such-tag"),
        ({"name": "x", "dimensions": 8}, "dimensions"),
        ({"text": "x", "image": "y"}, "text2vec-transformers takes one model"),
    ],
)
def test_a_job_that_is_wrong_is_told(model: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        TransformersInference(VectorSpec(model=ModelSpec(**model))).encode(["a"])


def test_a_t5_is_not_run_in_the_huggingface_mode(models: Path) -> None:
    with pytest.raises(JobError, match="sentence-transformers"):
        inference(models / "t5-tiny", mode="huggingface").encode(["a"])


def test_errors_have_a_code(models: Path) -> None:
    encoder = shared(models / "bert-tiny")
    assert encoder.vectorize(["", "a"], None, "max", None).errors[0].code == "no_sentence"
    error = encoder.vectorize(["a"], None, "max", None).errors[0]
    assert isinstance(error, RowError)
    assert (error.code, error.reason) == ("unknown_pooling", "invalid pooling method 'max'")


# --- quantised models


@pytest.fixture(scope="session")
def quantised(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bert-tiny exported and quantised here with the container's settings; not the container's exporter, so not its bytes."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx") / "quantised"
    shutil.copytree(models / "bert-tiny", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "onnx_runtime").write_text("true")
    quantise(models / "bert-tiny", folder / "model_quantized.onnx")
    return folder


class Hidden(torch.nn.Module):
    """The last hidden state alone, with arguments in the order of the exported inputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def quantise(model: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()
    inputs, ids = ["input_ids", "attention_mask", "token_type_ids"], torch.ones(2, 7, dtype=torch.long)
    exported = target.with_name("float.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own: about its age and about tracing
        torch.onnx.export(
            Hidden(bert),
            (ids, ids, ids * 0),
            str(exported),
            input_names=inputs,
            output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "rows", 1: "tokens"} for name in [*inputs, "last_hidden_state"]},
            dynamo=False,
        )
        quantize_dynamic(exported, target, weight_type=QuantType.QUInt8, per_channel=False, reduce_range=False)
    exported.unlink()


def test_a_quantised_model_is_near_the_containers(quantised: Path) -> None:
    """Not equal: another exporter makes another graph. The container's own file gives 3e-6 (checked by hand)."""
    encoder = inference(quantised)
    assert (encoder.mode, encoder.approximate, encoder.dim) == ("onnx", None, 32)
    for (task, pooling, dimensions), cases in requests("bert-tiny-onnx-avx2").items():
        assert_answers(encoder.vectorize(texts_of(cases), task, pooling, dimensions), cases, tolerance=0.02)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text() | SENTENCES.map(" ".join), min_size=1, max_size=5))
def test_a_quantised_vector_knows_no_neighbours(quantised: Path, texts: list[str]) -> None:
    encoder = shared(quantised)
    together = encoder.encode(texts)
    assert not together.errors
    alone = np.concatenate([encoder.encode([text]).vectors for text in texts])
    assert differences(together.vectors, alone).max() <= 1e-5
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), np.ones(len(texts)), rtol=1e-5)


def test_float_weights_for_a_quantised_image_are_near_and_said_to_be_so(minilm: str) -> None:
    """The genuine MiniLM against its quantised image: the cosines that `approximate` speaks of."""
    spec = ModelSpec(name=minilm, device="cpu", prebuilt="transformers-inference:sentence-transformers-all-MiniLM-L6-v2-onnx")
    encoder = TransformersInference(VectorSpec(model=spec))
    assert encoder.mode == "onnx"
    assert "quantised" in str(encoder.approximate)
    cases = [case for found in requests("minilm-onnx-avx2").values() for case in found]
    found = encoder.encode(texts_of(cases)).vectors
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(len(cases)), rtol=1e-5)
    cosines = (found * np.array([case["vector"] for case in cases], np.float32)).sum(axis=1)
    assert 0.7 < cosines.min() < 0.9 < np.median(cosines) < 0.99


def test_other_modes_are_not_approximate(models: Path) -> None:
    assert shared(models / "bert-tiny").approximate is None
    assert shared(models / "bert-tiny", mode="sentence-transformers").approximate is None


def test_an_onnx_folder_that_is_broken(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copytree(models / "bert-tiny", tmp_path / "broken")
    put(tmp_path / "broken", model_quantized__onnx="no model", onnx_runtime="true")
    with pytest.raises(JobError, match=r"model_quantized\.onnx"):
        inference(tmp_path / "broken").encode(["a"])
