"""What the modes of Weaviate's multi2vec-clip container make of an opened image, each a treatment of `encoders.images`."""

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """Converted where it is not RGB (alpha dropped, EXIF orientation left); the first frame."""
    image.load()
    rgb = image.convert("RGB") if image.mode != "RGB" else image
    rgb.info.pop("transparency", None)  # a colour key survives the conversion, and transformers 5 would blend by it
    return rgb


def as_slow_processor(image: Image.Image) -> Image.Image:
    """RGB as transformers' 4.57 slow processors take it: an image 1 or 3 pixels high counts as having its channels first.

    Raises ValueError for the former, with the processor's words; the latter is read as if its rows were channels.
    """
    rgb = as_rgb(image)
    if rgb.height == 1:
        raise ValueError("mean must have 1 elements if it is an iterable, got 3")
    if rgb.height == 3:
        return Image.fromarray(np.ascontiguousarray(np.asarray(rgb).transpose(1, 2, 0)))
    return rgb


def as_stored(image: Image.Image) -> Image.Image:
    """Decoded, in its own mode: OpenCLIP scales first and converts to RGB afterwards."""
    image.load()
    return image
