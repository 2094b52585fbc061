"""`image_decoding: reduced`: large JPEGs are decoded smaller, nothing else changes, and the vectors stay close."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from encoders import encoder_of
from encoders.clip import ClipEncoder
from encoders.images import FORMATS, Scaling, open_image, reduced
from encoders.towers import load_tower
from schemas.errors import JobError, RowError
from schemas.fingerprints import recipe
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from schemas.modules import MultiModule
from tests.encoders.tiny_models import tiny_clip, tiny_sentence_clip, tiny_text_model

EDGE = 32
BICUBIC = Image.Resampling.BICUBIC
SCALING = Scaling(EDGE, False, BICUBIC)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture with a little of a sensor's noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse) + random.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    for folder in (tiny_clip(root / "hf", seed=1), tiny_sentence_clip(root / "st", seed=2)):
        usual = CLIPConfig.from_pretrained(folder)  # the tiny models' large weights make much of one grey level more or less
        usual.vision_config.initializer_factor, usual.vision_config.initializer_range = 1.0, 0.02
        CLIPModel(usual).save_pretrained(folder)
    tiny_text_model(root / "text", seed=3)
    return root


def clip(folder: Path, **spec: object) -> ClipEncoder:
    return ClipEncoder(ModelSpec.model_validate({"name": str(folder), "device": "cpu", **spec}), {})


@given(st.integers(1, 700), st.integers(1, 700), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_large_jpeg_is_near_the_whole_one_scaled_down(width: int, height: int, square: bool) -> None:
    scaling = Scaling(EDGE, square, BICUBIC)
    data = saved(photo(width, height), quality=92)
    whole, found = open_image(data), open_image(data, treat=reduced(scaling))
    if min(width, height) < 4 * EDGE:
        assert np.array_equal(np.asarray(found), np.asarray(whole))
        return
    wanted = whole.resize(scaling.size(width, height), BICUBIC)
    assert found.size == wanted.size
    assert np.abs(np.asarray(found, np.float32) - np.asarray(wanted, np.float32)).mean() < 2.5


@pytest.mark.parametrize("size", [{"shortest_edge": 32}, {"height": 32, "width": 32}])
def test_the_processor_leaves_a_scaled_picture_as_it_is(size: dict[str, int]) -> None:
    processor = CLIPImageProcessorPil(size=size, do_center_crop=False, do_normalize=False, do_rescale=False)
    for width, height in ((32, 32), (32, 71), (903, 641), (641, 1903), (3601, 3585)):
        scaled = photo(width, height).resize(Scaling(32, "height" in size, BICUBIC).size(width, height), BICUBIC)
        assert np.array_equal(processor(images=[scaled])["pixel_values"][0].transpose(1, 2, 0), np.asarray(scaled))


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"JPEG"}))
def test_other_formats_are_decoded_as_they_are(kind: str) -> None:
    data = saved(photo(600, 400), kind)
    assert np.array_equal(np.asarray(open_image(data, treat=reduced(SCALING))), np.asarray(open_image(data)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_modes_become_rgb(mode: str) -> None:
    found = open_image(saved(photo(600, 400).convert(mode)), treat=reduced(SCALING))
    assert (found.mode, found.size) == ("RGB", (48, 32))


@pytest.mark.parametrize(("width", "height"), [(600, 400), (603, 401)])
def test_a_photo_is_turned_as_before(width: int, height: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(photo(width, height), exif=exif)
    found = np.asarray(open_image(data, treat=reduced(SCALING)), np.float32)
    assert found.shape == (48, 32, 3)
    assert np.abs(found - np.asarray(open_image(data).resize((32, 48), BICUBIC), np.float32)).mean() < 2.5


def test_a_broken_or_huge_file_is_refused_as_before() -> None:
    data = saved(photo(600, 400))
    with pytest.raises(RowError, match="do not decode to the end"):
        open_image(data[: len(data) // 2], treat=reduced(SCALING))
    with pytest.raises(RowError, match="600 x 400 pixels"):
        open_image(data, max_pixels=100, treat=reduced(SCALING))


@pytest.mark.parametrize("kind", ["hf", "st"])
def test_vectors_of_large_jpegs_are_close_and_all_others_equal(models: Path, kind: str) -> None:
    assert load_tower(str(models / kind), ModelSpec(name="x", device="cpu")).scaling == SCALING
    large = [saved(photo(900 + 40 * i, 641, i), quality=90) for i in range(6)]
    others = [saved(photo(100, 90, 7)), saved(photo(900, 640, 8), "PNG"), b"no picture"]
    exact, near = (clip(models / kind, image_decoding=way).encode([*large, *others], "image") for way in ("exact", "reduced"))
    a, b = (found.vectors[:6] / np.linalg.norm(found.vectors[:6], axis=1, keepdims=True) for found in (exact, near))
    assert (a * b).sum(1).min() > 0.999
    assert np.abs(a - b).max() > 1e-6  # something did happen
    np.testing.assert_allclose(near.vectors[6:8], exact.vectors[6:8], atol=1e-6)
    assert {i: e.code for i, e in near.errors.items()} == {i: e.code for i, e in exact.errors.items()} == {8: "image_unreadable"}


def test_texts_are_not_touched(models: Path) -> None:
    exact, near = (clip(models / "hf", image_decoding=way).encode(["a red circle"], "text").vectors for way in ("exact", "reduced"))
    np.testing.assert_array_equal(exact, near)


def spec_of(**parts: object) -> VectorSpec:
    return VectorSpec.model_validate({"image_fields": ["photo"], **parts})


def test_a_module_or_another_family_refuses_it(models: Path) -> None:
    model = {"name": str(models / "hf"), "image_decoding": "reduced"}
    module = MultiModule("multi2vec-clip", "Photo", {"image": frozenset({"photo"})})
    assert isinstance(encoder_of(spec_of(model=model)), ClipEncoder)
    with pytest.raises(JobError, match="image_decoding: reduced is for CLIP models whose vectors no module"):
        encoder_of(spec_of(model=model).model_copy(update={"module": module}))
    with pytest.raises(JobError, match="image_decoding: reduced"):
        encoder_of(VectorSpec.model_validate({"model": {**model, "name": str(models / "text")}, "text_fields": ["title"]}))
    with pytest.raises(JobError, match="image_decoding: reduced"):
        encoder_of(VectorSpec.model_validate({"model": {"fake": 8, "image_decoding": "reduced"}, "image_fields": ["photo"]}))
    encoder_of(spec_of(model={**model, "image_decoding": "exact"}).model_copy(update={"module": module}))


def test_a_model_that_does_not_scale_refuses_it(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "hf", tmp_path / "fixed"))
    for path in folder.glob("*processor*config.json"):
        settings_ = json.loads(path.read_text())
        settings_.get("image_processor", settings_)["do_resize"] = False
        path.write_text(json.dumps(settings_))
    assert clip(folder).dim
    with pytest.raises(JobError, match="does not scale pictures in a way"):
        _ = clip(folder, image_decoding="reduced").dim


def test_it_is_said_and_fingerprinted(models: Path) -> None:
    assert clip(models / "hf").backend == ""
    assert clip(models / "hf", image_decoding="reduced").backend == "large JPEGs are decoded at a reduced scale"
    plain, exact, near = (
        recipe("v", spec_of(model={"name": "m", **m}), {}) for m in ({}, {"image_decoding": "exact"}, {"image_decoding": "reduced"})
    )
    assert plain == exact != near
