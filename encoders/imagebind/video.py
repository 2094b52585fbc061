"""Video for the model: five clips of two seconds, two frames each, three crops of each: fifteen clips, in numpy.

The frames that are needed are known from the packets, before anything is decoded; then frames are decoded in order, and of
each needed one only its three crops are kept.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from encoders.imagebind.pictures import MEAN, SIZE, STD, scaled_size
from encoders.imagebind.streams import check_length, opened, picture_frames, shown, stated_s
from encoders.imagebind.timeline import Pairs, Timeline, frame_pairs, timed_pairs
from encoders.images import FORMATS
from schemas.errors import RowError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Array = npt.NDArray[np.float32]

MAX_PIXELS = 36_000_000  # a frame of 8K has 33 million
MAX_RATIO = 100
MAX_S = 4 * 3600
MAX_FRAMES = 2_000_000


def video(data: bytes, preset: str = "upstream") -> Array:
    """Clip-major, crops left to right or top to bottom: (15, 3, 2, 224, 224) float32, normalised.

    upstream: frames are counted, and the rotation flag is applied. container: frames are found by their time stamps, clips
    are closer together, and the rotation flag is ignored.
    Raises RowError `video_unreadable`, `video_empty`, `video_still` (a picture), `media_truncated`, `media_too_long` or
    `media_too_large`.
    """
    _check_moving(data)
    times = _timeline(data)
    pairs = _pairs(times, preset)
    crops = _decoded(data, times, pairs, preset)
    if any(i not in crops for pair in pairs for i in pair):  # packets that give no frame: VP8's hidden ones
        times = _decoded_timeline(data, times)
        pairs = _pairs(times, preset)
        crops = _decoded(data, times, pairs, preset, by_time=False)
    return np.concatenate([np.stack([crops[first], crops[last]], axis=2) for first, last in pairs])


def _pairs(times: Timeline, preset: str) -> Pairs:
    return timed_pairs(times) if preset == "container" else frame_pairs(len(times.pts), times.fps)


def _check_moving(data: bytes) -> None:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as still:
            if getattr(still, "n_frames", 1) > 1:
                return
            size = still.size
    except Exception:  # no picture, so perhaps a video
        return
    raise RowError("video_still", f"a still picture of {size[0]} x {size[1]} pixels; expected a video")


def _track(container: InputContainer) -> VideoStream:
    """The first video track that is not a cover picture, of a size that is decoded."""
    import av

    tracks = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not tracks:
        raise RowError("video_unreadable", f"a {container.format.name} file without a video track; expected moving pictures")
    size = tracks[0].codec_context.width, tracks[0].codec_context.height
    _check_size(*size)
    return tracks[0]


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_RATIO * max(1, min(width, height)):
        limits = f"at most {MAX_PIXELS} pixels, one edge at most {MAX_RATIO} times the other"
        raise RowError("media_too_large", f"frames of {width} x {height} pixels; {limits}")


def _timeline(data: bytes) -> Timeline:
    """The video's times from its packets, without decoding."""
    with opened(data, "video") as container:
        stream = _track(container)
        packets = [(p.pts, p.duration or 0) for p in _bounded(p for p in container.demux(stream) if shown(p))]
        if not packets:
            raise RowError("video_empty", "the video track has no frames; expected at least one")
        times = _described(stream, sorted(pts for pts, _ in packets if pts is not None))
        if len(times.pts) < len(packets):  # AVI and raw streams say no times before decoding
            return _decoded_timeline(data, times)
        end = max(pts + duration for pts, duration in packets if pts is not None)
        check_length(stated_s(container, stream), float((end - min(times.pts[0], times.start)) * times.time_base))
        return _checked_length(times)


def _described(stream: VideoStream, pts: list[int]) -> Timeline:
    base = stream.time_base or Fraction(1, 1000)
    fps = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    return Timeline(pts, base, fps, stream.start_time or 0, stream.duration)


