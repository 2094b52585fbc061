"""Many files at once: in order, lazily, and with a reason for each that is bad."""

import time
from collections.abc import Sequence

import numpy as np
import psutil
import pytest

from encoders.imagebind.media import AHEAD, PRESETS, SHAPES, prepare
from encoders.imagebind.motion import motion
from encoders.imagebind.sound import audio
from encoders.imagebind.video import video
from encoders.threads import usable_cores
from schemas.errors import JobError, RowError
from tests.encoders.imagebind.recordings import GOOD, decoder_processes, results, short_sound, sound_file, tone

IN_FLIGHT = AHEAD * min(4, usable_cores())


class Counted(Sequence[bytes]):
    """Values that count how many of them were taken."""

    def __init__(self, value: bytes, count: int) -> None:
        self.value, self.count, self.taken = value, count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> bytes:  # type: ignore[override]
        self.taken += 1
        return self.value


@pytest.mark.parametrize("modality", list(SHAPES))
@pytest.mark.parametrize("preset", PRESETS)
def test_each_modality_has_its_shape_and_bad_values_their_reason(modality: str, preset: str) -> None:
    good = GOOD[modality]
    found = results([good, b"", good, b"\x00\x01 nothing" * 30, good], modality, preset)
    for result in found[::2]:
        assert isinstance(result, np.ndarray)
        assert (result.shape, result.dtype) == (SHAPES[modality], np.float32)
    for result in found[1::2]:
        assert isinstance(result, RowError)
        assert result.code
        assert result.reason
    assert results([], modality, preset) == []


def test_what_comes_back_is_what_the_pure_functions_give() -> None:
    for preset in PRESETS:
        assert np.array_equal(results([GOOD["video"]], "video", preset)[0], video(GOOD["video"], preset))
        assert np.array_equal(results([GOOD["audio"]], "audio", preset)[0], audio(GOOD["audio"], preset))
        assert np.array_equal(results([GOOD["imu"]], "imu", preset)[0], motion(GOOD["imu"], preset))


def test_order_is_kept_whatever_takes_longer() -> None:
    values = [short_sound(200 + 150 * i) if i % 3 else sound_file(tone(200 + 150 * i, 6, 44100), 44100) for i in range(15)]
    for value, result in zip(values, results(values, "audio"), strict=True):
        assert np.array_equal(result, audio(value))


def test_unknown_names_are_the_jobs_fault() -> None:
    with pytest.raises(JobError, match="'smell'"):
        prepare([], "smell", "upstream")
    with pytest.raises(JobError, match="'downstream'"):
        prepare([], "image", "downstream")


def test_a_missing_pyav_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.imagebind.media.find_spec", lambda name: None)
    with pytest.raises(JobError, match=r"warpbeam\[imagebind\]"):
        prepare([b""], "video", "upstream")
    assert isinstance(results([GOOD["image"]], "image")[0], np.ndarray)


@pytest.mark.parametrize("modality", ["video", "image"])
def test_two_hundred_values_are_never_far_ahead(modality: str) -> None:
    values = Counted(GOOD[modality], 200)
    prepared = prepare(values, modality, "upstream")
    assert values.taken == 0
    for consumed in range(200 if modality == "image" else 40):
        next(prepared)
        assert values.taken <= consumed + IN_FLIGHT + 1
    prepared.close()  # type: ignore[attr-defined]
    taken = values.taken
    time.sleep(0.3)
    assert values.taken == taken <= 200


def test_two_hundred_videos_do_not_fill_the_memory() -> None:
    here, base, peak = psutil.Process(), psutil.Process().memory_info().rss, 0
    for _, result in prepare(Counted(GOOD["video"], 200), "video", "upstream"):
        assert isinstance(result, np.ndarray)
        peak = max(peak, here.memory_info().rss)
    one = int(np.prod(SHAPES["video"])) * 4
    assert peak - base < (IN_FLIGHT + 6) * one  # all 200 would be 3.6 GB
    assert all(p.memory_info().rss < 400 << 20 for p in decoder_processes())
