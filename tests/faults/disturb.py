"""The ways in which a run is disturbed; each begins at once, lasts as long as it says, and leaves the world healthy."""

import random
import subprocess
import time
from collections.abc import Callable

from tests.faults.world import World

Job = subprocess.Popen[bytes]
Disturb = Callable[[World, Job, random.Random], str]  # what was done, in words


def kill_job(world: World, job: Job, draw: random.Random) -> str:
    job.kill()
    return "kill -9 of the job"


def kill_server(world: World, job: Job, draw: random.Random) -> str:
    world.kill_server()
    away = draw.uniform(0, 2)
    time.sleep(away)
    world.restart_server()
    return f"kill -9 of the server, {away:.1f} s, then a new one on the same data"


def cut(world: World, job: Job, draw: random.Random) -> str:
    """All connections cut, and none taken for a while."""
    away = draw.uniform(0.2, 4)
    world.connect(False)
    time.sleep(away)
    world.heal()
    return f"connections cut, none taken for {away:.1f} s"


def cut_often(world: World, job: Job, draw: random.Random) -> str:
    times = draw.randint(3, 8)
    for _ in range(times):
        world.connect(False)
        time.sleep(draw.uniform(0.01, 0.1))
        world.connect(True)
        time.sleep(draw.uniform(0.05, 0.5))
    return f"connections cut {times} times"


def slow(world: World, job: Job, draw: random.Random) -> str:
    delay, rate, lasts = draw.randint(50, 600), draw.randint(40, 400), draw.uniform(2, 6)
    world.toxic("latency", latency=delay, jitter=delay // 2)
    world.toxic("bandwidth", "upstream", rate=rate)
    _while_running(job, lasts)
    world.heal()
    return f"{delay} ms of latency and {rate} KB/s for {lasts:.1f} s"


def reset(world: World, job: Job, draw: random.Random) -> str:
    after, lasts, stream = draw.randint(0, 300), draw.uniform(0.3, 3), draw.choice(["upstream", "downstream"])
    world.toxic("reset_peer", stream, timeout=after)
    _while_running(job, lasts)
    world.heal()
    return f"connections reset {after} ms after they began ({stream}), for {lasts:.1f} s"


def half_open(world: World, job: Job, draw: random.Random) -> str:
    """Connections stay open, and nothing comes through."""
    lasts, stream = draw.uniform(1, 6), draw.choice(["upstream", "downstream"])
    world.toxic("timeout", stream, timeout=0)
    _while_running(job, lasts)
    world.heal()
    return f"half-open: nothing goes {stream} for {lasts:.1f} s"


def _while_running(job: Job, seconds: float) -> None:
    end = time.monotonic() + seconds
    while job.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


KINDS: dict[str, Disturb] = {f.__name__: f for f in (kill_job, kill_server, cut, cut_often, slow, reset, half_open)}
