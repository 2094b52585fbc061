"""One process of the cluster, with what it started: its log, whether it lives, its end."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Process:
    """A process group that we started: Java, and the SDK workers that it starts."""

    pid: int  # of its leader; the group has the same number
    started: int  # when, in the kernel's clock ticks: another process may inherit the number
    log: Path

    def runs(self) -> bool:
        """Whether its leader lives."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # collect it if it was our child and has ended
        return started_at(self.pid) == self.started

    def stop(self) -> None:
        """End it and what it started: asked first, then killed. Nothing happens to a number that is another's by now."""
        if self.runs():
            self._signal(signal.SIGTERM)
            end = time.monotonic() + STOP_TIMEOUT_S
            while self.runs() and time.monotonic() < end:
                time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """`kill -9` for it and what it started."""
        for pid in self.group():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.runs():
            time.sleep(0.02)

    def group(self) -> list[int]:
        """The processes of its group that live: SDK workers outlive a TaskManager that was killed."""
        if started_at(self.pid) not in (0, self.started):  # the number is another's by now
            return []
        return [pid for pid in _processes() if _group_of(pid) == self.pid]

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start_process(command: Sequence[str], log: Path) -> Process:
    """A process in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    with log.open("ab") as out:
        made = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    made.returncode = 0  # let go of it: `Process` ends it by its number, and Popen would warn that it still runs
    return Process(made.pid, started_at(made.pid), log)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name: state, parent, group, session, ...; empty if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields if fields[0] != "Z" else []
    return []


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since the machine did; 0 if it has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _group_of(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[2]) if fields else 0


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
