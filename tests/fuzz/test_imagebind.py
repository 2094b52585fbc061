"""What ImageBind decodes: random bytes and damaged files of each modality; sound and video in the decoders' own processes."""

import random

import numpy as np
import pytest

from schemas.errors import RowError
from tests.encoders.imagebind.recordings import GOOD, ramp, results, sound_file, video_file
from tests.encoders.imagebind.test_corrupted_media import SOUNDS, VIDEOS, corrupted
from tests.fuzz.amounts import few_or, tally
from tests.fuzz.test_images import picture

BATCH = 8


def originals(modality: str) -> list[bytes]:
    """Good files of `modality`, in several formats."""
    if modality == "audio":
        wave = np.random.default_rng(0).normal(0, 0.1, (2, 4800))
        return [sound_file(wave, 48000, codec, kind) for codec, kind in SOUNDS]
    if modality == "video":
        return [video_file(ramp(3, 16, 16), codec=codec, kind=kind, pixels=pixels) for codec, kind, pixels in VIDEOS]
    if modality == "imu":
        table = np.arange(60.0).reshape(10, 6)
        return [GOOD["imu"], "\n".join(",".join(map(str, row)) for row in table).encode(), b"\x93NUMPY" + bytes(200)]
    return [GOOD[modality], *(picture(random.Random(seed)) for seed in range(12))]


@pytest.mark.parametrize("modality", ["image", "thermal", "depth", "imu", "audio", "video"])
def test_damaged_files_give_an_array_or_a_reason(modality: str) -> None:
    r = random.Random()
    good, wanted = originals(modality), few_or(520)
    for preset in ("upstream", "container"):
        for _ in range(0, wanted // 2 + 1, BATCH):
            seed = r.randrange(2**32)
            source = random.Random(seed)
            values = [
                corrupted(source.choice(good), source) if source.random() < 0.8 else source.randbytes(source.randrange(300))
                for _ in range(BATCH)
            ]
            assert_known(results(values, modality, preset), f"{modality}, {preset}, seed {seed}")
            tally(f"imagebind {modality}", BATCH)


def assert_known(found: list[np.ndarray | RowError], where: str) -> None:
    """Arrays of finite numbers, or reasons; no process crashed or was too late."""
    for result in found:
        if isinstance(result, RowError):
            assert result.code not in ("decoder_crashed", "decoder_timeout") and result.reason, where
        else:
            assert np.isfinite(result).all(), where
