"""CLIP's picture preparation in one pass: the numbers of transformers' own processor (Pillow), without its detours."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.float32]
STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")


class ClipPixels:
    """Scales the shorter edge, cuts the middle out, and looks up what each byte becomes in each channel."""

    def __init__(self, processor: Any) -> None:
        """Take the settings of `processor`. Raises ValueError where it does something else."""
        settings = processor.to_dict()
        size, crop = dict(settings["size"]), dict(settings["crop_size"])
        self.edge, self.height, self.width = (int(size.get("shortest_edge") or 0), int(crop["height"]), int(crop["width"]))
        given = {key for key, value in size.items() if value}
        if not all(settings.get(step) for step in STEPS) or settings.get("do_pad") or given != {"shortest_edge"}:
            raise ValueError(f"other steps than {', '.join(STEPS)}")
        if max(self.height, self.width) > self.edge:
            raise ValueError(f"a cut of {self.height} x {self.width} from an edge of {self.edge}")
        self.resample = Image.Resampling(int(settings["resample"]))
        self.table = _table(settings)

    def __call__(self, image: Image.Image) -> Pixels:
        """The pixels (3, height, width) float32 of an RGB image."""
        short = min(image.size)
        width, height = int(self.edge * image.width / short), int(self.edge * image.height / short)
        left, top = (width - self.width) // 2, (height - self.height) // 2
        scaled = image.resize((width, height), self.resample)  # the cut alone, by Pillow's `box`, differs here and there by rounding
        values = np.asarray(scaled)[top : top + self.height, left : left + self.width]
        pixels = np.empty((3, self.height, self.width), np.float32)
        for channel in range(3):
            np.take(self.table[channel], values[..., channel], out=pixels[channel])
        return pixels


def _table(settings: Mapping[str, Any]) -> Pixels:
    """What each byte becomes (3, 256) float32, rounded as transformers rounds it."""
    mean, std = (np.array(settings[name], np.float32)[:, None] for name in ("image_mean", "image_std"))
    scaled = (np.arange(256, dtype=np.float64) * settings["rescale_factor"]).astype(np.float32)
    return np.asarray((scaled - mean) / std, np.float32)
