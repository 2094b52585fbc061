"""OpenVINO gives what sentence-transformers gives, or is refused with a reason; int8 is made once, and the same for everyone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize

from encoders import encoder_of
from encoders.backends import openvino, quantised
from encoders.backends.calibration import TEXTS, calibration_texts
from encoders.backends.openvino import through_openvino, unfit_for_openvino
from encoders.batching import Budget
from encoders.text import TextEncoder
from schemas.errors import JobError, WorldError
from schemas.fingerprints import recipe
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from schemas.modules import TextModule
from tests.encoders.test_backends import FAMILIES, TEXT, saved

SENTENCES = ["circle of a picture", "a", "", "green " * 300, "the red square", "of the green circle , a picture"]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where int8 models of a test are kept."""
    monkeypatch.setenv("WARPBEAM_MODELS", str(tmp_path / "kept"))
    return tmp_path / "kept"


def encoder(folder: Path | str, prompts: dict[str, str] | None = None, **options: Any) -> TextEncoder:
    return TextEncoder(ModelSpec(name=str(folder), device="cpu", **({"backend": "openvino"} | options)), prompts or {})


def assert_close(found: np.ndarray, expected: np.ndarray, close: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (np.linalg.norm(found - expected, axis=1) <= close * np.linalg.norm(expected, axis=1)).all()


@pytest.mark.parametrize("family", [*(f for f in FAMILIES if f != "ModernBert"), "MPNet"])
def test_every_family_is_the_same_model(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path, family)
    ours, plain = encoder(folder), SentenceTransformer(str(folder), device="cpu")
    assert_close(ours.encode(SENTENCES).vectors, plain.encode_document(SENTENCES))
    assert ours.backend == "OpenVINO, float32"


def test_a_family_that_torch_must_pad_goes_there_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, "MPNet")
    ours, plain = encoder(folder, backend="auto"), SentenceTransformer(str(folder), device="cpu")
    assert_close(ours.encode(SENTENCES).vectors, plain.encode_document(SENTENCES))
    assert ours.backend == "OpenVINO, float32"
    assert encoder(folder, backend="torch").backend.startswith("padded by the library: ")
    monkeypatch.setitem(sys.modules, "openvino", None)
    missing = encoder(folder, backend="auto")
    assert_close(missing.encode(SENTENCES).vectors, plain.encode_document(SENTENCES))
    assert missing.backend.startswith("padded by the library: the attention of mpnet models (")
    assert 'OpenVINO is missing: pip install "warpbeam[openvino]"' in missing.backend


def test_other_families_stay_with_torch(tmp_path: Path) -> None:
    assert encoder(saved(tmp_path, "Bert"), backend="auto").backend.startswith("without padding")


def test_local_attention_which_is_nowhere_at_padding_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="backend openvino: not through OpenVINO: its vectors differ by nan"):
        _ = encoder(saved(tmp_path, "ModernBert")).model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextEncoder, SentenceTransformer]:
    folder = saved(tmp_path_factory.mktemp("bert"), "Bert", "cls", (Normalize(),))
    return encoder(folder), SentenceTransformer(str(folder), device="cpu")


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), tokens=st.integers(1, 600))
def test_any_texts_in_any_batches(bert: tuple[TextEncoder, SentenceTransformer], texts: list[str], tokens: int) -> None:
    ours, plain = bert
    ours.budget = Budget(tokens)
    result = ours.encode(texts)
    assert_close(result.vectors, plain.encode_document(texts))
    assert result.padded >= result.tokens


def test_a_prompt_that_the_mean_leaves_out_and_modules_after_the_pooling(tmp_path: Path) -> None:
    folder = saved(tmp_path, "Roberta", "mean", (Dense(32, 8), Normalize()), include_prompt=False)
    ours, plain = encoder(folder, {"document": "the red "}, dimensions=5), SentenceTransformer(str(folder), device="cpu")
    assert_close(ours.encode(SENTENCES).vectors, plain.encode(SENTENCES, prompt="the red ")[:, :5])


def test_conversion_leaves_the_torch_model_as_it_was(tmp_path: Path) -> None:
    model = SentenceTransformer(str(saved(tmp_path, "Bert")), device="cpu")
    before = model.encode(SENTENCES)
    fast, how = through_openvino(model)
    assert fast, how
    assert (model.encode(SENTENCES) == before).all()


def test_vectors_that_differ_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (SentenceTransformer(str(saved(tmp_path / family, family)), device="cpu") for family in ("Bert", "Electra"))
    convert = openvino.converted
    monkeypatch.setattr(openvino, "converted", lambda model: convert(other))
    fast, reason = through_openvino(one)
    assert fast is None
    assert reason.startswith("not through OpenVINO: its vectors differ by ")
    with pytest.raises(JobError, match=r"backend openvino: not through OpenVINO: its vectors differ by .*; without `backend`"):
        _ = encoder(tmp_path / "Bert").model


