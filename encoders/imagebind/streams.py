"""Bytes of a sound or video file in, FFmpeg's packets and frames out, through PyAV.

Only containers of `FORMATS` are opened: a playlist or a list of files inside the bytes is never followed, so a value
cannot make this machine read its own files or call a server. All of it runs in a decoder process (`decoder.py`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from encoders.imagebind.endings import check_end
from schemas.errors import JobError, RowError

if TYPE_CHECKING:
    from av import AudioFrame, Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp3,mpeg,mpegts,mpegvideo,mxf,ogg,tta,w64,wav,wv"
)
STATED = ("wav", "flac", "avi", "mov", "matroska")  # whose headers say how long the file is; others are estimates
MAX_BAD_SHARE = 0.02  # packets of a sound that may be junk: tags inside an MP3, a broken last packet
MISSING = "`av` (PyAV) is not installed, and sound and video need it; install it with: pip install 'warpbeam[imagebind]'"


@contextmanager
def opened(data: bytes, kind: str) -> Iterator[InputContainer]:
    """The container in `data`; FFmpeg's errors inside the block become RowError `{kind}_unreadable`.

    Raises RowError `{kind}_unreadable` for bytes that are empty or of no known container and `media_truncated` where
    the file's structure says that its end is missing, JobError where PyAV is missing.
    """
    try:
        import av
    except ImportError as error:
        raise JobError(MISSING) from error
    if not data:
        raise RowError(f"{kind}_unreadable", f"no bytes; expected a {kind} file")
    check_end(data)
    av.logging.set_level(None)
    try:
        with av.open(io.BytesIO(data), mode="r", options=_options(data)) as container:
            yield container
    except (av.error.FFmpegError, ValueError, LookupError, OverflowError) as error:
        raise RowError(
            f"{kind}_unreadable", f"{len(data)} bytes that start with {data[:8]!r} are no readable {kind}: {_reason(error)}"
        ) from error


def _options(data: bytes) -> dict[str, str]:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    if data[8:12] == b"WAVE":  # it is PCM: without this FFmpeg looks through the whole file for DTS dressed as PCM
        options["max_probe_packets"] = "0"
    return options


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def stated_s(container: InputContainer, stream: AudioStream | VideoStream) -> float | None:
    """How many seconds the header says that `stream` has, or None where it does not or only guesses."""
    if container.format.name.partition(",")[0] not in STATED:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else None


def check_length(stated: float | None, got_s: float) -> None:
    """Raise RowError `media_truncated` where a file ends well before its header says: a twentieth, at least a quarter second."""
    if stated is not None and got_s < stated - max(0.25, stated / 20):
        raise RowError(
            "media_truncated", f"the file says that it lasts {stated:.2f} s, but it ends after {got_s:.2f} s; expected a whole file"
        )


def sound_frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The decoded frames of `stream`; single packets of junk are passed over as players do.

    Raises RowError `audio_unreadable` where more than `MAX_BAD_SHARE` of the packets (at least two) do not decode.
    """
    import av

    bad = seen = 0
    for packet in container.demux(stream):
        seen += 1
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            bad += 1
    if bad > max(1, seen * MAX_BAD_SHARE):
        raise RowError("audio_unreadable", f"{bad} of {seen} packets do not decode; expected a whole sound file")


def picture_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The decoded frames of `stream` in the order in which they are shown, one thread; a broken packet is an error."""
    stream.codec_context.thread_count = 1  # decoder processes run side by side; FFmpeg's threads would hold more frames
    for packet in container.demux(stream):
        yield from packet.decode()


def shown(packet: Packet[VideoStream]) -> bool:
    """Whether `packet` gives a frame that is shown: not the end mark, not cut away by an edit list."""
    return packet.size > 0 and not packet.is_discard
