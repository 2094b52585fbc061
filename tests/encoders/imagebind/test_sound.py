"""Sound: clips, resampling, the mel filter bank and files, against plain evaluations of the formulas."""

import math

import numpy as np
import pytest

from encoders.imagebind.melspectrogram import FLOOR, log_mel, mel_filters
from encoders.imagebind.sound import Recording, audio, clip_spans, kernel, picture, resampled
from tests.encoders.imagebind.recordings import sound_file


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def plain_filters() -> np.ndarray:
    """Triangle by triangle, bin by bin."""
    filters = np.zeros((257, 128))
    step = (mel(8000) - mel(20)) / 129
    for i in range(128):
        left, middle, right = (mel(20) + step * (i + k) for k in range(3))
        for j in range(257):
            m = mel(j * 16000 / 512)
            if left < m <= middle:
                filters[j, i] = (m - left) / (middle - left)
            elif middle < m < right:
                filters[j, i] = (right - m) / (right - middle)
    return filters


def plain_log_mel(wave: np.ndarray) -> np.ndarray:
    """Frame by frame, with the discrete Fourier transform written out."""
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in range(400)])
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    filters, rows = plain_filters(), []
    for start in range(0, len(wave) - 399, 160):
        frame = wave[start : start + 400] - wave[start : start + 400].mean()
        emphasised = [frame[i] - 0.97 * frame[max(i - 1, 0)] for i in range(400)]
        power = np.abs(fourier @ (np.array(emphasised) * window)) ** 2
        rows.append([math.log(max(e, 1.1920928955078125e-07)) for e in power @ filters])
    return np.array(rows)


def plain_resampled(wave: np.ndarray, rate: int, outputs: range) -> list[float]:
    """The sheet's sum, term by term, for some of the outputs."""
    divisor = math.gcd(rate, 16000)
    a, b = rate // divisor, 16000 // divisor
    c = 0.99 * min(a, b)
    width = math.ceil(6 * a / c)
    values = []
    for j in outputs:
        p, total = j % b, 0.0
        for n in range(-width, width + a):
            tau = min(max(c * (n / a - p / b), -6), 6)
            sinc = 1.0 if tau == 0 else math.sin(math.pi * tau) / (math.pi * tau)
            at = j // b * a + n
            if 0 <= at < len(wave):
                total += float(wave[at]) * sinc * math.cos(math.pi * tau / 12) ** 2 * c / a
        values.append(total)
    return values


def plain_audio(wave: np.ndarray, divisor: int) -> np.ndarray:
    """All channels of a 16 kHz sound, one shared array, as the sheet says."""
    wave = wave.astype(np.float64).copy()
    free = max(wave.shape[1] / 16000 - 2, 0.0)
    pictures = []
    for k in range(3):
        start = int(free * k / divisor * 16000)
        clip = wave[:, start : start + 32000]
        clip -= clip.mean()
        features = plain_log_mel(clip[0])
        fixed = np.zeros((128, 204))
        fixed[:, : len(features)] = features.T[:, :204]
        pictures.append((fixed + 4.268) / 9.138)
    return np.array(pictures)[:, np.newaxis]


@pytest.mark.parametrize(
    ("seconds", "preset", "starts"),
    [
        (5, "upstream", [0, 1.5, 3]),
        (5, "container", [0, 1, 2]),
        (10, "upstream", [0, 4, 8]),
        (1, "upstream", [0, 0, 0]),
        (2, "container", [0, 0, 0]),
    ],
)
def test_clips_begin_where_the_sheet_says(seconds: int, preset: str, starts: list[float]) -> None:
    spans = clip_spans(seconds * 16000, preset)
    assert [start for start, _ in spans] == [int(s * 16000) for s in starts]
    assert {stop - start for start, stop in spans} == {min(seconds, 2) * 16000}


def test_the_container_truncates_thirds() -> None:
    assert [start / 16000 for start, _ in clip_spans(160_000, "container")] == [0, 42666 / 16000, 85333 / 16000]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 44099])
