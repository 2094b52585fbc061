"""Where files lie: any file system that fsspec knows, its package, its options, and what its errors mean."""

import errno
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from schemas.errors import JobError, WorldError
from schemas.secrets import resolved

EXTRAS = {  # protocol -> the extra of Warpbeam that reads it
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "azure"),
}
CLIENTS = ("aiobotocore", "botocore", "aiohttp", "requests", "urllib3", "gcsfs", "google", "azure")  # packages whose errors are a store's
TRANSIENT = (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))  # what s3fs makes of 503 and 500
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
FILE_AT_FAULT = (404, 405, 410, 412, 416)
REFUSED = (401, 403)
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs the stack of each request that failed for good; it is raised and told here


def protocol_of(location: str) -> str:
    """`s3` of `s3://...`, also in a chain such as `simplecache::s3://...`; "" for a path."""
    return location.rpartition("::")[2].partition("://")[0] if "://" in location else ""


def is_url(location: str) -> bool:
    """Whether `location` is a URL and not a path of this machine."""
    return "://" in location or "::" in location


def file_system(location: str, storage_options: Mapping[str, Any], what: str = "source") -> tuple[AbstractFileSystem, str]:
    """The file system of `location`, and the path in it; `what` names the key of the job in errors.

    Raises JobError for a URL or options that fsspec cannot use, or whose package is missing; WorldError for a lost connection.
    """
    try:
        with _quiet_imports(protocol_of(location)):
            fs, path = url_to_fs(location, **resolved(dict(storage_options)))
    except JobError:  # a secret that is not set
        raise
    except ImportError as error:
        raise JobError(f"{what} {location}: {_install(location)} ({error})") from error
    except Exception as error:  # each file system has errors of its own: an archive within a URL is opened here
        if is_away(error):
            raise WorldError(f"{what} {location}: {lost(error)}") from error
        raise JobError(f"{what} {location}: {error}; expected a path or a URL that fsspec knows, with its storage_options") from error
    return fs, path


@contextmanager
def _quiet_imports(protocol: str) -> Iterator[None]:
    """A store's client is imported without the warnings that its packages have for one another's versions."""
    if protocol not in EXTRAS:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _install(location: str) -> str:
    extra = EXTRAS.get(protocol_of(location))
    if extra is None:
        return "a package that reads such URLs is missing"
    return f"a package that reads such URLs is missing: pip install 'warpbeam[{extra}]', here and on the workers"


def is_away(error: BaseException) -> bool:
    """Whether the store or the way to it is at fault, and not one file: then rows must not be rejected for it.

    A store's clients have retried by then. Refused credentials are the store's too: they run out in the middle of a run.
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, FileNotFoundError):
        return False
    client = _client(error)
    if client is None:
        return isinstance(error, OSError) and (error.errno in TRANSIENT or _is_forbidden(error))
    return isinstance(error, PermissionError) or _status(client) not in FILE_AT_FAULT


def is_refused(error: BaseException) -> bool:
    """Whether the store refuses its caller: credentials are missing or wrong, ran out, or do not allow this."""
    client = _client(error)
    return isinstance(error, PermissionError) or _is_forbidden(error) or (client is not None and _status(client) in REFUSED)


def _client(error: BaseException) -> BaseException | None:
    """The exception of a store's client, if `error` is one or comes from one."""
    return next((e for e in (error, error.__cause__) if e is not None and type(e).__module__.partition(".")[0] in CLIENTS), None)


def _is_forbidden(error: BaseException) -> bool:
    """What gcsfs makes of 403: an OSError without a number."""
    return type(error) is OSError and error.errno is None and str(error).startswith("Forbidden: ")


def _status(error: BaseException) -> int | None:
    """The HTTP status that a client's exception carries, if it is one of an answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's ClientError
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    for name in ("status_code", "status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int | str) and str(value).isdigit():
            return int(value)
    return None


def told(error: BaseException) -> str:
    """The class and the first lines of an error: a client may add a page of HTML or XML."""
    text = " ".join(str(error).split()).partition(" Content: <?xml")[0]
    return f"{type(error).__name__}: {text[:300]}"


def lost(error: BaseException) -> str:
    """The same, of an error for which `is_away` holds."""
    return f"{'access is refused' if is_refused(error) else 'the connection was lost'}: {told(error)}"


@contextmanager
def opened(location: str, mode: str, storage_options: Mapping[str, Any], what: str = "file", **more: Any) -> Iterator[IO[Any]]:
    """The file at `location`; to write, its folder is made where the file system has folders (a missing bucket never is).

    Raises JobError as `file_system` does, WorldError where the store is away.
    """
    fs, path = file_system(location, storage_options, what)
    try:
        if "w" in mode and protocol_of(location) not in EXTRAS:
            fs.makedirs(fs._parent(path), exist_ok=True)
        with fs.open(path, mode, **more) as file:
            yield file
    except Exception as error:
        if is_away(error):
            raise WorldError(f"{what} {location}: {lost(error)}") from error
        raise


def matching(folder: str, pattern: str, storage_options: Mapping[str, Any], what: str = "folder") -> list[str]:
    """The URLs or paths of the files of `folder` that match `pattern`, sorted; none where there is no folder."""
    fs, root = file_system(folder, storage_options, what)
    fs.invalidate_cache(root)
    try:
        found = sorted(str(path) for path in fs.glob(f"{root.rstrip('/')}/{pattern}"))
    except Exception as error:
        if is_away(error):
            raise WorldError(f"{what} {folder}: {lost(error)}") from error
        raise
    return [folder.rstrip("/") + path[len(root.rstrip("/")) :] for path in found]
