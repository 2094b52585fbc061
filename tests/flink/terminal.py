"""`warpbeam` in a terminal: a pseudo-terminal that reads what is typed, as a person's does, and sends Ctrl-C as a signal."""

import fcntl
import os
import pty
import re
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from tests.flink.conftest import command_line, surroundings, take_interrupts

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours, and the moves of a progress bar
BAR = re.compile(r"\S loading .*?left [-\d:]+")  # each of its pictures
CTRL_C, CTRL_D = "\x03", "\x04"


def _take_terminal() -> None:
    """The terminal on standard input becomes the one that signals come from."""
    take_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A program in a terminal of its own; what it shows is collected by a thread, without colours."""

    def __init__(self, *arguments: str | Path) -> None:
        """Start `warpbeam` with `arguments`."""
        self._ours, its = pty.openpty()
        self.process = subprocess.Popen(
            command_line(*arguments),
            env=surroundings({"TERM": "xterm"}),
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(its)
        self._shown = b""
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # EIO: the program has ended
            while data := os.read(self._ours, 65536):
                self._shown += data

    @property
    def shown(self) -> str:
        """Everything so far, without colours, moves and progress bars."""
        return BAR.sub("", CONTROL.sub("", self._shown.decode(errors="replace")))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str, timeout_s: float = 120) -> None:
        """Wait until `text` is shown."""
        end = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < end and self.process.poll() is None, f"{text!r} is not shown: {self.shown}"
            time.sleep(0.1)

    def end(self, timeout_s: float = 120) -> tuple[int, str]:
        """Exit code, and everything that was shown."""
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code, self.shown

    def close(self) -> None:
        """End it, if it still runs."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._ours)