def test_resampling_is_the_formula(rate: int) -> None:
    wave = np.random.default_rng(rate).uniform(-1, 1, 700).astype(np.float32)
    total = -(-len(wave) * 16000 // rate)
    got = resampled(Recording(np.stack([wave, -wave]), rate, len(wave)), 0, total)
    outputs = range(0, total, max(1, total // 12)) if rate != 44099 else range(0, total, total // 3)
    for j in {*outputs, total - 1}:
        assert got[0, j] == pytest.approx(plain_resampled(wave, rate, range(j, j + 1))[0], abs=1e-12)
    assert np.array_equal(got[1], -got[0])


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_part_resampled_alone_is_a_part_of_the_whole(rate: int) -> None:
    wave = np.random.default_rng(1).uniform(-1, 1, (2, rate)).astype(np.float32)
    whole = resampled(Recording(wave, rate, rate), 0, 16000)
    first, last = rate * 4 // 10, rate * 9 // 10
    part = resampled(Recording(wave[:, first:last], rate, rate, first), 8000, 12000)
    np.testing.assert_allclose(part, whole[:, 8000:12000], atol=1e-15)


def test_a_resampled_chirp_is_the_chirp() -> None:
    def chirp(rate: int) -> np.ndarray:
        t = np.arange(rate) / rate
        return 0.5 * np.sin(2 * np.pi * (100 * t + 2000 * t**2))

    for rate in (44100, 48000):
        got = resampled(Recording(np.stack([chirp(rate)] * 2).astype(np.float32), rate, rate), 0, 16000)[0]
        assert np.abs(got - chirp(16000))[100:-100].max() < 2e-3


def test_kernel_of_an_odd_rate_stays_small() -> None:
    offsets, weights = kernel(44099, 16000)
    assert offsets.shape == (16000,)
    assert weights.nbytes < 8_000_000


def test_filters_are_the_plain_triangles() -> None:
    np.testing.assert_allclose(mel_filters(), plain_filters(), atol=1e-9)
    assert np.flatnonzero(mel_filters().sum(axis=0) == 0).tolist() == [3]


@pytest.mark.parametrize("samples", [400, 559, 560, 4000])
def test_log_mel_is_the_plain_one(samples: int) -> None:
    wave = np.random.default_rng(2).normal(0, 0.1, samples)
    got = log_mel(wave)
    assert got.shape == (1 + (samples - 400) // 160, 128)
    np.testing.assert_allclose(got, plain_log_mel(wave), atol=1e-8)


def test_log_mel_agrees_with_transformers() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    wave = np.random.default_rng(3).normal(0, 0.1, 32000)
    with pytest.warns(UserWarning, match="zero values"):  # filter 3
        filters = mel_filter_bank(257, 128, 20, 8000, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = window_function(400, "hann", periodic=False)
    how = {"power": 2.0, "center": False, "preemphasis": 0.97, "log_mel": "log", "mel_floor": FLOOR, "remove_dc_offset": True}
    theirs = spectrogram(wave, window, 400, 160, fft_length=512, mel_filters=filters, **how)
    np.testing.assert_allclose(log_mel(wave), theirs.T, atol=2e-4)


def test_padding_floor_and_the_empty_row() -> None:
    got = picture(np.random.default_rng(4).normal(0, 0.1, (2, 32000)))
    assert got.shape == (1, 128, 204)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0, :, 198:], 0.467061, atol=1e-6)
    np.testing.assert_allclose(got[0, 3, :198], -1.277565, atol=1e-6)
    assert (got[0, 4, :198] > -1.2).all()


def test_silence_is_valid() -> None:
    got = audio(sound_file(np.zeros(16000), 16000))
    np.testing.assert_allclose(got[..., :98], -1.277565, atol=1e-6)
    np.testing.assert_allclose(got[..., 98:], 0.467061, atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "preset", "divisor"), [(3.3, "upstream", 2), (3.3, "container", 3), (7.0, "upstream", 2), (0.5, "upstream", 2)]
)
def test_a_file_is_what_the_plain_evaluation_gives(seconds: float, preset: str, divisor: int) -> None:
    wave = np.random.default_rng(5).normal(0.05, 0.1, (2, int(seconds * 16000))) + np.linspace(0, 0.3, int(seconds * 16000))
    data = sound_file(wave, 16000)
    stored = np.clip(np.round(wave * 32768), -32768, 32767) / 32768
    np.testing.assert_allclose(audio(data, preset), plain_audio(stored, divisor), atol=3e-5)
