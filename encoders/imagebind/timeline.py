"""Which frames of a video the model sees: by number (upstream) or by time stamp (container)."""

from fractions import Fraction
from math import ceil
from typing import NamedTuple

import numpy as np

Pairs = list[tuple[int, int]]

CLIPS, CLIP_S = 5, 2


class Timeline(NamedTuple):
    """When the frames of a video are shown, in `time_base` seconds, in order; and what its header says."""

    pts: list[int]
    time_base: Fraction
    fps: Fraction
    start: int
    duration: int | None


def frame_pairs(frames: int, fps: Fraction | float) -> Pairs:
    """The first and the last frame of each clip, by number, for `frames` frames at `fps`: five pairs.

    A clip in which no frame begins (under one frame in two seconds) shows the frame that follows, or the last one.
    """
    rate = float(fps)
    free = Fraction(max(frames / rate - CLIP_S, 0.0))
    starts = [free * k / (CLIPS - 1) for k in range(CLIPS)]
    ranges = [(ceil(rate * float(start)), min(ceil(rate * float(start + CLIP_S)), frames)) for start in starts]
    return [(first, last - 1) if first < last else (min(first, frames - 1),) * 2 for first, last in ranges]


def timed_pairs(times: Timeline) -> Pairs:
    """The same by time stamps, as the container does: clip k begins at k fifths of the free time."""
    base = float(times.time_base)  # in double precision, as frame numbers are
    length = (times.duration - times.start) if times.duration else times.pts[-1]
    free = Fraction(max(float(length * base) - CLIP_S, 0.0))
    pts = np.array(times.pts)
    pairs = []
    for k in range(CLIPS):
        begin, end = (times.start + ceil(float(s) / base) for s in (free * k / CLIPS, free * k / CLIPS + CLIP_S))
        first, last = np.searchsorted(pts, [begin, end])
        pairs.append((int(first), int(last) - 1) if first < last else (min(int(first), len(pts) - 1),) * 2)
    return pairs
