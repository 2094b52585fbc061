"""Sound and video files made here, whose right answer is known; and how the tests prepare them."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import psutil
from PIL import Image

from encoders.imagebind.media import prepare
from schemas.errors import RowError

av.logging.set_level(None)


def tone(hertz: float, seconds: float, rate: int, loud: float = 0.5) -> np.ndarray:
    """A sine (samples,) float64."""
    return loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def sound_file(wave: np.ndarray, rate: int, codec: str = "pcm_s16le", kind: str = "wav", layout: str | None = None) -> bytes:
    """A file of `kind` with `wave` (channels, samples) in [-1, 1]; NaN stays NaN where the codec is float."""
    wave = np.atleast_2d(wave)
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
    fmt, values = "flt", wave.astype(np.float32)
    if codec == "pcm_s16le":  # exactly these numbers, with no converter between
        fmt, values = "s16", np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if values.shape[1]:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values.T.reshape(1, -1)), format=fmt, layout=layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def video_file(
    frames: Sequence[np.ndarray],
    rate: float | Fraction = 30,
    codec: str = "ffv1",
    kind: str = "matroska",
    pixels: str = "bgr0",
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
) -> bytes:
    """A file of `kind` with `frames` (height, width, 3) uint8; ffv1 with bgr0 keeps every byte."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            if times_ms:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def ramp(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames of one grey value each: frame i has the value i (up to 255)."""
    return [np.full((height, width, 3), i, np.uint8) for i in range(count)]


def textured(count: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """A bright square that moves over noise."""
    noise = np.random.default_rng(seed).integers(0, 128, (height, width, 3), dtype=np.uint8)
    frames = []
    for i in range(count):
        frame = noise.copy()
        at = i * (width - 8) // max(1, count - 1)
        frame[4:12, at : at + 8] = 255
        frames.append(frame)
    return frames


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(40 * 30, dtype=np.uint16).reshape(30, 40)).save(file, "PNG")
    return file.getvalue()


def short_video(seed: int = 0) -> bytes:
    return video_file(textured(6, 24, 32, seed), codec="libx264", kind="mp4", pixels="yuv420p")


def short_sound(hertz: float = 440) -> bytes:
    return sound_file(tone(hertz, 0.3, 16000), 16000)


GOOD = {
    "image": picture(),
    "thermal": picture(),
    "depth": picture(),
    "audio": short_sound(),
    "video": short_video(),
    "imu": b"a,b,c,d,e,f\n1,2,3,4,5,6\n7,8,9,10,11,12\n",
}


def decoder_processes() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "encoders.imagebind.decoder" in p.cmdline()]


def results(values: Sequence[bytes], modality: str, preset: str = "upstream") -> list[np.ndarray | RowError]:
    found = list(prepare(values, modality, preset))
    assert [i for i, _ in found] == list(range(len(values)))
    return [result for _, result in found]
