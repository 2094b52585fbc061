"""Bytes of an image file in, an RGB picture out, the same way for every encoder.

What is done, in this order:
1. Only PNG, JPEG, GIF, WEBP, TIFF and BMP are opened: exotic decoders are a way in for attackers.
2. Of an animation or a file with several pages, the first one.
3. EXIF orientation is applied, so that a photo stands as its viewer sees it; an EXIF block that cannot be read is passed over.
4. 16-bit greyscale (Pillow's I;16 and I) becomes 8-bit by the full range: value * 255 / 65535, rounded, clipped.
   Float greyscale (F) has no agreed range and is clipped to 0..255 as it is.
5. Transparency (an alpha channel, a palette's, a colour key) is blended on white.
6. What remains (palette, greyscale, black and white, CMYK, YCbCr) becomes RGB as Pillow converts it; Lab is refused.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag

from encoders.timing import timed
from schemas.errors import RowError

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")
MAX_PIXELS = 100_000_000
MAX_RATIO = 1000  # models scale the shorter edge to theirs: one pixel by 60,000 would become 224 by 13 million
THREADS = 4  # Pillow decodes outside Python's lock; a few threads are enough to feed a model

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Treatment = Callable[[Image.Image], Image.Image]


def upright_rgb(image: Image.Image) -> Image.Image:
    """Steps 3 to 6 of the module's docstring."""
    return _rgb(_upright(image))


class Scaling(NamedTuple):
    """What a model's own processor does first: the shorter edge becomes `edge` pixels, or both do where it is `square`."""

    edge: int
    square: bool
    resample: int  # Pillow's number

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height afterwards."""
        if self.square:
            return self.edge, self.edge
        short = min(width, height)
        return int(self.edge * width / short), int(self.edge * height / short)


def reduced(scaling: Scaling) -> Treatment:
    """As `upright_rgb`, but a JPEG is decoded at a half, a quarter or an eighth where its shorter edge keeps twice the model's, and scaled.

    The decoder computes fewer points of each block of 8 x 8: other pixels, though close to those of the whole picture
    scaled down. It is scaled here, since a reduced picture ends with columns and rows that stand for fewer pixels.
    """

    def treat(image: Image.Image) -> Image.Image:
        size = image.size
        drafted = image.draft(None, (2 * scaling.edge, 2 * scaling.edge))  # None for other formats
        if drafted and image.size != size:
            image = image.resize(scaling.size(*size), Image.Resampling(scaling.resample), box=drafted[1])
        return upright_rgb(image)

    return treat


def open_image(data: bytes, max_pixels: int = MAX_PIXELS, treat: Treatment = upright_rgb) -> Image.Image:
    """The RGB image in `data`, treated as the module's docstring says, or by `treat`, which decodes it.

    Raises RowError `image_unreadable` for bytes that are no image of `FORMATS`, empty, broken or cut off, and
    `image_too_large` if the header announces more than `max_pixels` pixels, or one edge over `MAX_RATIO` times the other
    (nothing is decoded then; Pillow's own limit of some 179 million pixels holds in any case). The decoder's own error
    is the cause.
    """
    if not data:
        raise RowError("image_unreadable", f"no bytes; expected an image file ({', '.join(FORMATS)})")
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, max_pixels)
            return treat(image)
    except RowError:
        raise
    except Image.DecompressionBombError as error:
        raise RowError("image_too_large", f"{error}; at most {max_pixels} pixels are decoded") from error
    except Exception as error:  # decoders raise nearly anything on broken bytes: OSError, SyntaxError, struct.error, ...
        raise RowError("image_unreadable", _reason(data, error)) from error


def open_images(values: Sequence[bytes], treat: Treatment = upright_rgb) -> tuple[list[Image.Image | None], dict[int, RowError]]:
    """The images in `values`, in order, None where one cannot be read, and {position: why}; decoded in `THREADS` threads."""
    with timed("decode"), ThreadPoolExecutor(max_workers=THREADS) as pool:
        results = list(pool.map(lambda data: _image_or_error(data, treat), values))
    errors = {i: result for i, result in enumerate(results) if isinstance(result, RowError)}
    return [None if isinstance(result, RowError) else result for result in results], errors


def _image_or_error(data: bytes, treat: Treatment) -> Image.Image | RowError:
    try:
        return open_image(data, treat=treat)
    except RowError as error:
        return error


def _reason(data: bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its own message holds a memory address
        return f"{len(data)} bytes that start with {data[:8]!r} are no image; expected one of {', '.join(FORMATS)}"
    return f"{len(data)} bytes that start with {data[:8]!r} do not decode to the end: {type(error).__name__}: {error}"


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise RowError("image_too_large", f"{size[0]} x {size[1]} pixels; at most {max_pixels} pixels are decoded")
    if max(size) > MAX_RATIO * min(size):
        raise RowError("image_too_large", f"{size[0]} x {size[1]} pixels; one edge may be at most {MAX_RATIO} times the other")


def _upright(image: Image.Image) -> Image.Image:
    """`image`, decoded, turned by its EXIF orientation."""
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # the picture is whole, only its description is broken
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image  # a copy takes as long as decoding
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # premultiplied grey has only this way out
        image = image.convert("LA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greyscale as mode L; a transparent colour key becomes white."""
    values = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


_lock = threading.Lock()
_inside = 0
_filters = warnings.catch_warnings()


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings (its bomb limit is not ours; broken tags are no news to a user) while images are opened.

    `catch_warnings` alone is not safe in threads: whoever leaves last would restore another thread's filters. So the
    first one in saves the filters and the last one out restores them.
    """
    global _inside, _filters
    with _lock:
        _inside += 1
        if _inside == 1:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _filters.__exit__(None, None, None)
