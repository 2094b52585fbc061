"""toxiproxy, the fault-injecting proxy: found or installed, started on the loopback, and spoken to over its HTTP API."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from jobs.server import free_ports

VERSION = "v2.5.0"
GO_PACKAGE = f"github.com/Shopify/toxiproxy/v2/cmd/server@{VERSION}"
BUILD_TIMEOUT_S = 600


def cached_program() -> Path:
    """Where the program is kept."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warpbeam" / "bin"
    return folder / f"toxiproxy-{VERSION}"


def find_program() -> Path:
    """The program; `go install` brings it where it is missing (half a minute, once)."""
    path = cached_program()
    if path.is_file():
        return path
    go = shutil.which("go")
    if go is None:
        raise RuntimeError(f"no toxiproxy at {path}, and Go, which could build it, is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"installing toxiproxy: go install {GO_PACKAGE}\n")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="new-") as folder:
        done = subprocess.run(
            [go, "install", GO_PACKAGE], env={**os.environ, "GOBIN": folder}, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
        if done.returncode:
            raise RuntimeError(f"go install {GO_PACKAGE} failed: {done.stderr.strip()}")
        os.replace(Path(folder) / "server", path)
    return path


class Toxiproxy:
    """A running toxiproxy; `proxies` by name."""

    def __init__(self, port: int) -> None:
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=120
        )  # a slowed connection lets go of its toxic only when what it holds has gone out

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.api.post(path, json=body).raise_for_status().json()
        return made

    def proxy(self, name: str, upstream: str) -> str:
        """A new proxy on a free port; gives its host:port."""
        return str(self._post("/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": True})["listen"])

    def lead(self, name: str, listen: str, upstream: str) -> None:
        """Lead a proxy to another server; what was connected is cut."""
        self._post(f"/proxies/{name}", {"listen": listen, "upstream": upstream, "enabled": True})

    def enable(self, name: str, listen: str, enabled: bool) -> None:
        """False: cut all connections and take no new ones."""
        self._post(f"/proxies/{name}", {"listen": listen, "enabled": enabled})

    def toxic(self, name: str, kind: str, stream: str = "downstream", **attributes: int) -> None:
        """Add a toxic to a proxy."""
        self._post(f"/proxies/{name}/toxics", {"name": f"{kind}_{stream}", "type": kind, "stream": stream, "attributes": attributes})

    def heal(self, name: str) -> None:
        """Take the toxics of a proxy away."""
        for toxic in self.api.get(f"/proxies/{name}/toxics").raise_for_status().json():
            self.api.delete(f"/proxies/{name}/toxics/{toxic['name']}").raise_for_status()


@contextmanager
def running_toxiproxy(log: Path) -> Iterator[Toxiproxy]:
    """A toxiproxy of our own, ended at the end."""
    port = free_ports().http
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(find_program()), "-host", "127.0.0.1", "-port", str(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    toxiproxy = Toxiproxy(port)
    try:
        _wait_until_ready(toxiproxy, process)
        yield toxiproxy
    finally:
        toxiproxy.api.close()
        process.kill()
        process.wait()


def _wait_until_ready(toxiproxy: Toxiproxy, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 20
    while True:
        try:
            toxiproxy.api.get("/version").raise_for_status()
            return
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
