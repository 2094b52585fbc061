"""Sound for the model: three clips of two seconds as log-mel pictures, in numpy.

Decoded without a change of rate, resampled to 16 kHz by a windowed sinc (as `torchaudio.functional.resample`), cut into
clips, and turned into Kaldi's log-mel features. Only channel 0 is heard, but the mean over all channels is removed, so two
rows stand for any number of channels: channel 0 and the average of all. Both steps are linear, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil, gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.imagebind.melspectrogram import FRAME, log_mel
from encoders.imagebind.streams import check_length, opened, sound_frames, stated_s
from schemas.errors import RowError

if TYPE_CHECKING:
    from av import AudioFrame

Array = npt.NDArray[np.float32]
Wave = npt.NDArray[np.float64]  # (2, samples): channel 0, and the average of all channels

RATE = 16_000
CLIPS, CLIP_S = 3, 2
FRAMES = 204
MEAN, STD = -4.268, 9.138
RATES = range(1_000, 1_000_001)
MAX_S = 4 * 3600
KEPT_SAMPLES = 8_000_000  # of a longer sound only what the clips need is kept, in a second pass: 64 MB are held at most

_FULL_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63}


class Recording(NamedTuple):
    """A sound of `samples` samples at `rate`, of which `wave` holds those from `start` on."""

    wave: Array  # (2, n)
    rate: int
    samples: int
    start: int = 0


def audio(data: bytes, preset: str = "upstream") -> Array:
    """Three log-mel pictures of the sound in `data`: (3, 1, 128, 204) float32.

    Raises RowError `audio_unreadable`, `audio_empty`, `audio_too_short` (under 400 samples at 16 kHz), `audio_nan`,
    `media_truncated` or `media_too_long` (over four hours).
    """
    recording = read(data)
    total = -(-recording.samples * RATE // recording.rate)
    if total < FRAME:
        raise RowError("audio_too_short", f"{total} samples at 16 kHz; expected at least {FRAME} (25 ms)")
    spans = clip_spans(total, preset)
    return np.stack([picture(clip) for clip in _clips(data, recording, spans)])


def clip_spans(samples: int, preset: str) -> list[tuple[int, int]]:
    """(start, stop) of each clip, in samples at 16 kHz: evenly spread, the last one at the end (upstream) or a step before it."""
    free = Fraction(max(samples / RATE - CLIP_S, 0.0))
    starts = [free * k / (CLIPS if preset == "container" else CLIPS - 1) for k in range(CLIPS)]
    return [(int(start * RATE), min(int((start + CLIP_S) * RATE), samples)) for start in starts]


def picture(clip: Wave) -> Array:
    """The normalised log-mel picture of one clip (2, n), whose mean is removed in place: (1, 128, 204) float32."""
    clip -= clip[1].mean()
    features = log_mel(clip[0])[:FRAMES]
    padded = np.zeros((FRAMES, features.shape[1]))
    padded[: len(features)] = features
    return ((padded.T - MEAN) / STD).astype(np.float32)[np.newaxis]


def _clips(data: bytes, recording: Recording, spans: Sequence[tuple[int, int]]) -> Iterator[Wave]:
    """The clips; where they overlap, views of one array, since a later clip then sees what an earlier one subtracted."""
    if spans[1][0] < spans[0][1]:
        whole = resampled(recording, 0, spans[-1][1])
        yield from (whole[:, start:stop] for start, stop in spans)
        return
    for start, stop in spans:
        yield resampled(recording if recording.wave.size else _part(data, recording, start, stop), start, stop)


def _part(data: bytes, recording: Recording, start: int, stop: int) -> Recording:
    """`recording` with the samples that the output from `start` to `stop` needs: a second pass over a long sound."""
    margin = 2 * recording.rate // 10
    first = max(start * recording.rate // RATE - margin, 0)
    last = stop * recording.rate // RATE + margin
    blocks, at = [], 0
    for block, _ in _blocks(data):
        if at + block.shape[1] > first:
            blocks.append(block[:, max(first - at, 0) : last - at])
        at += block.shape[1]
        if at >= last:
            break
    return recording._replace(wave=np.concatenate(blocks, axis=1), start=first)


def read(data: bytes) -> Recording:
    """The sound in `data` at its own rate; `wave` is empty where it has more than `KEPT_SAMPLES` samples. Raises as `audio`."""
    kept: list[Array] = []
    samples, rate = 0, RATE
    for block, rate in _blocks(data):
        samples += block.shape[1]
        kept.append(block)
        if samples > KEPT_SAMPLES:
            kept = [np.zeros((2, 0), np.float32)]
        if samples > MAX_S * rate:
            raise RowError("media_too_long", f"the sound lasts over {MAX_S} s; cut it into shorter ones")
    if not samples:
        raise RowError("audio_empty", "the file has a sound track without samples; expected at least 25 ms")
    return Recording(np.concatenate(kept, axis=1), rate, samples)


def _blocks(data: bytes) -> Iterator[tuple[Array, int]]:
    """(rows (2, n), rate) for each frame of the first sound track."""
    with opened(data, "audio") as container:
        if not container.streams.audio:
            raise RowError("audio_unreadable", f"a {container.format.name} file without a sound track; expected sound")
        stream = container.streams.audio[0]
        stated, rate, samples = stated_s(container, stream), 0, 0
        for frame in sound_frames(container, stream):
            rate = rate or _checked_rate(frame.sample_rate)
            if frame.sample_rate != rate:
                raise RowError("audio_unreadable", f"the rate changes from {rate} to {frame.sample_rate} Hz; expected one rate")
            samples += frame.samples
            yield _rows(frame), rate
        if samples:
            check_length(stated, samples / rate)


def _checked_rate(rate: int) -> int:
    if rate not in RATES:
        raise RowError("audio_unreadable", f"{rate} samples a second; expected {RATES.start} to {RATES.stop - 1}")
    return rate


def _rows(frame: AudioFrame) -> Array:
    """Channel 0 and the average of all channels, in [-1, 1]: (2, samples) float32."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    kind = frame.format.name.removesuffix("p")
    if kind == "u8":
        values = values.astype(np.int16) - 128
    wave = values if kind in ("flt", "dbl") else values * (1.0 / _FULL_SCALE[kind])
    with np.errstate(all="ignore"):  # of infinite values; they are refused below
        rows = np.stack([wave[0], wave.mean(axis=0, dtype=np.float64)]).astype(np.float32)
    if not np.isfinite(rows).all():
        raise RowError("audio_nan", "the sound holds samples that are NaN or infinite; expected finite numbers")
    return rows


