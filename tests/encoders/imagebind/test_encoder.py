"""The encoder: registry, lazy parts, presets, long texts, batches that run out of memory, media as they are prepared."""

import io
import pickle
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from encoders import encoder_of, family
from encoders.imagebind import ImageBindEncoder
from encoders.imagebind.model import ImageBind
from encoders.imagebind.tokens import Tokenizer
from schemas.errors import JobError
from schemas.job import VectorSpec
from schemas.modules import MODALITIES, MultiModule
from tests.encoders.imagebind import small

LONG = " ".join(["dog"] * 90)
MODULE = MultiModule("multi2vec-bind", "Thing", {"text": ("title",)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small.make(tmp_path_factory.mktemp("imagebind"))


def spec(folder: Path, module: MultiModule | None = None, **rest: object) -> VectorSpec:
    model = {"imagebind": str(folder), "device": "cpu", **rest.pop("model", {})}  # type: ignore[dict-item]
    return VectorSpec.model_validate({"model": model, **rest}).model_copy(update={"module": module})


def encoder(folder: Path, module: MultiModule | None = None, **rest: object) -> ImageBindEncoder:
    return ImageBindEncoder(spec(folder, module, **rest))


def difference(got: np.ndarray, want: np.ndarray) -> float:
    return float((np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)).max(initial=0))


def test_the_registry_knows_it(folder: Path) -> None:
    assert family(spec(folder)) == "imagebind" and family(spec(folder, MODULE)) == "multi2vec-bind"
    for made in (encoder_of(spec(folder)), encoder_of(spec(folder, MODULE))):
        assert isinstance(made, ImageBindEncoder)
        assert made.dim == small.DIM and made.modalities == frozenset(MODALITIES)


def test_texts_are_the_models_own(folder: Path) -> None:
    texts = ["A dog.", "", "a car and a bird", LONG, "schön &amp; gut"]
    done: list[int] = []
    result = encoder(folder).encode(texts, "text", progress=done.append)
    ids = torch.from_numpy(Tokenizer()(texts).ids)
    want = ImageBind(small.config(), small.tensors()).embed("text", ids).numpy()
    assert result.vectors.dtype == np.float32 and difference(result.vectors, want) <= 1e-5
    assert result.truncated == [3] and not result.errors and sum(done) == 5
    assert 0 < result.tokens <= result.padded


def test_parts_are_loaded_when_they_are_used(folder: Path) -> None:
    model = encoder(folder)
    assert model.dim == small.DIM and not model._towers
    model.encode(["a"], "text")
    assert set(model._towers) == {"text"}
    assert model.tower("image") is model.tower("video")
    assert set(model._towers) == {"text", "vision"}


def test_it_travels_without_its_model(folder: Path) -> None:
    model = encoder(folder)
    want = model.encode(["a dog"], "text").vectors
    copy = pickle.loads(pickle.dumps(model))
    assert not copy._towers and np.array_equal(copy.encode(["a dog"], "text").vectors, want)


@pytest.mark.parametrize(
    ("module", "given", "preset"),
    [(None, None, "upstream"), (MODULE, None, "container"), (MODULE, "upstream", "upstream"), (None, "container", "container")],
)
def test_presets(folder: Path, module: MultiModule | None, given: str | None, preset: str) -> None:
    model = encoder(folder, module, model={"preset": given})
    assert model.preset == preset
    long, other, empty = model.encode([LONG, LONG.replace("dog", "cat"), ""], "text").vectors
    assert np.allclose(long, other) == (preset == "container")  # the container pools the start token: see test_tokens
    assert not np.allclose(long, empty)


def test_long_texts_can_be_refused(folder: Path) -> None:
    result = encoder(folder, long_text="fail").encode(["a", LONG], "text")
    assert result.errors[1].code == "text_too_long" and "92 tokens" in result.errors[1].reason
    assert np.isfinite(result.vectors[0]).all() and np.isnan(result.vectors[1]).all() and not result.truncated


def test_prompts_go_before_texts(folder: Path) -> None:
    prompted, plain = encoder(folder, prompts={"query": "a photo of "}), encoder(folder)
    want = plain.encode(["a photo of a dog", "a dog"], "text").vectors
    assert difference(prompted.encode(["a dog"], "text", "query").vectors, want[:1]) <= 1e-6
    assert difference(prompted.encode(["a dog"], "text").vectors, want[1:]) <= 1e-6


@pytest.mark.parametrize(
    ("module", "rest", "said"),
    [
        (None, {"model": {"dimensions": 8}}, "model.dimensions 8"),
        (None, {"long_text": "mean"}, "long_text mean"),
        (MODULE, {"prompts": {"query": "x"}}, "puts nothing before texts"),
    ],
)
def test_settings_that_it_does_not_have(folder: Path, module: MultiModule | None, rest: dict, said: str) -> None:
    with pytest.raises(JobError, match=said):
        encoder(folder, module, **rest)


def test_another_model_for_the_module_is_refused() -> None:
    other = VectorSpec.model_validate({"model": "org/name"}).model_copy(update={"module": MODULE})
    with pytest.raises(JobError, match=r"model: \{imagebind: PATH\}"):
        ImageBindEncoder(other)


def test_faults_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no"):
        _ = encoder(tmp_path / "nowhere.pth").dim
    with pytest.raises(JobError, match="has no part for smell"):
        encoder(folder).encode([b""], "smell")
    if not torch.cuda.is_available():
        with pytest.raises(JobError, match="float16 on a CPU"):
            encoder(folder, model={"dtype": "float16"}).encode(["a"], "text")


@pytest.mark.parametrize("modality", MODALITIES)
def test_nothing_gives_nothing(folder: Path, modality: str) -> None:
    assert encoder(folder).encode([], modality).vectors.shape == (0, small.DIM)


def test_a_batch_that_runs_out_of_memory_is_halved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"dog number {n}" for n in range(9)]
    model = encoder(folder)
    want, run = model.encode(texts, "text").vectors, model._forward

    def tight(modality: str, inputs: np.ndarray) -> np.ndarray:
        if len(inputs) > 2:
            raise MemoryError
        return run(modality, inputs)

    monkeypatch.setattr(model, "_forward", tight)
    assert difference(model.encode(texts, "text").vectors, want) <= 1e-6


