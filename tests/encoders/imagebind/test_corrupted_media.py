"""Random bytes and corrupted files of every format: an array or a reason, and no process lost."""

import random
import time

import numpy as np
import psutil
import pytest

from schemas.errors import RowError
from tests.encoders.imagebind.recordings import GOOD, decoder_processes, ramp, results, sound_file, video_file


def corrupted(data: bytes, source: random.Random) -> bytes:
    """`data` with some bytes changed, a piece lost or doubled, or the end cut off."""
    broken = bytearray(data)
    for _ in range(source.choice([0, 1, 3, 20, 200])):
        at = source.randrange(len(broken)) if source.random() < 0.5 else source.randrange(min(200, len(broken)))
        broken[at] = source.randrange(256)
    start = source.randrange(len(broken))
    piece = slice(start, start + source.randrange(1, 400))
    kind = source.randrange(5)
    if kind == 0:
        del broken[piece]
    elif kind == 1:
        broken[start:start] = broken[piece]
    elif kind == 2:
        del broken[start:]
    return bytes(broken)


SOUNDS = [
    ("pcm_s16le", "wav"),
    ("pcm_f32le", "wav"),
    ("flac", "flac"),
    ("libmp3lame", "mp3"),
    ("libopus", "ogg"),
    ("aac", "mp4"),
    ("aac", "matroska"),
]
VIDEOS = [
    ("libx264", "mp4", "yuv420p"),
    ("libvpx-vp9", "webm", "yuv420p"),
    ("mpeg4", "avi", "yuv420p"),
    ("ffv1", "matroska", "bgr0"),
    ("gif", "gif", "rgb8"),
    ("mpeg2video", "mpegts", "yuv420p"),
]


def assert_survived(values: list[bytes], modality: str) -> None:
    before = {p.pid for p in decoder_processes()}
    codes = [result.code for result in results(values, modality) if isinstance(result, RowError)]
    assert not {"decoder_crashed", "decoder_timeout"} & set(codes)
    assert len(codes) > len(values) // 20
    assert before <= {p.pid for p in decoder_processes()}, "a process was lost"


@pytest.mark.parametrize(("codec", "kind"), SOUNDS)
def test_corrupted_sounds_give_an_array_or_a_reason(codec: str, kind: str) -> None:
    source = random.Random(f"{codec} {kind}")
    data = sound_file(np.random.default_rng(0).normal(0, 0.1, (2, 9600)), 48000, codec, kind)
    assert_survived([corrupted(data, source) for _ in range(40)] + [source.randbytes(source.randrange(500)) for _ in range(10)], "audio")


@pytest.mark.parametrize(("codec", "kind", "pixels"), VIDEOS)
def test_corrupted_videos_give_an_array_or_a_reason(codec: str, kind: str, pixels: str) -> None:
    source = random.Random(f"{codec} {kind}")
    data = video_file(ramp(5, 16, 16), codec=codec, kind=kind, pixels=pixels)
    assert_survived([corrupted(data, source) for _ in range(25)] + [source.randbytes(source.randrange(500)) for _ in range(5)], "video")


def test_bad_files_leave_nothing_open() -> None:
    results([GOOD["video"]] * 8 + [GOOD["audio"]], "video")
    here, workers = psutil.Process(), decoder_processes()
    before = here.num_fds(), [p.num_fds() for p in workers]
    results([b"", GOOD["video"][:500], GOOD["audio"], b"RIFF" + bytes(60)] * 5, "video")
    time.sleep(0.1)
    assert (here.num_fds(), [p.num_fds() for p in workers]) == before
