"""A load on a cluster as a discrete simulation: workers that take shards and encode them, and a server of several nodes.

A worker encodes a shard while its last one is being written, and waits when that is not done. A shard's objects go to all
nodes by their uuid; each node takes them one after the other, more slowly as its graph grows, and the shard is acknowledged
when the slowest node has its part. A worker that dies gives back what was not acknowledged. All chances are drawn per shard
from a seed, so two loads that differ in one number can be compared.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

REQUEST_ROWS = 1000
GROWTH_FROM = 10_000_000  # objects a node for which `Load.node_rate` holds; inserting costs log(n)
ENCODED, WRITTEN, DIES, BACK = range(4)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """What is loaded, by whom, into what."""

    objects: int
    workers: int
    rate: float  # objects a second that one worker encodes
    nodes: int
    node_rate: float  # objects a second that one node acknowledges
    shard_rows: int = 100_000
    spread: float = 0.1  # of the logarithm of a shard's time
    slow: int = 0  # workers at half the rate
    lost: float = 0.0  # share of the requests that are sent a second time
    retry_s: float = 2.0  # before that
    queries: float = 0.0  # share of the nodes' time that searches take
    hot: float = 1.0  # how many times the share of the others the first node gets
    deaths: tuple[float, ...] = ()  # seconds at which a worker dies: the first, the second ...
    restart_s: float = 120.0
    looked_up: float | None = None  # objects a second; set, a dead worker's whole part is looked up again, as in Flink's batch mode
    own_queues: bool = False  # shards are dealt out at the start, and nobody takes another's
    seed: int = 8

    @property
    def sizes(self) -> list[int]:
        """Rows of each shard."""
        whole, rest = divmod(self.objects, self.shard_rows)
        return [self.shard_rows] * whole + [rest] * bool(rest)

    @property
    def least_s(self) -> float:
        """Without chances and growth no load is faster: neither than its workers nor than its server."""
        workers = (self.workers - 0.5 * self.slow) * self.rate
        return self.objects / min(workers, self.nodes * self.node_rate * (1 - self.queries))


@dataclass
class Outcome:
    """What became of a load; all times in seconds."""

    seconds: float = 0.0
    tail_s: float = 0.0  # from the moment when no shard is left to take
    encoding_s: float = 0.0  # of all workers, repeated work too
    writing_s: float = 0.0  # of all nodes
    repeated: int = 0  # objects that were encoded or looked up again
    acknowledged: list[int] = field(default_factory=list)  # how often, for each shard


class Event(NamedTuple):
    """Something that happens; `life` says in which of the worker's lives."""

    at: float
    number: int
    kind: int
    worker: int
    life: int
    shard: int


class Server:
    """Nodes, each of which takes what it gets one after the other."""

    def __init__(self, load: Load) -> None:
        """Empty nodes."""
        shares = np.ones(load.nodes)
        shares[0] = load.hot
        self.shares: Floats = shares / shares.sum()
        self.load, self.held, self.busy = load, 0, 0.0
        self.free: Floats = np.zeros(load.nodes)

    def write(self, at: float, rows: int, noise: Floats, again: int) -> float:
        """When these rows, sent at `at`, are acknowledged; `again` of their requests are sent twice."""
        parts = np.maximum(0, rows * self.shares + noise * np.sqrt(rows * self.shares))
        growth = max(1.0, log(max(2.0, self.held / self.load.nodes)) / log(GROWTH_FROM))
        twice = 1 + again * REQUEST_ROWS / max(rows, REQUEST_ROWS)
        work = parts * twice * growth / (self.load.node_rate * (1 - self.load.queries))
        self.free = np.maximum(self.free, at) + work
        self.held, self.busy = self.held + rows, self.busy + float(work.sum())
        return float(self.free.max()) + (self.load.retry_s if again else 0.0)