def test_a_vector_that_is_not_finite_is_its_values_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors, path = small.tensors(), small.make(tmp_path)
    tensors["modality_preprocessors.text.token_embedding.weight"][1929] = torch.inf  # "dog"
    save_file(tensors, path / "model.safetensors")
    result = encoder(path).encode(["a dog", "a car"], "text")
    assert list(result.errors) == [0] and result.errors[0].code == "not_finite"
    assert np.isfinite(result.vectors[1]).all()


def picture(n: int, mode: str = "RGB") -> bytes:
    """A PNG of a few hundred bytes, another for each n."""
    file = io.BytesIO()
    Image.radial_gradient("L").rotate(20 * n).convert(mode).save(file, "PNG")
    return file.getvalue()


def sound(n: int) -> bytes:
    """A second of a tone, 16-bit PCM."""
    samples = 0.3 * np.sin(np.arange(16000) * (n + 1) * 0.05)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def motion(n: int) -> bytes:
    """A CSV of 300 rows of six columns."""
    rows = np.random.default_rng(n).standard_normal((300, 6))
    lines = [",".join(f"{x:.5f}" for x in row) for row in rows]
    return "\n".join(["gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z", *lines, ""]).encode()


def film(n: int) -> bytes:
    """Ten grey frames, lighter by and by."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            pixels = np.full((48, 64, 3), 20 * i + n, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    return file.getvalue()


MEDIA: dict[str, Callable[[int], bytes]] = {
    "image": picture,
    "thermal": lambda n: picture(n, "L"),
    "depth": lambda n: picture(n, "L"),
    "audio": sound,
    "imu": motion,
    "video": film,
}


@pytest.mark.parametrize("modality", MEDIA)
def test_media_go_through_their_preparation(folder: Path, monkeypatch: pytest.MonkeyPatch, modality: str) -> None:
    """Good and broken values in small batches: row i for value i, as the model gives it for the prepared value."""
    from encoders.imagebind.media import prepare

    values = [MEDIA[modality](n) for n in range(2 if modality == "video" else 5)]
    values.insert(2, b"no such file")
    model = encoder(folder)
    monkeypatch.setattr(model, "_tokens", lambda: 1500)
    done: list[int] = []
    result = model.encode(values, modality, progress=done.append)
    assert list(result.errors) == [2] and np.isnan(result.vectors[2]).all() and sum(done) == len(values)
    items = {i: item for i, item in prepare(values, modality, "upstream") if isinstance(item, np.ndarray)}
    want = ImageBind(small.config(), small.tensors()).embed(modality, torch.from_numpy(np.stack(list(items.values())))).numpy()
    assert difference(result.vectors[list(items)], want) <= 1e-5
