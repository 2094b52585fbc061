"""Images, as bytes of any kind: a picture or a reason; in a process of their own, for decoders are written in C."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from encoders.images import FORMATS, open_images
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child

RANDOM = st.randoms(use_true_random=True)
MODES = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "GIF": ("P", "L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "1", "P", "CMYK", "F", "I;16", "LAB"),
    "BMP": ("RGB", "L", "1", "P"),
}
CODES = {"image_unreadable", "image_too_large"}


def codes(values: list[bytes]) -> list[str]:
    """What became of each value: the reason's code, or "" for a picture."""
    pictures, errors = open_images(values)
    assert [p is None for p in pictures] == [i in errors for i in range(len(values))]
    assert all(p is None or (p.mode == "RGB" and np.asarray(p).ndim == 3) for p in pictures)
    return [errors[i].code if i in errors else "" for i in range(len(values))]


def ask(values: list[bytes]) -> list[str]:
    tally("image", len(values))
    found: list[str] = child.ask(codes, values)
    assert len(found) == len(values) and set(found) <= CODES | {""}
    return found


def picture(r: random.Random) -> bytes:
    """A valid file of any format, mode, size and options."""
    kind = r.choice(FORMATS)
    mode, size = r.choice(MODES[kind]), (r.randrange(1, 40), r.randrange(1, 40))
    noise = Image.frombytes("RGB", size, r.randbytes(3 * size[0] * size[1]))
    image = noise if mode == "RGB" else Image.new(mode, size, 7) if mode in ("I;16", "LAB") else noise.convert(mode)
    options: dict[str, Any] = {
        "JPEG": {"progressive": r.random() < 0.5, "quality": r.randrange(1, 95)},
        "WEBP": {"lossless": r.random() < 0.5},
    }.get(kind, {})
    if kind == "TIFF" and mode in ("RGB", "L", "CMYK"):
        options = {"compression": r.choice((None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))}
    if r.random() < 0.3 and kind in ("GIF", "WEBP", "TIFF"):
        options |= {"save_all": True, "append_images": [image.copy()]}
    if r.random() < 0.3 and kind in ("PNG", "JPEG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112] = r.randrange(12)
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def damaged(data: bytes, r: random.Random) -> bytes:
    """`data` with bytes changed, a piece lost or doubled, or its end cut off."""
    made = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 8, 40))):
        made[r.randrange(min(len(made), r.choice((64, 10**9))))] = r.choice((0, 255, r.randrange(256)))
    at = r.randrange(len(made))
    match r.randrange(6):
        case 0:
            del made[at:]
        case 1:
            del made[at : at + r.randrange(1, 30)]
        case 2:
            made[at:at] = made[at : at + 50]
    return bytes(made)


@fuzz(60)
@given(RANDOM)
def test_valid_pictures_are_opened(r: random.Random) -> None:
    assert all(code == "" or b"II*" in data[:4] for data in [picture(r) for _ in range(10)] for code in ask([data]))


@fuzz(150)
@given(RANDOM)
def test_damaged_pictures(r: random.Random) -> None:
    ask([damaged(picture(r), r) for _ in range(10)])


@fuzz(500)
@given(data=st.binary(max_size=300), kind=st.sampled_from(FORMATS), keep=st.integers(0, 60), seed=st.integers(0, 99))
def test_random_bytes_behind_a_beginning(data: bytes, kind: str, keep: int, seed: int) -> None:
    r = random.Random(seed)
    ask([picture(r)[:keep] + data, data])


SIZES = st.sampled_from([0, 1, 2, 1000, 5000, 9999, 10_001, 65_535, 2**24, 2**31 - 1, 2**32 - 1])


def png(width: int, height: int, depth: int, colour: int, body: bytes) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT" + body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def announcing(kind: str, width: int, height: int) -> bytes:
    """A small file of `kind` whose header announces these sizes."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    data = bytearray(file.getvalue())
    w, h = width & 0xFFFF, height & 0xFFFF
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", w, h)
    elif kind == "BMP":
        data[18:26] = struct.pack("<II", width, height)
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", h, w)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<H", tag), 8)
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
    elif kind == "WEBP":
        data[26:30] = struct.pack("<HH", w & 0x3FFF, h & 0x3FFF)
    return bytes(data)


@fuzz(300)
@given(SIZES, SIZES, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([0, 2, 3, 4, 6]), st.sampled_from(FORMATS), st.integers(0, 3))
def test_sizes_that_are_announced(width: int, height: int, depth: int, colour: int, kind: str, level: int) -> None:
    body = zlib.compress(bytes(level * 1_000_000))
    assert ask([png(width, height, depth, colour, body)])[0] in CODES or width * height <= 100_000_000
    ask([announcing(kind, width, height)])