def _decoded_timeline(data: bytes, times: Timeline) -> Timeline:
    """`times` with the frames that decoding gives; a frame without a time is shown one frame after the one before."""
    pts: list[int] = []
    with opened(data, "video") as container:
        for frame in _bounded(picture_frames(container, _track(container))):
            after = pts[-1] + max(1, round(1 / (times.fps * times.time_base))) if pts else times.start
            pts.append(after if frame.pts is None else frame.pts)
    if not pts:
        raise RowError("video_empty", "no frame of the video track can be decoded; expected at least one")
    return _checked_length(times._replace(pts=sorted(pts)))


def _bounded(items: Iterator[Any]) -> Iterator[Any]:
    for number, item in enumerate(items):
        if number >= MAX_FRAMES:
            raise RowError("media_too_long", f"the video has over {MAX_FRAMES} frames; cut it into shorter ones")
        yield item


def _checked_length(times: Timeline) -> Timeline:
    if times.fps <= 0 or len(times.pts) / times.fps > MAX_S:
        raise RowError("media_too_long", f"{len(times.pts)} frames at {float(times.fps):g} a second; at most {MAX_S} s are read")
    return times


def _decoded(data: bytes, times: Timeline, pairs: Pairs, preset: str, by_time: bool | None = None) -> dict[int, Array]:
    """{number: crops (3, 3, 224, 224)} of the needed frames that decoding gives; it ends after the last one."""
    by_time = preset == "container" if by_time is None else by_time
    wanted = {times.pts[i] if by_time else i: i for pair in pairs for i in pair}
    crops: dict[int, Array] = {}
    with opened(data, "video") as container:
        for count, frame in enumerate(picture_frames(container, _track(container))):
            at = frame.pts if by_time else count
            number = None if at is None else wanted.get(at)
            if number is not None:
                crops[number] = three_crops(_pixels(frame, preset))
            if len(crops) == len(wanted):
                break
    return crops


def _pixels(frame: VideoFrame, preset: str) -> npt.NDArray[np.uint8]:
    _check_size(frame.width, frame.height)
    pixels: npt.NDArray[Any] = frame.to_ndarray(format="rgb24")
    return pixels if preset == "container" else np.rot90(pixels, frame.rotation // 90 % 4)


def three_crops(pixels: npt.NDArray[np.uint8]) -> Array:
    """Left, middle and right of a frame (height, width, 3), or top, middle and bottom of a tall one: (3, 3, 224, 224) float32."""
    height, width = pixels.shape[:2]
    across = scaled_size(width, height)
    scaled = ((bilinear(pixels, across[1], across[0]) - MEAN) / STD).transpose(2, 0, 1)
    long = max(across)
    starts: Sequence[int] = (0, ceil((long - SIZE) / 2), long - SIZE)
    if height > width:
        return np.stack([scaled[:, s : s + SIZE, :] for s in starts])
    return np.stack([scaled[:, :, s : s + SIZE] for s in starts])


def bilinear(pixels: npt.NDArray[np.uint8], height: int, width: int) -> Array:
    """`pixels` in [0, 1] at another size, without antialiasing, as `torch.nn.functional.interpolate`: (height, width, 3) float32."""
    rows = _between(pixels, 0, height)
    return _between(rows, 1, width)


def _between(pixels: npt.NDArray[Any], axis: int, size: int) -> Array:
    """`size` lines of pixels along `axis`, each between two of `pixels`; where these are bytes, [0, 1] comes out."""
    count = pixels.shape[axis]
    exact = (np.arange(size) + 0.5) * float(np.float32(count) / np.float32(size)) - 0.5
    at = np.maximum(exact.astype(np.float32), np.float32(0))  # a float32 step, rounded once: as torch has it
    low = np.minimum(at.astype(np.int64), count - 1)
    share = (at - low.astype(np.float32)).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    near, far = (_numbers(np.take(pixels, lines, axis)) for lines in (low, np.minimum(low + 1, count - 1)))
    between: Array = near * (1 - share) + far * share
    return between


def _numbers(pixels: npt.NDArray[Any]) -> Array:
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels
