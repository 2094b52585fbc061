"""Sound files of many formats, and what is refused."""

import math
import struct

import numpy as np
import pytest

from encoders.imagebind import sound
from encoders.imagebind.sound import audio, read
from schemas.errors import RowError
from tests.encoders.imagebind.recordings import ramp, sound_file, tone, video_file


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def error(data: bytes) -> str:
    with pytest.raises(RowError) as raised:
        audio(data)
    assert len(raised.value.reason) > 20
    return raised.value.code


def test_pcm_is_divided_by_32768() -> None:
    wave = np.array([[-1.0, 0.5, 0.25, 32767 / 32768], [1 / 32768, 0, -0.5, 0]])
    recording = read(sound_file(wave, 44100))
    assert (recording.rate, recording.samples) == (44100, 4)
    assert np.array_equal(recording.wave, np.stack([wave[0], wave.mean(axis=0)]).astype(np.float32))


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("codec", "kind"),
    [("pcm_s16le", "wav"), ("pcm_f32le", "wav"), ("flac", "flac"), ("libmp3lame", "mp3"), ("libopus", "ogg"), ("aac", "mp4")],
)
def test_the_first_channel_of_any_file_is_heard(codec: str, kind: str, channels: int, rate: int) -> None:
    if (codec == "libmp3lame" and channels == 6) or (codec == "libopus" and rate == 44100):
        pytest.skip("the format has no such files")
    wave = np.stack([tone(440, 2.5, rate), *[tone(1800, 2.5, rate, 0.3)] * (channels - 1)])
    fmt = sound_file(wave.astype(np.float32), rate, codec, kind)
    got = audio(fmt)
    centres = [mel(20) + (mel(8000) - mel(20)) / 129 * (i + 1) for i in range(128)]
    nearest = int(np.argmin(np.abs(np.array(centres) - mel(440))))
    loudest = got[1, 0, :, 50:150].mean(axis=1)
    assert abs(int(loudest.argmax()) - nearest) <= 1


def test_a_long_sound_is_read_twice_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(6).normal(0, 0.1, (2, 44100 * 9))
    data = sound_file(wave, 44100)
    once = audio(data)
    monkeypatch.setattr(sound, "KEPT_SAMPLES", 44100)
    assert read(data).wave.size == 0
    np.testing.assert_allclose(audio(data), once, atol=1e-6)


def test_bad_sounds_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    good = sound_file(tone(440, 1, 16000), 16000)
    assert error(b"") == "audio_unreadable"
    assert error(b"no sound at all" * 50) == "audio_unreadable"
    assert error(good[: len(good) // 2]) == "media_truncated"
    assert error(sound_file(tone(440, 399 / 16000, 16000), 16000)) == "audio_too_short"
    assert audio(sound_file(tone(440, 400 / 16000, 16000), 16000)).shape == (3, 1, 128, 204)
    assert error(sound_file(np.zeros((1, 0)), 16000)) in ("audio_empty", "audio_unreadable")
    assert error(video_file(ramp(3))) == "audio_unreadable"
    monkeypatch.setattr(sound, "MAX_S", 0.5)
    assert error(good) == "media_too_long"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    wave = tone(440, 1, 16000)
    wave[12345] = value
    assert error(sound_file(wave, 16000, "pcm_f32le")) == "audio_nan"


@pytest.mark.parametrize(
    ("codec", "kind"), [("libmp3lame", "mp3"), ("flac", "flac"), ("libopus", "ogg"), ("aac", "mp4"), ("aac", "matroska")]
)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_truncated_file_is_refused(codec: str, kind: str, share: float) -> None:
    data = sound_file(np.random.default_rng(7).normal(0, 0.1, 48000 * 3), 48000, codec, kind)
    assert audio(data).shape == (3, 1, 128, 204)
    assert error(data[: int(len(data) * share)]) in ("media_truncated", "audio_unreadable")


def test_a_playlist_opens_no_other_file(tmp_path: object) -> None:
    (tmp_path / "secret.wav").write_bytes(sound_file(tone(440, 1, 16000), 16000))  # type: ignore[operator]
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n"
    assert error(playlist.encode()) == "audio_unreadable"
    assert error(f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n".encode()) == "audio_unreadable"


def test_a_wav_from_a_pipe_has_no_size_and_is_read() -> None:
    data = bytearray(sound_file(tone(440, 1, 16000), 16000))
    data[4:8] = struct.pack("<I", 0xFFFFFFFF)
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert read(bytes(data)).samples == 16000
