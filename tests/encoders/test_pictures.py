"""Pictures beside the model: the same pixels and vectors as the library's own, in any batches, with any faults between."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from encoders.clip_pixels import ClipPixels
from encoders.clip_vision import ClipVision, lean_clip
from encoders.pictures import encode_pictures, plan_pictures
from encoders.timing import timings
from encoders.towers import load_tower
from schemas.models import ModelSpec
from tests.encoders.tiny_models import tiny_clip, tiny_sentence_clip, tiny_text_model


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def small_clip(activation: str = "quick_gelu", layers: int = 3) -> Any:
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 2, "hidden_act": activation}
    config = CLIPConfig(vision_config={**vision, "image_size": 32, "patch_size": 8, "initializer_factor": 5.0}, projection_dim=16)
    return CLIPModel(config).eval()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([(32, 32, 32), (36, 32, 30), (33, 31, 33)]), st.sampled_from([2, 3]))
@settings(max_examples=100, deadline=None)
def test_pixels_are_those_of_the_processor_bit_by_bit(width: int, height: int, sizes: tuple[int, int, int], resample: int) -> None:
    edge, high, wide = sizes
    size = {"size": {"shortest_edge": edge}, "crop_size": {"height": high, "width": wide}}
    processor = CLIPImageProcessorPil(**size, resample=resample)
    image = noise(width, height, width * height)
    assert np.array_equal(ClipPixels(processor)(image), processor(images=[image])["pixel_values"][0])


@pytest.mark.parametrize(
    "odd", [{"do_normalize": False}, {"size": {"height": 32, "width": 32}}, {"crop_size": {"height": 40, "width": 40}}, {"do_pad": True}]
)
def test_a_processor_with_other_steps_is_left_alone(odd: dict[str, Any]) -> None:
    usual = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    with pytest.raises(ValueError, match=r"other steps|from an edge"):
        ClipPixels(CLIPImageProcessorPil(**{**usual, **odd}))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_lean_tower_gives_the_models_own_vectors(activation: str, layers: int) -> None:
    model = small_clip(activation, layers)
    pixels = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        before = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
        found = ClipVision(model)(pixels).numpy()
        after = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
    assert np.allclose(found, before, rtol=1e-4, atol=1e-5)
    assert np.allclose(after, before, rtol=1e-6, atol=1e-6)  # the model's weights are where they were


def test_another_activation_or_dtype_is_left_to_the_library() -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    for model in (small_clip("relu"), small_clip().half(), small_clip().train(), object()):
        assert lean_clip(model, processor, lambda images: np.zeros((len(images), 16), np.float32)) is None


def test_other_vectors_than_the_models_own_are_refused() -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    assert lean_clip(small_clip(), processor, lambda images: np.ones((len(images), 16), np.float32)) is None


def test_towers_take_the_lean_way_where_there_is_one(tmp_path: Path) -> None:
    spec = ModelSpec(name="x", device="cpu")
    for folder in (tiny_clip(tmp_path / "hf"), tiny_sentence_clip(tmp_path / "st")):
        tower: Any = load_tower(str(folder), spec)
        images = [noise(40, 30), noise(33, 70), noise(32, 32)]
        assert tower._lean is not None and tower.images == 32
        assert np.allclose(tower.pictures([tower.prepare(i) for i in images]), tower._pictures(images), rtol=1e-4, atol=1e-5)
    text: Any = load_tower(str(tiny_text_model(tmp_path / "text")), spec)
    assert text._lean is None


@given(st.integers(0, 500), st.integers(1, 32), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_every_picture_is_in_one_batch_and_the_last_ones_are_small(n: int, most: int, workers: int) -> None:
    batches = plan_pictures(n, most, workers)
    assert [int(i) for batch in batches for i in batch] == list(range(n))
    assert all(1 <= len(batch) <= most for batch in batches)
    assert workers == 1 or n == 0 or len(batches[-1]) == 1


class MeanColour:
    """A model whose vector is the mean colour, on a device of that name; it runs out of memory above `room` pictures."""

    images = 4

    def __init__(self, device: str, room: int = 99) -> None:
        self.device, self.room, self.threads = device, room, set[str]()

    def prepare(self, image: Image.Image) -> Any:
        self.threads.add(threading.current_thread().name.split("_")[0])
        return np.asarray(image, np.float32).mean((0, 1))

    def pictures(self, images: Sequence[Any]) -> np.ndarray:
        if len(images) > self.room:
            raise RuntimeError("CUDA out of memory")
        return np.stack(images)


@pytest.mark.parametrize(("device", "thread"), [("cpu", "core"), ("cuda", "decode")])
@pytest.mark.parametrize("room", [1, 3, 99])
def test_rows_errors_and_progress_belong_to_their_files(device: str, thread: str, room: int) -> None:
    pictures = [noise(8, 8, i) for i in range(23)]
    files = [b"no picture" if i % 5 == 2 else png(p) for i, p in enumerate(pictures)]
    out, done, model = np.full((23, 3), -1, np.float32), [], MeanColour(device, room)
    with timings() as heard:
        errors = encode_pictures(files, model, out, done.append)
    broken = {i for i in range(23) if i % 5 == 2}
    assert errors.keys() == broken and {e.code for e in errors.values()} == {"image_unreadable"}
    for i, picture in enumerate(pictures):
        assert np.isnan(out[i]).all() if i in broken else np.allclose(out[i], np.asarray(picture, np.float32).mean((0, 1)))
    assert sum(done) == 23 and model.threads == {thread} and heard["decode"] > 0


def test_no_files_are_no_work() -> None:
    assert encode_pictures([], MeanColour("cpu"), np.empty((0, 3), np.float32), print) == {}


def test_a_fault_of_the_model_is_raised() -> None:
    class Broken(MeanColour):
        def pictures(self, images: Sequence[Any]) -> np.ndarray:
            raise RuntimeError("the model is broken")

    for device in ("cpu", "cuda"):
        with pytest.raises(RuntimeError, match="the model is broken"):
            encode_pictures([png(noise(8, 8))] * 9, Broken(device), np.empty((9, 3), np.float32), print)
