"""Video files of many formats, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from encoders.imagebind import video as module
from encoders.imagebind.timeline import frame_pairs
from encoders.imagebind.video import video
from schemas.errors import RowError
from tests.encoders.imagebind.recordings import ramp, sound_file, textured, tone, video_file

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def error(data: bytes) -> str:
    with pytest.raises(RowError) as raised:
        video(data)
    assert len(raised.value.reason) > 20
    return raised.value.code


def greys(clips: np.ndarray) -> list[tuple[float, float]]:
    """The grey values of the first and second frame of each clip's first crop."""
    middle = clips[::3, :, :, 112, 112] * STD[:, np.newaxis] + MEAN[:, np.newaxis]
    return [tuple(pair) for pair in np.round(middle.mean(axis=1) * 255, 1).tolist()]


@pytest.mark.parametrize(
    ("codec", "kind", "pixels"),
    [
        ("libvpx-vp9", "webm", "yuv420p"),
        ("libvpx", "webm", "yuv420p"),
        ("libx264", "mp4", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("mpeg2video", "mpegts", "yuv420p"),
    ],
)
def test_every_container_gives_the_same_frames(codec: str, kind: str, pixels: str) -> None:
    data = video_file(ramp(100, 32, 32), rate=25, codec=codec, kind=kind, pixels=pixels)
    for preset, starts in (("upstream", [0, 12.5, 25, 37.5, 50]), ("container", [0, 10, 20, 30, 40])):
        for (first, last), start in zip(greys(video(data, preset)), starts, strict=True):
            assert abs(first - start) < 3
            assert abs(last - start - 49) < 3


def test_an_animated_gif_is_a_video() -> None:
    frames = [np.full((16, 16, 3), 255 * (i >= 50), np.uint8) for i in range(100)]
    data = video_file(frames, rate=25, codec="gif", kind="gif", pixels="rgb8")
    assert greys(video(data)) == [(0, 0), (0, 253), (0, 253), (0, 253), (253, 253)]  # a palette's white
    assert greys(video(data, "container")) == [(0, 0), (0, 253), (0, 253), (0, 253), (0, 253)]


def test_a_variable_frame_rate() -> None:
    times = [i * 20 for i in range(100)] + [2000 + i * 100 for i in range(80)]  # 2 s at 50, then 8 s at 10
    data = video_file(ramp(180, 16, 16), rate=50, times_ms=times)
    by_time = greys(video(data, "container"))
    free = (times[-1] - 2000) / 1000
    for k, (first, last) in enumerate(by_time):
        start = free * k / 5 * 1000
        shown = [i for i, t in enumerate(times) if start <= t < start + 2000]
        assert (first, last) == (shown[0], shown[-1])
    by_number = greys(video(data))
    assert by_number[0][0] == 0
    assert by_number[4][1] == 179


def test_packets_that_give_no_frame_are_not_counted() -> None:
    data = video_file(ramp(100, 32, 32), rate=25, codec="mpeg2video", kind="mpegts", pixels="yuv420p")
    late = data[: 188 * 3] + data[188 * 11 :]  # the first picture that needs no other has the value 13: 86 of 100 frames
    for (first, last), pair in zip(greys(video(late)), frame_pairs(86, 25), strict=True):
        assert abs(first - 13 - pair[0]) < 3
        assert abs(last - 13 - pair[1]) < 3


def test_a_moving_square_is_where_it_should_be() -> None:
    frames = textured(60, 224, 224)
    got = video(video_file(frames, rate=30))[0, 0]
    for at, column in ((0, 0), (1, 216)):
        bright = np.argwhere(got[at] > 1.9)
        assert bright.min(axis=0).tolist() == [4, column]
        assert bright.max(axis=0).tolist() == [11, column + 7]


def test_bad_videos_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    still = io.BytesIO()
    Image.new("RGB", (40, 30)).save(still, "PNG")
    one = io.BytesIO()
    Image.new("P", (40, 30)).save(one, "GIF")
    assert error(still.getvalue()) == "video_still"
    assert error(one.getvalue()) == "video_still"
    assert error(b"") == "video_unreadable"
    assert error(b"no video" * 100) == "video_unreadable"
    assert error(sound_file(tone(440, 1, 16000), 16000)) == "video_unreadable"
    monkeypatch.setattr(module, "MAX_FRAMES", 10)
    assert error(video_file(ramp(11))) == "media_too_long"
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    assert error(video_file(ramp(3))) == "media_too_large"


@pytest.mark.parametrize(
    ("codec", "kind", "pixels"),
    [("libvpx-vp9", "webm", "yuv420p"), ("libx264", "mp4", "yuv420p"), ("mjpeg", "avi", "yuvj420p"), ("gif", "gif", "rgb8")],
)
@pytest.mark.parametrize("share", [0.4, 0.85])
def test_a_truncated_video_is_refused(codec: str, kind: str, pixels: str, share: float) -> None:
    data = video_file(textured(75, 32, 32), rate=25, codec=codec, kind=kind, pixels=pixels)
    assert error(data[: int(len(data) * share)]) in ("media_truncated", "video_unreadable")


def test_a_video_without_frames() -> None:
    file = video_file(ramp(1), codec="libx264", kind="mp4", pixels="yuv420p")
    assert video(file).shape == (15, 3, 2, 224, 224)  # one frame is a video
    empty = file.replace(b"mdat", b"free")
    assert error(empty[: empty.index(b"free") + 4]) == "video_unreadable"
