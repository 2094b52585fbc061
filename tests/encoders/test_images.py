"""Images: how each kind of file is treated, and that broken bytes are always a RowError."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.images import FORMATS, open_image, open_images
from schemas.errors import RowError


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """`image` as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Image.Image:
    """A picture of repeatable noise."""
    pixels = np.random.default_rng(5).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


WHOLE = {kind: saved(noise(), kind, **({"lossless": True} if kind == "WEBP" else {})) for kind in FORMATS}


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    assert np.array_equal(pixels(open_image(WHOLE[kind])), np.asarray(noise()))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = noise(mode)
    assert np.array_equal(pixels(open_image(saved(image, "TIFF"))), pixels(image.convert("RGB")))


def test_a_jpeg_stores_ycbcr_and_gives_rgb() -> None:
    got = pixels(open_image(saved(Image.new("YCbCr", (16, 16), (76, 85, 255)), "JPEG")))
    assert np.abs(got - [254, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    turns = {1: 0, 3: 2, 6: 3, 8: 1}  # counter-clockwise quarter turns
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = pixels(open_image(saved(noise(), "PNG", exif=exif)))
    base = np.asarray(noise()).astype(int)
    flips = {2: base[:, ::-1], 4: base[::-1], 5: base.transpose(1, 0, 2), 7: base[::-1, ::-1].transpose(1, 0, 2)}
    want = flips[orientation] if orientation in flips else np.rot90(base, turns[orientation])
    assert np.array_equal(got, want)


def test_broken_exif_does_not_cost_the_picture() -> None:
    got = open_image(saved(noise(), "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff\0"))
    assert np.array_equal(pixels(got), np.asarray(noise()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_blended_on_white(mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    image.putpixel((1, 0), (100, 100, 100, 128) if mode == "RGBA" else (100, 128))
    got = pixels(open_image(saved(image, "PNG")))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert np.abs(got[0, 1] - (100 * 128 + 255 * 127) / 255).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_transparent_palette_colour_becomes_white(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    assert pixels(open_image(saved(image, kind, transparency=0)))[0].tolist() == [[255, 255, 255], [200, 0, 0]]


@pytest.mark.parametrize(("mode", "kind"), [("I;16", "PNG"), ("I;16", "TIFF"), ("I", "TIFF")])
def test_sixteen_bit_grey_is_scaled_by_the_full_range(mode: str, kind: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]])
    image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    assert image.mode == mode
    got = pixels(open_image(saved(image, kind)))
    assert got[0, :, 0].tolist() == np.round(values[0] * 255 / 65535).astype(int).tolist()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(pixels(open_image(data))[0, 0] - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("data", [b"", b"no image at all", b"<svg/>", saved(noise(), "ICO"), saved(noise(), "PPM")])
def test_what_is_no_image_of_ours_is_unreadable(data: bytes) -> None:
    with pytest.raises(RowError) as error:
        open_image(data)
    assert error.value.code == "image_unreadable"
    assert "PNG" in error.value.reason and "0x" not in error.value.reason.replace("\\x", "")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_an_error_or_has_all_its_pixels(kind: str) -> None:
    whole, errors = pixels(open_image(WHOLE[kind])), 0
    for end in range(len(WHOLE[kind])):
        try:
            assert np.array_equal(pixels(open_image(WHOLE[kind][:end])), whole), end
        except RowError as error:
            assert error.code == "image_unreadable"
            errors += 1
    assert errors > len(WHOLE[kind]) // 2


def bomb(side: int) -> bytes:
    """A PNG of 57 bytes whose header announces `side` x `side` pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT", b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [9_700, 10_001, 30_000, 2_000_000_000])
def test_decompression_bombs_are_refused_from_the_header(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RowError) as error:
            open_image(bomb(side))
    assert error.value.code == ("image_unreadable" if side < 10_000 else "image_too_large")


def test_the_limit_can_be_set() -> None:
    assert open_image(WHOLE["PNG"], max_pixels=96).size == (12, 8)
    with pytest.raises(RowError, match="image_too_large: 12 x 8 pixels; at most 95"):
        open_image(WHOLE["PNG"], max_pixels=95)


def test_many_images_keep_their_order_and_name_the_broken_ones() -> None:
    values = [saved(Image.new("RGB", (i + 1, 3)), "PNG") for i in range(40)]
    values[7], values[20] = b"", bomb(20_000)
    before = list(warnings.filters)
    images, errors = open_images(values)
    assert {i: e.code for i, e in errors.items()} == {7: "image_unreadable", 20: "image_too_large"}
    assert [image and image.width for image in images] == [None if i in (7, 20) else i + 1 for i in range(40)]
    assert list(warnings.filters) == before
    assert open_images([]) == ([], {})


def opens_or_names_the_reason(data: bytes) -> None:
    try:
        assert open_image(data).mode == "RGB"
    except RowError as error:
        assert error.code in ("image_unreadable", "image_too_large")


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(FORMATS), keep=st.integers(0, 60))
def test_random_bytes_raise_nothing_else(data: bytes, kind: str, keep: int) -> None:
    opens_or_names_the_reason(WHOLE[kind][:keep] + data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_raise_nothing_else(data: st.DataObject) -> None:
    file = bytearray(WHOLE[data.draw(st.sampled_from(FORMATS))])
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), max_size=8)):
        file[place] = value
    opens_or_names_the_reason(bytes(file))
