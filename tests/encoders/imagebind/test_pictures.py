"""Pictures: against transformers' CLIP processor and against answers computed by hand."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.imagebind.pictures import crop_offset, depth, image, scaled_size, thermal
from schemas.errors import RowError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


def stored(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


def sixteen(values: np.ndarray) -> bytes:
    return stored(Image.fromarray(values.astype(np.uint16)))


def code(read: object, data: bytes, preset: str = "upstream") -> str:
    with pytest.raises(RowError) as raised:
        read(data, preset)  # type: ignore[operator]
    return raised.value.code


def test_crop_offsets_are_rounded_half_to_even() -> None:
    assert [crop_offset(n) for n in (224, 225, 226, 227, 228, 229, 231, 233)] == [0, 0, 1, 2, 2, 2, 4, 4]


def test_the_longer_edge_is_cut_to_a_whole_number() -> None:
    assert scaled_size(640, 480) == (298, 224)
    assert scaled_size(480, 640) == (224, 298)
    assert scaled_size(300, 300) == (224, 224)
    assert scaled_size(1920, 1080) == (398, 224)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (224, 224), (100, 57), (225, 224), (224, 230), (1000, 300)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_those_of_transformers(size: tuple[int, int], channels: int) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    picture = noise(*size, channels)
    theirs = CLIPImageProcessorPil()(picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
    assert (max(scaled_size(*size)) - 224) % 4 != 3, "there transformers rounds down"
    got = image(stored(picture))
    assert got.shape == (3, 224, 224)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, theirs, atol=1e-6)


@pytest.mark.parametrize(("edge", "offset"), [(227, 2), (231, 4), (229, 2), (235, 6)])
def test_an_odd_rest_is_cropped_half_to_even(edge: int, offset: int) -> None:
    columns = np.tile(np.arange(edge, dtype=np.uint8), (224, 1))
    got = image(stored(Image.fromarray(columns)))
    assert np.round((got[0, 0] * STD[0] + MEAN[0]) * 255).tolist() == list(range(offset, offset + 224))


def test_exif_is_ignored_and_transparency_dropped() -> None:
    picture = noise(300, 240)
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = stored(picture, "JPEG", quality=95)
    assert np.array_equal(image(stored(picture, "JPEG", quality=95, exif=exif)), image(jpeg))
    seen_through = picture.copy()
    seen_through.putalpha(0)
    assert np.array_equal(image(stored(seen_through)), image(stored(picture)))
    assert np.array_equal(image(stored(picture), "container"), image(stored(picture), "upstream"))


@pytest.mark.parametrize("read", [thermal, depth])
def test_the_container_normalises_grey(read: object) -> None:
    data = stored(Image.new("L", (300, 224), 200))
    got = read(data, "container")  # type: ignore[operator]
    assert got.shape == (1, 224, 224)
    np.testing.assert_allclose(got, (200 / 255 - 0.48145466) / 0.26862954, atol=1e-6)


@pytest.mark.parametrize("read", [thermal, depth])
def test_the_container_cuts_16_bits_at_255(read: object) -> None:
    for value, seen in ((100, 100), (255, 255), (1000, 255)):
        got = read(sixteen(np.full((224, 224), value)), "container")  # type: ignore[operator]
        np.testing.assert_allclose(got, (seen / 255 - 0.48145466) / 0.26862954, atol=1e-6)


def test_the_container_makes_colours_grey() -> None:
    picture = noise(240, 230)
    expected = depth(stored(picture.convert("L")), "container")
    assert np.array_equal(depth(stored(picture), "container"), expected)
    assert np.array_equal(thermal(stored(picture), "container"), expected)


def test_upstream_thermal_is_grey_between_0_and_1() -> None:
    np.testing.assert_allclose(thermal(stored(Image.new("L", (230, 230), 51))), 0.2, atol=1e-7)
    np.testing.assert_allclose(thermal(sixteen(np.full((230, 300), 13107))), 0.2, atol=1e-6)
    np.testing.assert_allclose(thermal(stored(Image.fromarray(np.full((230, 300), 0.2, np.float32)), "TIFF")), 0.2, atol=1e-6)
    columns = Image.fromarray(np.tile(np.arange(224, dtype=np.uint8), (224, 1)))
    np.testing.assert_allclose(thermal(stored(columns))[0, 7], np.arange(224) / 255, atol=1e-7)


def test_upstream_depth_in_millimetres_is_a_disparity() -> None:
    for millimetres, metres in ((1500, 1.5), (3, 0.01), (60_000, 50)):
        got = depth(sixteen(np.full((240, 240), millimetres)))
        np.testing.assert_allclose(got, (0.06075 / metres - 0.0418) / 0.0295, rtol=1e-5)
    np.testing.assert_allclose(depth(sixteen(np.zeros((240, 240)))), -0.0418 / 0.0295, rtol=1e-6)


def test_upstream_depth_of_other_files() -> None:
    disparity = Image.fromarray(np.full((240, 240), 0.05, np.float32))
    np.testing.assert_allclose(depth(stored(disparity, "TIFF")), (0.05 - 0.0418) / 0.0295, rtol=1e-5)
    grey = noise(240, 260, 1)
    assert np.array_equal(depth(stored(grey)), depth(stored(grey), "container"))
    assert np.array_equal(depth(stored(grey.convert("RGB"))), depth(stored(grey)))
    assert np.array_equal(depth(stored(grey.convert("LA"))), depth(stored(grey)))


def test_bad_pictures_say_why() -> None:
    assert code(depth, stored(noise(240, 240))) == "depth_channels"
    assert code(depth, stored(noise(240, 240).convert("CMYK"), "TIFF")) == "depth_channels"
    broken = Image.fromarray(np.full((240, 240), np.nan, np.float32))
    for read in (depth, thermal):
        assert code(read, stored(broken, "TIFF")) == "image_unreadable"
    data = stored(noise(240, 240, 1))
    for read in (image, depth, thermal):
        for preset in ("upstream", "container"):
            assert code(read, b"", preset) == "image_unreadable"
            assert code(read, data[: len(data) // 2], preset) == "image_unreadable"
            assert code(read, b"no picture" * 20, preset) == "image_unreadable"
            assert code(read, stored(Image.new("L", (1, 1200))), preset) == "image_too_large"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([image, thermal, depth]), st.sampled_from(["upstream", "container"]))
def test_random_bytes_give_a_reason(data: bytes, read: object, preset: str) -> None:
    assert code(read, data, preset) == "image_unreadable"


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from([image, thermal, depth]),
)
def test_corrupted_pictures_give_an_array_or_a_reason(kind: str, places: list[tuple[float, int]], read: object) -> None:
    data = bytearray(stored(noise(40, 30), kind))
    for at, value in places:
        data[int(at * len(data))] = value
    try:
        assert read(bytes(data), "container").shape[1:] == (224, 224)  # type: ignore[operator]
    except RowError as error:
        assert error.code in ("image_unreadable", "image_too_large")
