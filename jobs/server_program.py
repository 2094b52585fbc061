"""Finds the program of a real Weaviate server for this machine, or brings it here.

Looked for in this order: `WARPBEAM_WEAVIATE_PROGRAM`, Warpbeam's cache, weaviate-client's cache; then it is downloaded
as weaviate-client's embedded mode does, or built by `go install`, and kept in Warpbeam's cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from schemas.errors import JobError, WorldError

VERSION = "1.38.11"
VARIABLE = "WARPBEAM_WEAVIATE_PROGRAM"
GO_PACKAGE = f"github.com/weaviate/weaviate/cmd/weaviate-server@v{VERSION}"
STALL_TIMEOUT_S = 20  # without one byte; a network without a way out must not hang us
DOWNLOAD_TIMEOUT_S = 900
BUILD_TIMEOUT_S = 3600

# A process of its own, since weaviate-client downloads without a timeout and only a process can be ended.
_DOWNLOAD = """
import socket, sys
from weaviate.embedded import EmbeddedOptions, EmbeddedV4
socket.setdefaulttimeout(float(sys.argv[3]))
EmbeddedV4(EmbeddedOptions(binary_path=sys.argv[1], persistence_data_path=sys.argv[1], version=sys.argv[2])).ensure_weaviate_binary_exists()
"""


def find_program() -> Path:
    """The path of the Weaviate server program; says on stderr what takes long.

    Raises JobError if `WARPBEAM_WEAVIATE_PROGRAM` names no program, WorldError if there is no way to get one.
    """
    for path in (_named(), cached_program(), _client_program()):
        if path is not None and _is_program(path):
            return path
    problems = [problem for way in (_download, _build) if (problem := way())]
    if _is_program(cached_program()):
        return cached_program()
    raise WorldError(
        f"no Weaviate server program: {'; '.join(problems)}. Three ways out: set WEAVIATE_URL (or target.weaviate) to a server that runs, "
        f"install Go and try again, or try again where GitHub's releases can be reached"
    )


def cached_program() -> Path:
    """Where Warpbeam keeps the program: below `XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warpbeam" / f"weaviate-v{VERSION}"


def _named() -> Path | None:
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    if not _is_program(Path(value)):
        raise JobError(f"{VARIABLE} is {value!r}, which is no program; give the path of a Weaviate server, or unset it")
    return Path(value)


def _client_program() -> Path:
    folder = Path.home() / ".cache" / "weaviate-embedded"
    return folder / _client_name()


def _client_name() -> str:
    tag = f"v{VERSION}"
    return f"weaviate-{tag}-{hashlib.sha256(tag.encode()).hexdigest()}"


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _say(text: str) -> None:
    sys.stderr.write(f"warpbeam: {text}\n")
    sys.stderr.flush()


def _download() -> str:
    """Download into the cache; gives what went wrong, or nothing."""
    _say(
        f"downloading the Weaviate {VERSION} server, as weaviate-client's embedded mode does (ends after {STALL_TIMEOUT_S} s without data)"
    )
    with _workshop() as folder:
        command = [sys.executable, "-c", _DOWNLOAD, folder, VERSION, str(STALL_TIMEOUT_S)]
        return _fetch(command, Path(folder) / _client_name(), DOWNLOAD_TIMEOUT_S, "the download")


def _build() -> str:
    """Build into the cache, unless the download has succeeded; gives what went wrong, or nothing."""
    if _is_program(cached_program()):
        return ""
    go = shutil.which("go")
    if go is None:
        return "Go, which could build it, is not installed"
    _say(f"building the server instead: go install {GO_PACKAGE} (about five minutes, once)")
    with _workshop() as folder:
        command = [go, "install", GO_PACKAGE]
        return _fetch(command, Path(folder) / "weaviate-server", BUILD_TIMEOUT_S, "go install", {"GOBIN": folder})


def _workshop() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder inside the cache, so that the finished program moves to its name in one step."""
    cached_program().parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=cached_program().parent, prefix="new-")


def _fetch(command: list[str], made: Path, timeout_s: float, what: str, env: dict[str, str] | None = None) -> str:
    """Run `command`, which makes `made`, and move that into the cache; gives what went wrong, or nothing."""
    try:
        done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        problem = f"{what} was not done after {timeout_s:.0f} s"
    else:
        if done.returncode == 0 and made.is_file():
            os.replace(made, cached_program())
            return ""
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        problem = f"{what} failed ({last})"
    _say(problem)
    return problem