def resampled(recording: Recording, start: int, stop: int) -> Wave:
    """The samples from `start` to `stop` at 16 kHz, zeros beyond the ends of the recording: (2, stop - start) float64."""
    wave, rate, _, first = recording
    if rate == RATE:
        return wave[:, start - first : stop - first].astype(np.float64)
    a, b = rate // gcd(rate, RATE), RATE // gcd(rate, RATE)
    offsets, weights = kernel(a, b)
    low = min(start // b * a + int(offsets[0]) - first, 0)
    high = max(stop // b * a + a + weights.shape[1] - first, wave.shape[1])
    padded = np.pad(wave.astype(np.float64), ((0, 0), (-low, high - wave.shape[1])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[1], axis=1)
    samples = np.empty((2, stop - start))
    for j in range(start, min(start + b, stop)):  # every b-th output has the same taps
        begin = j // b * a + int(offsets[j % b]) - first - low
        phase = samples[:, j - start :: b]
        phase[:] = windows[:, begin::a][:, : phase.shape[1]] @ weights[j % b]
    return samples


@lru_cache(maxsize=8)
def kernel(a: int, b: int) -> tuple[npt.NDArray[np.int64], Wave]:
    """Where each of the `b` phases begins in the input and its taps: (b,) int64 and (b, taps) float64.

    The windowed sinc of torchaudio (width 6, roll-off 0.99, Hann): of its 2W + a taps only those within the window, where the
    others are zero. `a` and `b` are the old and the new rate without their common divisor.
    """
    cutoff = 0.99 * min(a, b)
    width = ceil(6 * a / cutoff)
    phases = np.arange(b)
    offsets = phases * a // b - width
    taps = offsets[:, np.newaxis] + np.arange(2 * width + 2)
    tau = np.clip(cutoff * (taps / a - phases[:, np.newaxis] / b), -6, 6)
    return offsets, np.sinc(tau) * np.cos(np.pi * tau / 12) ** 2 * cutoff / a
