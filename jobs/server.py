"""One process of a real Weaviate server: its ports, its environment, its start and its end."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

from jobs.server_program import find_program
from schemas.errors import WorldError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "TZ", "GOMAXPROCS", "GOMEMLIMIT")  # the rest of our environment is not the server's concern


@dataclass(frozen=True)
class Server:
    """A Weaviate server that answers; as a context manager it is stopped at the end."""

    url: str
    grpc: str  # host:port
    pid: int  # 0: not started by us, and never stopped by us

    def runs(self) -> bool:
        """Whether its process lives; a process that merely inherited its number is another one."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # collect it if it was our child and has ended
        return f"--port {self.url.rpartition(':')[2]} " in _command_of(self.pid)

    def answers(self) -> bool:
        """Whether REST says it is ready and gRPC takes connections."""
        host, _, port = self.grpc.rpartition(":")
        with suppress(OSError, HTTPException), socket.create_connection((host, int(port)), timeout=2):
            with closing(HTTPConnection(self.url.removeprefix("http://"), timeout=2)) as connection:
                connection.request("GET", "/v1/.well-known/ready")
                return connection.getresponse().status == 200
        return False

    def stop(self) -> None:
        """End its process: asked first, then killed. Nothing happens if it has ended, or is not ours."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.pid or not self.runs():
                return
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            end = time.monotonic() + STOP_TIMEOUT_S
            while self.runs() and time.monotonic() < end:
                time.sleep(0.05)

    def __enter__(self) -> "Server":
        """The server itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()


def _command_of(pid: int) -> str:
    """The command line of a process, ending in a blank; empty if it has ended, even if nobody has collected it."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True).stdout.strip() + " "


@dataclass(frozen=True)
class Ports:
    """Distinct ports that were free on 127.0.0.1 a moment ago."""

    http: int
    grpc: int
    gossip: int
    data: int  # the server wants gossip + 1
    raft: int
    raft_rpc: int  # the server wants raft + 1, else it never elects itself


def free_ports() -> Ports:
    """Six free ports. Raises WorldError if there are no free neighbours."""
    for _ in range(50):
        with _bound([0] * 4) as (http, grpc, gossip, raft), suppress(OSError, OverflowError), _bound([gossip + 1, raft + 1]) as (data, rpc):
            return Ports(http, grpc, gossip, data, raft, rpc)
    raise WorldError("found no neighbouring free ports for a Weaviate server on this machine, in 50 tries")


@contextmanager
def _bound(ports: list[int]) -> Iterator[list[int]]:
    """Hold `ports` (0: any) open on all addresses, since the server binds gRPC there; gives their numbers."""
    sockets = [socket.socket() for _ in ports]
    try:
        for one, port in zip(sockets, ports, strict=True):
            one.bind(("", port))
        yield [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _environment(data: Path, ports: Ports, env: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        "PERSISTENCE_DATA_PATH": str(data.resolve()),
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
        "DEFAULT_VECTORIZER_MODULE": "none",
        "LOG_LEVEL": "warning",
        "DISABLE_TELEMETRY": "true",
        "DISK_USE_READONLY_PERCENTAGE": "98",  # a laptop's disk is often fuller than the 90 of a server's
        "GO_PROFILING_DISABLE": "true",  # it would listen on all addresses
        "CLUSTER_HOSTNAME": "node1",
        "CLUSTER_IN_LOCALHOST": "true",
        "CLUSTER_BIND_ADDR": "127.0.0.1",
        "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
        "CLUSTER_GOSSIP_BIND_PORT": str(ports.gossip),
        "CLUSTER_DATA_BIND_PORT": str(ports.data),
        "RAFT_PORT": str(ports.raft),
        "RAFT_INTERNAL_RPC_PORT": str(ports.raft_rpc),
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "RAFT_TIMEOUTS_MULTIPLIER": "1",  # alone it elects itself in one second and not in five: it starts in 2 s instead of 6 to 10
        "GRPC_PORT": str(ports.grpc),
        **env,
    }


def start_server(data: Path, *, env: Mapping[str, str] | None = None, log: Path) -> Server:
    """A new server on free local ports with its data in `data` and its output in `log`; `env` adds to its environment.

    Raises WorldError, with the last lines of the log, if it is not ready within 60 s.
    """
    ports = free_ports()
    data.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(find_program()), "--host", "127.0.0.1", "--port", str(ports.http), "--scheme", "http"]
    command += ["--read-timeout=600s", "--write-timeout=600s"]
    with log.open("ab") as out:  # a session of its own, so that Ctrl-C in the terminal does not reach it
        process = subprocess.Popen(
            command, env=_environment(data, ports, env or {}), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}", process.pid)
    _wait_until_ready(server, process, log)
    process.returncode = 0  # let go of it: `Server` ends it by its number, and Popen would warn that it still runs
    return server


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    try:
        while not server.answers():
            if process.poll() is not None or time.monotonic() > end:
                why = (
                    f"ended with code {process.returncode}"
                    if process.returncode is not None
                    else f"was not ready in {READY_TIMEOUT_S:.0f} s"
                )
                raise WorldError(f"the Weaviate server {why}; the end of its log {log}:\n{_last_lines(log)}")
            time.sleep(0.1)
    except BaseException:  # also Ctrl-C: nobody else knows of this process
        process.kill()
        process.wait()
        raise


def _last_lines(log: Path, count: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