@pytest.mark.parametrize("asked", [{"backend": "openvino"}, {"backend": "auto", "dtype": "int8"}], ids=str)
def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]) -> None:
    folder = saved(tmp_path, "Bert")
    monkeypatch.setitem(sys.modules, "openvino", None)  # as Python itself marks what cannot be imported
    with pytest.raises(JobError, match=r'OpenVINO is missing: pip install "warpbeam\[openvino\]"'):
        _ = encoder(folder, **asked).model


def test_int8_says_that_nncf_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(JobError, match=r'dtype int8: NNCF is missing: pip install "warpbeam\[openvino\]"'):
        _ = encoder(saved(tmp_path, "Bert"), dtype="int8").model


def test_a_model_that_is_not_float32_on_a_cpu_is_refused(tmp_path: Path) -> None:
    model = SentenceTransformer(str(saved(tmp_path, "Bert")), device="cpu").to(torch.bfloat16)
    assert unfit_for_openvino(model) == "OpenVINO takes float32 on a CPU, and this is torch.bfloat16 on cpu: set device: cpu"


@pytest.mark.parametrize("asked", [{"backend": "openvino"}, {"dtype": "int8"}], ids=str)
def test_other_kinds_of_models_are_refused(asked: dict[str, str]) -> None:
    module = TextModule("text2vec-transformers", "C", ("title",))
    text = VectorSpec.model_validate({"model": {"name": "org/model", **asked}, "text_fields": ["title"]})
    clip = VectorSpec.model_validate({"model": {"name": "org/clip", **asked}, "text_fields": ["title"]})
    for spec in (text.model_copy(update={"module": module}), clip):
        with pytest.raises(JobError, match="is for sentence-transformers models of texts"):
            encoder_of(spec)


def test_int8_and_torch_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="leave out `backend: torch`"):
        ModelSpec(name="m", dtype="int8", backend="torch")


def test_the_backend_is_no_part_of_a_fingerprint_and_int8_is() -> None:
    recipes = {
        key: recipe("v", VectorSpec.model_validate({"model": {"name": "m", **asked}, "text_fields": ["title"]}), {"name": "files 00"})
        for key, asked in {
            "plain": {},
            "torch": {"backend": "torch"},
            "openvino": {"backend": "openvino"},
            "int8": {"dtype": "int8"},
        }.items()
    }
    assert recipes["plain"] == recipes["torch"] == recipes["openvino"]
    assert recipes["int8"] != recipes["plain"]


def test_int8_is_made_once_and_is_near_and_the_same_in_any_batches(tmp_path: Path, kept: Path) -> None:
    folder = saved(tmp_path, "Bert", "mean", (Normalize(),))
    first = encoder(folder, dtype="int8")
    found = first.encode(SENTENCES).vectors
    assert first.backend == "OpenVINO, int8"
    (model,) = kept.glob("int8-*/model.xml")
    made = model.stat().st_mtime_ns
    again = encoder(folder, dtype="int8")
    again.budget = Budget(1)  # every text alone
    assert_close(again.encode(SENTENCES).vectors, found, 5e-3)  # the way float32 rounds decides some steps of int8
    assert (encoder(folder, dtype="int8").encode(SENTENCES).vectors == found).all()
    assert model.stat().st_mtime_ns == made
    exact = SentenceTransformer(str(folder), device="cpu").encode_document(SENTENCES)
    assert 0.8 < (found * exact).sum(axis=1).min() < 0.999999, "random weights lose more than trained ones"


def test_another_model_is_quantised_anew(tmp_path: Path, kept: Path) -> None:
    for family in ("Bert", "DistilBert"):
        _ = encoder(saved(tmp_path / family, family), dtype="int8").model
    assert len(list(kept.glob("int8-*/model.xml"))) == 2


def test_int8_where_it_cannot_be_kept(tmp_path: Path, kept: Path) -> None:
    kept.write_text("no folder")
    with pytest.raises(WorldError, match=r"cannot be kept in .*; WARPBEAM_MODELS names another folder"):
        _ = encoder(saved(tmp_path, "Bert"), dtype="int8").model


@pytest.mark.parametrize(
    ("flags", "slow"), [("flags\t: sse4_2 avx2 avx512f", True), ("flags\t: avx2 avx_vnni", False), ("Features : asimd i8mm", False)]
)
def test_int8_is_refused_where_it_is_slow(tmp_path: Path, flags: str, slow: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert bool(quantised._slow(tmp_path / "cpuinfo")) is slow
    assert not quantised._slow(tmp_path / "missing")


def test_calibration_texts_are_many_and_of_all_lengths() -> None:
    texts = calibration_texts()
    assert 0.9 * TEXTS < len(set(texts)) == len(texts)
    assert min(map(len, texts)) < 40
    assert max(map(len, texts)) > 1200


def test_nothing_is_told_to_anybody(tmp_path: Path) -> None:
    code = (
        "import sys; from encoders.backends.openvino import quiet_import\n"
        "with quiet_import():\n    import openvino, nncf\n"
        "print(sorted(m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.iterdir()), "no client id in the home folder"
