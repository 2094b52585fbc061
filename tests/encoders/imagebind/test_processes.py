"""Decoder processes that are killed, hang, are shared by threads, or lose their parent."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from encoders.imagebind.media import SHAPES, prepare
from encoders.imagebind.processes import Decoders, shared_decoders
from encoders.threads import usable_cores
from schemas.errors import RowError
from tests.encoders.imagebind.recordings import GOOD, decoder_processes, results, short_video

ROOT = Path(__file__).parents[3]


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    own = Decoders(1, limit_s=60)
    yield own
    own.close()


def test_a_killed_process_loses_no_value() -> None:
    values = [short_video(i) for i in range(24)]
    killed = 0
    for position, result in prepare(values, "video", "upstream"):
        assert isinstance(result, np.ndarray), f"value {position}: {result}"
        if position % 8 == 3:
            victim = random.choice(decoder_processes())
            os.kill(victim.pid, signal.SIGKILL)
            killed += 1
    assert killed == 3
    assert len(decoder_processes()) <= min(4, usable_cores())


def test_a_process_that_dies_of_a_value_is_one_reason_and_is_replaced(decoders: Decoders, capfd: pytest.CaptureFixture[str]) -> None:
    died = decoders.decode(b"data", "no such", "upstream", (1,))  # not in its table: the program ends with a traceback
    assert isinstance(died, RowError)
    assert died.code == "decoder_crashed"
    assert "KeyError" in capfd.readouterr().err
    assert isinstance(decoders.decode(GOOD["audio"], "audio", "upstream", SHAPES["audio"]), np.ndarray)


def test_a_process_that_hangs_is_stopped_and_replaced(decoders: Decoders) -> None:
    assert isinstance(decoders.decode(GOOD["audio"], "audio", "upstream", SHAPES["audio"]), np.ndarray)
    (idle,) = [decoder.process.pid for decoder in decoders._idle]
    os.kill(idle, signal.SIGSTOP)
    decoders.limit_s = 0.5
    stuck = decoders.decode(GOOD["audio"], "audio", "upstream", SHAPES["audio"])
    assert isinstance(stuck, RowError)
    assert stuck.code == "decoder_timeout"
    decoders.limit_s = 60
    assert isinstance(decoders.decode(GOOD["audio"], "audio", "upstream", SHAPES["audio"]), np.ndarray)
    assert not psutil.pid_exists(idle)


def test_threads_share_the_processes() -> None:
    found: list[np.ndarray | RowError] = []
    threads = [threading.Thread(target=lambda: found.extend(results([GOOD["audio"]] * 6, "audio"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 30
    assert all(isinstance(result, np.ndarray) for result in found)
    assert len(shared_decoders()._idle) <= min(4, usable_cores())


ORPHANS = """
import pathlib, psutil, sys, time
from encoders.imagebind.media import prepare
data = pathlib.Path(sys.argv[1]).read_bytes()
for _ in prepare([data] * 8, "video", "upstream"): pass
print(*[p.pid for p in psutil.Process().children()], flush=True)
if sys.argv[2] == "wait": time.sleep(60)
"""


@pytest.mark.parametrize("end", ["wait", "leave"])
def test_processes_end_with_their_parent(end: str, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(GOOD["video"])
    command = [sys.executable, "-W", "error", "-c", ORPHANS, str(tmp_path / "video.mp4"), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        if end == "wait":
            parent.kill()
        _, errors = parent.communicate(timeout=30)
        assert errors == ""
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "decoder processes outlive their parent"
        time.sleep(0.1)
