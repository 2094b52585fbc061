"""A model in a bucket: fetched once a machine into a local folder, by whoever needs it first.

A model of the job may be an fsspec URL, `gs://bucket/models/minilm`. Its files are listed, and fetched into a folder that
is named after what the listing says: names, sizes and versions. So an altered model is fetched anew, and what a process
finds under the name is whole: it got the name when it was.
"""

import base64
import hashlib
import os
import shutil
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import fsspec

from encoders.models import is_part
from schemas.errors import JobError, WorldError
from schemas.file_lock import locked
from schemas.models import ModelSpec

NAMES = ("name", "text", "image", "passage", "query", "imagebind", "vocabulary")  # the keys of a model that may be a URL
FOLDER = "WARPBEAM_MODELS"  # the environment variable that names the local folder
VERSIONS = ("generation", "etag", "ETag", "md5Hash", "content_md5", "mtime", "last_modified", "LastModified", "updated", "created")
ATTEMPTS = 3
CHUNK = 1 << 20


class Remote(NamedTuple):
    """One file of a model as the file system lists it."""

    path: str
    name: str  # below the model's own folder; "" where the model is this one file
    size: int
    version: str
    md5: str  # hexadecimal; "" where the listing has none


def is_url(name: str) -> bool:
    """Whether a model is named by a URL and not by a folder or a hub name."""
    return "://" in name


def with_local_files(model: ModelSpec) -> ModelSpec:
    """`model` with every URL replaced by the local copy, which is fetched if it is missing. Raises JobError, WorldError."""
    urls = {key: value for key in NAMES if (value := getattr(model, key)) and is_url(value)}
    return model.model_copy(update={key: str(fetched(url)) for key, url in urls.items()}) if urls else model


@cache
def fetched(url: str) -> Path:
    """The local folder (or file) with the model at `url`; fetched under a lock that all processes of the machine share.

    Raises JobError where there is no model or no right to read it, WorldError where the file system fails.
    """
    fs, files = _listed(url)
    last = PurePosixPath(files[0].path if files[0].name == "" else url.rstrip("/")).name
    identity = hashlib.blake2b(repr([(f.name, f.size, f.version) for f in files]).encode(), digest_size=8).hexdigest()
    place = local_folder() / f"{last}-{identity}"
    try:
        with locked(place.with_name(f"{place.name}.lock")):
            if not _is_whole(place, files, last):
                shutil.rmtree(place, ignore_errors=True)
                _fetch(fs, files, place, last, url)
    except OSError as error:
        raise WorldError(f"the model {url!r} cannot be kept in {local_folder()}: {_said(error)}; {FOLDER} names another folder") from error
    return place / last if files[0].name == "" else place


def local_folder() -> Path:
    """Where fetched models lie: what WARPBEAM_MODELS says, else below `XDG_CACHE_HOME` or `~/.cache`."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warpbeam" / "models"
    return Path(os.environ.get(FOLDER) or cached)


def _listed(url: str) -> tuple[Any, list[Remote]]:
    """The file system and the model's files in the order of their names."""
    try:
        with warnings.catch_warnings():  # what a store's client says of its own packages' versions
            warnings.simplefilter("ignore", FutureWarning)
            fs, root = fsspec.core.url_to_fs(url)
        fs.invalidate_cache()
        found = fs.find(root, detail=True)
    except (FileNotFoundError, PermissionError, ImportError, ValueError) as error:
        raise JobError(f"the model {url!r} cannot be read: {_said(error)}") from error
    except Exception as error:  # each file system has errors of its own
        raise WorldError(f"the model {url!r} cannot be listed: {_said(error)}") from error
    root = root.rstrip("/")
    files = [_remote(path, path[len(root) :].lstrip("/"), info) for path, info in sorted(found.items())]
    files = [f for f in files if f.name == "" or is_part(PurePosixPath(f.name))]
    if not files:
        raise JobError(f"the model {url!r} has no files; expected the URL of a folder with a saved model")
    return fs, files


def _remote(path: str, name: str, info: dict[str, Any]) -> Remote:
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
    md5 = base64.b64decode(info["md5Hash"]).hex() if info.get("md5Hash") else ""
    return Remote(path, name, int(info.get("size") or 0), version, md5)


def _is_whole(place: Path, files: list[Remote], last: str) -> bool:
    """Whether every file is there in its size."""
    sizes = [(place / (f.name or last), f.size) for f in files]
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes)


def _fetch(fs: Any, files: list[Remote], place: Path, last: str, url: str) -> None:
    """Fetch all files beside `place`, and give them its name when they are whole."""
    new = Path(tempfile.mkdtemp(dir=place.parent, prefix="new-"))
    try:
        for file in files:
            _fetch_file(fs, file, new / (file.name or last), url)
        new.chmod(0o755)
        os.rename(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _fetch_file(fs: Any, file: Remote, to: Path, url: str) -> None:
    """One file, tried again where the connection breaks; its size is compared, and its MD5 where the listing has one."""
    to.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        try:
            fs.get_file(file.path, str(to))
        except PermissionError as error:
            raise JobError(f"the model {url!r} cannot be read: {file.path}: {_said(error)}") from error
        except Exception as error:  # each file system has errors of its own
            problem = _said(error)
            continue
        if not (problem := _difference(file, to)):
            return
    raise WorldError(f"the model {url!r} cannot be fetched: {file.path}: {problem} ({ATTEMPTS} attempts)")


def _difference(file: Remote, to: Path) -> str:
    """What is wrong with a fetched file; empty if nothing is."""
    if (size := to.stat().st_size) != file.size:
        return f"{size:,} bytes came of {file.size:,}"
    if file.md5 and _md5(to) != file.md5:
        return f"its MD5 is not {file.md5}, as the bucket says"
    return ""


def _md5(path: Path) -> str:
    total = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            total.update(block)
    return total.hexdigest()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error) or '').splitlines()[0] if str(error) else ''}".rstrip(": ")
