"""Whether the end of a media file is missing, where FFmpeg reads what is there and does not say a word."""

import struct

from schemas.errors import RowError

SLACK = 64  # bytes by which writers miscount
PIPED = (8, 0xFFFFFFFF + 8)  # the size of a RIFF file that was written to a pipe: 0 or all ones


def check_end(data: bytes) -> None:
    """Raise RowError `media_truncated` where `data` is a RIFF (WAV, AVI) or MP3 file that says that it is longer, or a GIF or Ogg file without its end."""
    size = _riff_bytes(data) or _mp3_bytes(data)
    if size is not None and len(data) + SLACK < size:
        raise RowError("media_truncated", f"the file says that it has {size} bytes, but it has {len(data)}; expected a whole file")
    if data[:4] == b"GIF8" and data.rstrip(b"\0")[-1:] != b";":
        raise RowError("media_truncated", f"the GIF file of {len(data)} bytes has no end mark; expected a whole file")
    if data[:4] == b"OggS" and not _ends_with_last_page(data):
        raise RowError("media_truncated", f"the Ogg file of {len(data)} bytes has no last page; expected a whole file")


def _riff_bytes(data: bytes) -> int | None:
    if data[:4] != b"RIFF" or len(data) < 8:
        return None
    size = int(struct.unpack_from("<I", data, 4)[0]) + 8
    return None if size in PIPED else size


def _mp3_bytes(data: bytes) -> int | None:
    """What the encoder's own tag (Xing, Info) in the first frame says."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:  # four bytes of seven bits
        start = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    if data[start : start + 1] != b"\xff":
        return None
    at = max(data.find(tag, start, start + 64) for tag in (b"Xing", b"Info"))
    if at < 0 or len(data) < at + 16:
        return None
    flags, frames_or_bytes, size = struct.unpack_from(">III", data, at + 4)
    if not flags & 2:
        return None
    return start + int(size if flags & 1 else frames_or_bytes)


def _ends_with_last_page(data: bytes) -> bool:
    last = data.rfind(b"OggS")
    if len(data) < last + 27 or not data[last + 5] & 4:
        return False
    lengths = data[last + 27 : last + 27 + data[last + 26]]
    return len(data) >= last + 27 + data[last + 26] + sum(lengths)