class Cluster:
    """One run of a load."""

    def __init__(self, load: Load) -> None:
        """All workers are there, and nothing is done."""
        self.load, self.server, self.outcome = load, Server(load), Outcome()
        self.sizes = load.sizes
        chance = np.random.default_rng(load.seed)
        count, width = len(self.sizes), load.workers if load.own_queues else 1
        self.jitter = np.exp(chance.normal(0.0, load.spread, count) - load.spread**2 / 2)
        self.noise = chance.normal(0.0, 1.0, (count, load.nodes))
        self.again = chance.binomial([-(-rows // REQUEST_ROWS) for rows in self.sizes], load.lost)
        self.queues = [deque(range(first, count, width)) for first in range(width)]
        self.life, self.done = [0] * load.workers, [0] * load.workers
        self.held: list[list[int]] = [[] for _ in range(load.workers)]  # taken and not acknowledged
        self.encoding = [False] * load.workers
        self.up = [True] * load.workers
        self.events: list[Event] = []
        self.number = 0
        self.last_taken = 0.0
        self.outcome.acknowledged = [0] * count

    def run(self) -> Outcome:
        """Until every shard is acknowledged."""
        for worker, at in enumerate(self.load.deaths):
            self._at(at, DIES, worker)
        for worker in range(self.load.workers):
            self._start(worker, 0.0)
        left = len(self.sizes)
        while left:
            event = heapq.heappop(self.events)
            left -= self._happens(event)
            self.outcome.seconds = event.at
        self.outcome.tail_s = self.outcome.seconds - self.last_taken
        self.outcome.writing_s = self.server.busy
        return self.outcome

    def _at(self, at: float, kind: int, worker: int, shard: int = -1) -> None:
        self.number += 1
        heapq.heappush(self.events, Event(at, self.number, kind, worker, self.life[worker], shard))

    def _happens(self, event: Event) -> int:
        """How many shards are acknowledged by it."""
        worker, shard = event.worker, event.shard
        if event.kind == DIES:
            self._dies(worker, event.at)
        elif event.life == self.life[worker]:
            if event.kind == BACK:
                self.up[worker] = True
            elif event.kind == ENCODED:
                self.encoding[worker] = False
                sent = self.server.write(event.at, self.sizes[shard], self.noise[shard], int(self.again[shard]))
                self._at(sent, WRITTEN, worker, shard)
            else:
                self._acknowledged(worker, shard)
            self._start(worker, event.at)
            return int(event.kind == WRITTEN)
        return 0

    def _start(self, worker: int, at: float) -> None:
        """Take the next shard, if the worker is up, encodes nothing and waits for no more than one write."""
        queue = self.queues[worker % len(self.queues)]
        if not queue or not self.up[worker] or self.encoding[worker] or len(self.held[worker]) > 1:
            return
        shard = queue.popleft()
        speed = self.load.rate * (0.5 if worker >= self.load.workers - self.load.slow else 1.0)
        seconds = self.sizes[shard] / speed * float(self.jitter[shard])
        self.encoding[worker], self.last_taken = True, at
        self.held[worker].append(shard)
        self.outcome.encoding_s += seconds
        self._at(at + seconds, ENCODED, worker, shard)

    def _acknowledged(self, worker: int, shard: int) -> None:
        self.held[worker].remove(shard)
        self.done[worker] += self.sizes[shard]
        self.outcome.acknowledged[shard] += 1

    def _dies(self, worker: int, at: float) -> None:
        """What it had not finished goes back to the front of its queue; the others may take it where there is one queue."""
        again = self.held[worker]
        self.queues[worker % len(self.queues)].extendleft(again)
        looked_up = self.done[worker] if self.load.looked_up else 0
        self.outcome.repeated += sum(self.sizes[s] for s in again) + looked_up
        self.held[worker], self.encoding[worker], self.up[worker] = [], False, False
        self.life[worker] += 1
        self._at(at + self.load.restart_s + looked_up / (self.load.looked_up or 1.0), BACK, worker)
        for other in range(self.load.workers):
            self._start(other, at)


def simulated(load: Load) -> Outcome:
    """What becomes of `load`. The outcome is the same each time."""
    return Cluster(load).run()
