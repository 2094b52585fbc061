"""Pictures for the model: photographs, thermal pictures and depth maps, with Pillow and numpy.

All are scaled by Pillow's bicubic filter so that the shorter edge is 224, and cropped in the middle with offsets rounded
half to even. EXIF orientation is ignored, and transparency dropped, as the original and the container do.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from encoders.images import open_image
from schemas.errors import RowError

Array = npt.NDArray[np.float32]

SIZE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
GREY_MEAN, GREY_STD = MEAN[0], STD[0]  # what the container takes for thermal pictures and depth maps
DISPARITY_MEAN, DISPARITY_STD = 0.0418, 0.0295
NEAREST_M, FARTHEST_M = 0.01, 50.0
CAMERA_M = 0.075 * 0.81  # baseline of a Kinect times its focal length in widths of the picture


def image(data: bytes, preset: str = "upstream") -> Array:
    """The photograph in `data`: (3, 224, 224) float32, normalised; both presets are alike.

    Raises RowError as `encoders.images.open_image` does.
    """
    pixels = np.asarray(open_image(data, treat=_fitted("RGB")), np.float32) / np.float32(255)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))


def thermal(data: bytes, preset: str = "upstream") -> Array:
    """The thermal picture in `data`: (1, 224, 224) float32.

    upstream: grey values in [0, 1] without further normalisation, as users found best; a 16-bit picture is divided by
    65535, a float one is taken as it is; colours become grey.
    container: 8-bit grey, where 16-bit values above 255 are cut to 255, normalised with the first mean and deviation of CLIP.
    Raises RowError as `open_image` does, and `image_unreadable` for NaN.
    """
    return _container_grey(data) if preset == "container" else _plane(open_image(data, treat=_fitted_grey))


def depth(data: bytes, preset: str = "upstream") -> Array:
    """The depth map in `data`: (1, 224, 224) float32.

    The original has no loader, so what a file of each kind means in `upstream` is a choice, and best effort:
    - 16-bit grey: millimetres, 0 where nothing was measured (far). Clamped to 0.01...50 m, made a disparity in widths of the
      picture by a Kinect's camera (0.06075 / metres; the scale in which indoor scenes fit the statistics), then
      (x - 0.0418) / 0.0295.
    - float grey (TIFF): a disparity in the user's own camera, normalised by the same statistics.
    - 8-bit grey: a relative disparity without a unit (near is bright), normalised as the container does.
    A colour picture is no depth map, unless its three channels are equal.
    container: any picture as `thermal` has it.
    Raises RowError `depth_channels`, and as `open_image` does, and `image_unreadable` for NaN.
    """
    if preset == "container":
        return _container_grey(data)
    grey = open_image(data, treat=_fitted_depth)
    plane = _plane(grey)
    if grey.mode == "F":
        return _normalised(plane, np.float32(DISPARITY_MEAN), np.float32(DISPARITY_STD))
    return _normalised(plane, GREY_MEAN, GREY_STD)


def _normalised(values: Array, mean: np.float32, std: np.float32) -> Array:
    normalised: Array = (values - mean) / std
    return normalised


def crop_offset(size: int) -> int:
    """Where the middle 224 of `size` begin: half of the rest, rounded half to even."""
    return round((size - SIZE) / 2)


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) after scaling: the shorter edge 224, the longer one cut to a whole number."""
    short, long = sorted((width, height))
    other = SIZE * long // short
    return (SIZE, other) if width <= height else (other, SIZE)


def _fit(image: Image.Image) -> Image.Image:
    image = image.resize(scaled_size(*image.size), Image.Resampling.BICUBIC)
    left, top = crop_offset(image.width), crop_offset(image.height)
    return image.crop((left, top, left + SIZE, top + SIZE))


def _fitted(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: _fit(image.convert(mode))


def _container_grey(data: bytes) -> Array:
    pixels = np.asarray(open_image(data, treat=_fitted("L")), np.float32) / np.float32(255)
    return _normalised(pixels[np.newaxis], GREY_MEAN, GREY_STD)


def _fitted_grey(image: Image.Image) -> Image.Image:
    """8-bit grey, or float grey for pictures with more bits: 16-bit ones in [0, 1]."""
    if image.mode.startswith("I"):
        return _fit(Image.fromarray(np.asarray(image, np.float32) / np.float32(65535)))
    return _fit(image if image.mode == "F" else image.convert("L"))


def _fitted_depth(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _fit(Image.fromarray(_disparity(np.asarray(image, np.float32) / np.float32(1000))))
    if image.mode == "F":
        return _fit(image)
    if image.mode not in ("1", "L"):
        _check_grey(image)
    return _fit(image.convert("L"))


def _disparity(metres: Array) -> Array:
    near: Array = np.float32(CAMERA_M) / np.clip(metres, np.float32(NEAREST_M), np.float32(FARTHEST_M))
    return np.where(metres > 0, near, np.float32(0))


def _check_grey(image: Image.Image) -> None:
    bands = np.asarray(image.convert("RGB"))
    if (bands != bands[..., :1]).any():
        channels = len(image.getbands())
        raise RowError(
            "depth_channels", f"a picture of mode {image.mode} with {channels} channel(s) of colour; expected one channel of grey"
        )


def _plane(grey: Image.Image) -> Array:
    values = np.asarray(grey, np.float32)
    if grey.mode == "L":
        values = values / np.float32(255)
    if not np.isfinite(values).all():
        raise RowError("image_unreadable", "the picture holds values that are NaN or infinite; expected finite numbers")
    return values[np.newaxis]
