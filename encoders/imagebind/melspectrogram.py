"""Kaldi's log-mel filter bank in numpy, with ImageBind's settings: 16 kHz, 25 ms frames every 10 ms, 128 filters."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]

FRAME, SHIFT, FFT = 400, 160, 512  # samples
FILTERS, LOW_HZ, HIGH_HZ, RATE = 128, 20.0, 8000.0, 16_000
PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)


def log_mel(wave: Wave) -> Wave:
    """The natural logarithm of the energy in each filter, for each full frame of `wave` (n,): (1 + (n - 400) // 160, 128)."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::SHIFT]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - PREEMPHASIS * before) * np.hanning(FRAME), FFT)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(np.maximum(power @ mel_filters(), FLOOR))


@lru_cache(maxsize=1)
def mel_filters() -> Wave:
    """Triangles in mel space, of height 1, between 20 and 8000 Hz: (257, 128) float64. Filter 3 falls between two bins."""
    low, high = _mel(np.array([LOW_HZ, HIGH_HZ]))
    edges = low + (high - low) / (FILTERS + 1) * np.arange(FILTERS + 2)
    bins = _mel(np.arange(FFT // 2 + 1) * RATE / FFT)[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters: Wave = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def _mel(hertz: Wave) -> Wave:
    return 1127.0 * np.log(1.0 + hertz / 700.0)
