"""The three stores as programs of the package registries: moto (S3), fake-gcs-server, azurite; started on the loopback."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from jobs.server import free_ports

GCS_VERSION = "v1.56.1"
GCS_PACKAGE = f"github.com/fsouza/fake-gcs-server@{GCS_VERSION}"
AZURITE_VERSION = "3.37.0"
INSTALL_TIMEOUT_S = 1500
START_TIMEOUT_S = 60


class NoTool(Exception):
    """The program that would install an emulator is missing."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warpbeam"


def gcs_program() -> Path:
    """fake-gcs-server; `go install` brings it where it is missing."""
    return go_program(f"fake-gcs-server-{GCS_VERSION}", GCS_PACKAGE)


def go_program(name: str, package: str) -> Path:
    """The program of a Go package at a version, kept in the cache as `name`. Raises NoTool where Go is needed and missing."""
    path = cache() / "bin" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="new-") as folder:
            _install([_tool("go", package), "install", package], {"GOBIN": folder})
            os.replace(Path(folder) / package.partition("@")[0].rpartition("/")[2], path)
    return path


def azurite_program() -> Path:
    """azurite-blob; npm brings it where it is missing."""
    folder = cache() / f"azurite-{AZURITE_VERSION}"
    if not folder.is_dir():
        npm = _tool("npm", f"azurite@{AZURITE_VERSION}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
        _install([npm, "install", "--no-audit", "--no-fund", "--prefix", str(new), f"azurite@{AZURITE_VERSION}"], {})
        try:
            os.replace(new, folder)
        except OSError:  # another test process was faster
            shutil.rmtree(new)
    return folder / "node_modules" / ".bin" / "azurite-blob"


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoTool(f"{name} is not installed, and {package} is not in {cache()}")
    return found


def _install(command: Sequence[str], env: dict[str, str]) -> None:
    sys.stderr.write(f"installing: {' '.join(command)}\n")
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path, scheme: str = "http") -> Iterator[str]:
    """A server of our own that answers HTTP on `port`; gives its host:port, and is ended at the end."""
    with log.open("ab") as out:
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait(f"{scheme}://127.0.0.1:{port}/", process, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.get(url, timeout=10)
            return
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{process.args!r} does not answer: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    port = free_ports().http
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log") as host:
        yield host


@contextmanager
def gcs_server(folder: Path, objects: Path) -> Iterator[str]:
    """Each folder of `objects` is a bucket."""
    port = free_ports().http
    command = [gcs_program(), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "filesystem"]
    command += ["-filesystem-root", objects, "-public-host", f"127.0.0.1:{port}", "-log-level", "error"]
    with running([str(c) for c in command], port, folder / "gcs.log") as host:
        yield host


@contextmanager
def azure_server(folder: Path, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """azurite; with `tls` (the files of a certificate and its key) it speaks HTTPS."""
    port = free_ports().http
    command = [azurite_program(), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck"]
    if tls:
        command += ["--cert", tls[0], "--key", tls[1]]
    with running([*command, "--disableTelemetry", "--silent"], port, folder / "azurite.log", "https" if tls else "http") as host:
        yield host
