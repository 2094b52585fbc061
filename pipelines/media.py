"""Media: fetch the bytes behind URIs, on the worker, and only below the prefixes that the job allows."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import apache_beam as beam
import fsspec
import pyarrow as pa

from pipelines.compose import MEDIA
from pipelines.failures import REJECTED_TAG, rejected_output
from pipelines.metrics import phase
from pipelines.storage import is_away, lost
from schemas.columns import BATCH_BYTES, UNCHANGED, Rejection, reject, set_column, without
from schemas.errors import RowError, WorldError
from schemas.objects import Reasons, shorten
from schemas.secrets import resolved

FETCHERS = 8
MAX_BYTES = 256 << 20  # a larger file is no picture that a model could take


def is_allowed(uri: str, prefixes: Sequence[str]) -> bool:
    """Whether `uri` lies under one of `prefixes`, whole path segments compared; `..` and links cannot lead out."""
    return any(_is_below(_plain(uri), _plain(prefix)) for prefix in prefixes)


def _is_below(uri: tuple[str, str, str], prefix: tuple[str, str, str]) -> bool:
    folder = prefix[2].rstrip("/") + "/"
    return uri[:2] == prefix[:2] and (uri[2].startswith(folder) or uri[2] == prefix[2])


def _plain(uri: str) -> tuple[str, str, str]:
    """Scheme, host and normalised path; a local path is resolved, links included."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return "file", "", str(Path(parts.path if parts.scheme else uri).resolve())
    path = parts.path
    while (decoded := unquote(path)) != path:  # a server reads %2e%2e as `..`
        path = decoded
    return parts.scheme, parts.netloc, posixpath.normpath(path or "/")


def fetch(uri: str, prefixes: Sequence[str], storage_options: Mapping[str, Any]) -> bytes:
    """The bytes behind `uri`. Raises RowError where it is not allowed, not there, or too large."""
    if "\x00" in uri or "::" in uri or not is_allowed(uri, prefixes):
        raise RowError("uri_not_allowed", f"{shorten(uri, 200)} is not below {', '.join(prefixes)}")
    scheme, _, path = _plain(uri)
    try:  # a local file by the path that was checked: fsspec would expand `~`
        with fsspec.open(path if scheme == "file" else uri, "rb", **_options(uri, storage_options)) as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except Exception as error:
        if not uri.startswith(("http://", "https://")) and is_away(error):
            raise WorldError(f"{shorten(uri, 200)}: {lost(error)}") from error
        if not isinstance(error, (OSError, ValueError, ImportError)):
            raise
        raise RowError("uri_unreadable", f"{shorten(uri, 200)} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise RowError("media_too_large", f"{shorten(uri, 200)} has more than {MAX_BYTES >> 20} MiB")
    return data


def _options(uri: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for one URI; a web server may not lead us out of the allowed prefixes by a redirect."""
    options: dict[str, Any] = resolved(dict(storage_options))
    return options | {"allow_redirects": False} if uri.startswith(("http://", "https://")) else options


def fetch_media(
    batch: pa.RecordBatch,
    media: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
    pool: ThreadPoolExecutor,
    stored: frozenset[str] = frozenset(),
) -> tuple[pa.RecordBatch, list[Rejection]]:
    """`batch` with a column `@media/<property>` of bytes for each property in `media` (property -> prefixes).

    Of the properties in `stored` the bytes take the place of the URI.
    """
    reasons: Reasons = {}
    for name, prefixes in media.items():
        uris = batch.column(name).to_pylist()
        values = list(pool.map(lambda u, p=prefixes: _try(u, p, options), uris))
        for i, value in enumerate(values):
            if isinstance(value, RowError):
                reasons[i], values[i] = (value.code, f"property {name!r}: {value.reason}"), None
        batch = set_column(batch, name if name in stored else MEDIA + name, pa.array(values, pa.large_binary()))
    return without(batch, reasons), reject(batch, reasons, "fetch")


def _try(uri: str | None, prefixes: Sequence[str], options: Mapping[str, Any]) -> bytes | RowError | None:
    try:
        return None if uri is None else fetch(uri, prefixes, options)
    except RowError as error:
        return error


class FetchMedia(beam.PTransform):
    """Objects with URIs to objects with bytes, a few rows at a time, so that a batch of photos fits in memory."""

    def __init__(
        self, media: Mapping[str, Sequence[str]], storage_options: Mapping[str, Any], stored: frozenset[str] = frozenset()
    ) -> None:
        """`media`: property -> the prefixes below which its URIs may lie; `stored`: those whose bytes are written."""
        super().__init__()
        self.media, self.storage_options, self.stored = dict(media), dict(storage_options), stored

    def expand(self, objects: beam.PCollection[pa.RecordBatch]) -> Any:
        """Objects as the main output, rejected rows beside it."""
        do = beam.ParDo(_Fetch(self.media, self.storage_options, self.stored)).with_output_types(pa.RecordBatch)
        return objects | "Fetch" >> do.with_outputs(REJECTED_TAG, main="objects")


class _Fetch(beam.DoFn):
    def __init__(self, media: dict[str, Sequence[str]], storage_options: dict[str, Any], stored: frozenset[str]) -> None:
        self.media, self.storage_options, self.stored = media, storage_options, stored
        self.pool: ThreadPoolExecutor | None = None

    def setup(self) -> None:
        self.pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")

    def teardown(self) -> None:
        if self.pool:
            self.pool.shutdown()

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        assert self.pool is not None
        if UNCHANGED in batch.schema.names:
            yield batch
            return
        rows = 64
        start = 0
        while start < batch.num_rows:
            with phase("fetch", batch):
                part, rejections = fetch_media(batch.slice(start, rows), self.media, self.storage_options, self.pool, self.stored)
            start += rows
            rows = max(1, min(64, int(rows * BATCH_BYTES / max(1, part.nbytes))))  # the next step by the size of this one
            if part.num_rows:
                yield part
            yield from rejected_output(rejections)
