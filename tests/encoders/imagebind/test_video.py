"""Video: which frames, which pixels, which crops, from files whose frames are known."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from encoders.imagebind.pictures import scaled_size
from encoders.imagebind.timeline import Timeline, frame_pairs, timed_pairs
from encoders.imagebind.video import bilinear, three_crops, video
from tests.encoders.imagebind.recordings import ramp, textured, video_file

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def greys(clips: np.ndarray) -> list[tuple[float, float]]:
    """The grey values of the first and second frame of each clip's first crop."""
    middle = clips[::3, :, :, 112, 112] * STD[:, np.newaxis] + MEAN[:, np.newaxis]
    return [tuple(pair) for pair in np.round(middle.mean(axis=1) * 255, 1).tolist()]


def plain_crops(frame: np.ndarray) -> np.ndarray:
    """Torch's interpolation and the crops, written out: (3, 3, 224, 224)."""
    import torch

    torch.set_num_threads(1)
    height, width = frame.shape[:2]
    across, down = scaled_size(width, height)
    values = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255
    scaled = torch.nn.functional.interpolate(values, size=(down, across), mode="bilinear", align_corners=False)[0].numpy()
    scaled = (scaled - MEAN[:, None, None]) / STD[:, None, None]
    long = max(across, down)
    crops = []
    for start in (0, ceil((long - 224) / 2), long - 224):
        crops.append(scaled[:, start : start + 224] if height > width else scaled[:, :, start : start + 224])
    return np.array(crops)


def test_the_measured_frames() -> None:
    assert frame_pairs(301, 30) == [(0, 59), (61, 120), (121, 180), (181, 240), (241, 300)]


@pytest.mark.parametrize(
    ("frames", "fps", "expected"),
    [
        (300, 30, [(0, 59), (60, 119), (120, 179), (180, 239), (240, 299)]),
        (20, 30, [(0, 19)] * 5),
        (1, 30, [(0, 0)] * 5),
        (60, 30, [(0, 59)] * 5),
        (3, Fraction(1, 5), [(0, 0), (1, 1), (2, 2), (2, 2), (2, 2)]),
    ],
)
def test_frames_by_number(frames: int, fps: Fraction, expected: list[tuple[int, int]]) -> None:
    assert frame_pairs(frames, fps) == expected


def test_frames_by_time() -> None:
    times = Timeline([i * 512 for i in range(300)], Fraction(1, 15360), Fraction(30), 0, 300 * 512)
    starts = [0, 48, 96, 144, 192]  # 0, 1.6, 3.2, 4.8, 6.4 s
    assert timed_pairs(times) == [(s, s + 59) for s in starts]
    late = times._replace(pts=[p + 1000 for p in times.pts], start=1000, duration=300 * 512 + 1000)
    assert timed_pairs(late) == timed_pairs(times)
    no_length = times._replace(duration=None)  # then the last frame's time: 9.967 s
    assert timed_pairs(no_length)[4] == (ceil((299 / 30 - 2) * 4 / 5 * 30), ceil(((299 / 30 - 2) * 4 / 5 + 2) * 30) - 1)


def test_a_ramp_shows_which_frames_were_taken() -> None:
    data = video_file(ramp(250, 16, 16), rate=25)
    assert greys(video(data)) == [(0, 49), (50, 99), (100, 149), (150, 199), (200, 249)]
    # the container: matroska has no track length, so the last time stamp, 9.96 s; a clip begins after 1.592 s
    assert greys(video(data, "container")) == [(0, 49), (40, 89), (80, 129), (120, 169), (160, 209)]


def test_the_container_takes_the_length_from_the_header() -> None:
    data = video_file(ramp(250, 16, 16), rate=25, codec="libx264rgb", kind="mp4", pixels="rgb24")
    assert [round(a) for a, _ in greys(video(data, "container"))] == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 50), (224, 301), (57, 227), (300, 240)])
def test_a_short_video_is_torchs_pixels(size: tuple[int, int]) -> None:
    frames = textured(12, *size)
    got = video(video_file(frames))
    assert got.shape == (15, 3, 2, 224, 224)
    assert got.dtype == np.float32
    for at, number in ((0, 0), (1, 11)):
        expected = plain_crops(frames[number])
        for clip in range(5):
            np.testing.assert_allclose(got[clip * 3 : clip * 3 + 3, :, at], expected, atol=5e-6)


@pytest.mark.parametrize(("before", "after"), [((1080, 1920), (224, 398)), ((57, 100), (224, 392)), ((224, 224), (224, 224))])
def test_bilinear_is_torchs(before: tuple[int, int], after: tuple[int, int]) -> None:
    import torch

    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    values = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    theirs = torch.nn.functional.interpolate(values, size=after, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(bilinear(pixels, *after), theirs.numpy(), atol=3e-7)


def test_crops_go_left_to_right_and_top_to_bottom() -> None:
    wide = np.zeros((224, 229, 3), np.uint8)
    wide[:, :, 0] = np.arange(229)
    columns = np.round((three_crops(wide)[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255).tolist()
    assert columns == [0, 3, 5]  # the middle one is rounded up: ceil(2.5)
    rows = np.round((three_crops(wide.transpose(1, 0, 2))[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255).tolist()
    assert rows == [0, 3, 5]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_the_rotation_flag_turns_upstream_only(rotation: int) -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:32, :48] = 255  # bright at the top left
    plain, flagged = (video_file([frame] * 8, codec="libx264", kind="mp4", pixels="yuv420p", rotation=r) for r in (0, rotation))
    assert np.array_equal(video(flagged, "container"), video(plain, "container"))
    turned = np.rot90(frame, rotation // 90)  # the flag counts counter-clockwise
    got, expected = video(flagged)[1, 0, 0], three_crops(turned)[1, 0]
    assert np.abs(got - expected).mean() < 0.1
    assert not np.allclose(video(plain), video(flagged), atol=0.5)
