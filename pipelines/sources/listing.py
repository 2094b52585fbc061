"""Finding and opening the files of a source, on any file system that fsspec knows."""

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import has_magic
from itertools import takewhile
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
from fsspec import AbstractFileSystem

from pipelines.sources import ShardError
from pipelines.storage import file_system, is_away, is_refused, lost, told
from schemas.errors import JobError, WarpbeamError, WorldError

__all__ = ["BROKEN", "File", "file_system", "list_files", "naming_broken", "open_bytes", "printable", "raise_first_faults"]

BROKEN = (OSError, EOFError, zlib.error, ValueError, LookupError, MemoryError, pa.ArrowException)  # what a broken file leads to
FAULTS_SHOWN = 10
STREAM_BYTES = 4 << 20  # of a file of lines, read at once


class File(NamedTuple):
    """A file of the source; `name` is its path relative to `root`, with forward slashes."""

    root: str
    name: str
    size: int | None  # bytes; None where the file system does not say

    @property
    def path(self) -> str:
        """The path as the file system knows it."""
        return f"{self.root}/{self.name}"

    @property
    def label(self) -> str:
        """`name` as valid Unicode, whatever bytes the file system had."""
        return printable(self.name)


def printable(name: str) -> str:
    """`name` with bytes that are no UTF-8 written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def list_files(location: str, storage_options: dict[str, Any], hidden: tuple[str, ...] = (".", "_")) -> list[File]:
    """The files of a path, folder or glob, sorted by name; those below a name that starts with one of `hidden` are left out.

    Raises JobError if there are none, WorldError if the file system cannot be asked.
    """
    fs, path = file_system(location, storage_options)
    try:
        fs.invalidate_cache()
        root, found = _matches(fs, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise JobError(f"source {location}: {told(error)}; expected files that can be read") from error
    except Exception as error:  # each file system has errors of its own
        if is_refused(error):
            raise JobError(f"source {location}: {lost(error)}; expected files that can be read") from error
        raise WorldError(f"source {location}: its files cannot be listed: {told(error)}") from error
    files = [File(root, path[len(root) :].lstrip("/"), info.get("size")) for path, info in found.items() if _is_file(fs, path, info)]
    files = sorted(file for file in files if not _is_hidden(file.name, hidden))
    if not files:
        raise JobError(f"source {location}: no file found; expected a file, a folder with files, or a glob that matches files")
    return files


def _matches(fs: AbstractFileSystem, path: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The fixed part of `path`, and what is found there: {path: fsspec's info}."""
    path = path.rstrip("/") or path
    if fs.isfile(path):
        return path.rpartition("/")[0], {path: fs.info(path)}
    if fs.isdir(path) or not has_magic(path):
        return path.rstrip("/"), fs.find(path, detail=True)
    found: dict[str, dict[str, Any]] = {}
    for match, info in fs.glob(path, detail=True).items():
        found |= fs.find(match, detail=True) if info["type"] == "directory" else {match: info}
    return "/".join(takewhile(lambda piece: not has_magic(piece), path.split("/"))), found


def _is_file(fs: AbstractFileSystem, path: str, info: dict[str, Any]) -> bool:
    """A file, or a link to one or to nothing; no pipe or socket, which would block whoever opens it."""
    return not path.endswith("/") and (info.get("type", "file") == "file" or (bool(info.get("islink")) and not fs.isdir(path)))


def _is_hidden(name: str, hidden: tuple[str, ...]) -> bool:
    """Whether a piece of `name` is hidden; a partition folder `_key=value` is not."""
    return any(piece.startswith(hidden) and not (piece.startswith("_") and "=" in piece) for piece in name.split("/"))


@contextmanager
def open_bytes(fs: AbstractFileSystem, path: str) -> Iterator[BinaryIO]:
    """A buffered stream of the file's bytes; `.gz` is unpacked."""
    with fs.open(path, "rb", cache_type="none") as raw:  # else s3fs asks for 50 MB at a time
        stream = io.BufferedReader(raw, STREAM_BYTES)
        if path.endswith(".gz"):
            if not stream.peek(1):  # gzip takes it for an empty file; a whole one has a header
                raise EOFError("is empty (0 bytes); expected a gzip file")
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield stream


@contextmanager
def naming_broken(place: str) -> Iterator[None]:
    """Turn what a broken file leads to into a ShardError that names `place`; a lost connection into a WorldError."""
    try:
        yield
    except (ShardError, WarpbeamError):
        raise
    except Exception as error:
        if is_away(error):
            raise WorldError(f"{place}: {lost(error)}") from error
        if not isinstance(error, BROKEN):
            raise
        raise ShardError(f"{place}: cannot be read: {type(error).__name__}: {error}") from error


def raise_first_faults(faults: Sequence[str]) -> None:
    """Raise a JobError that names the first ten `faults` and counts the rest, or nothing if there are none."""
    if faults:
        rest = len(faults) - FAULTS_SHOWN
        raise JobError(*faults[:FAULTS_SHOWN], *([f"and {rest} more such files"] if rest > 0 else []))
