"""Write: objects go to the target in byte-capped requests; only what it acknowledged counts as loaded."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipelines.failures import REJECTED_TAG, rejected_output
from pipelines.metrics import count, phase, take_figures
from pipelines.summaries import SUMMARY_TAG, summary_output
from pipelines.targets import Target
from schemas.columns import CHUNKS, ROW, SHARD, UNCHANGED, Rejection, reject
from schemas.objects import Reasons


class RowTally:
    """Counts rows of which every chunk is in the target; a row's chunks may be spread over batches of one bundle."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._open: Counter[tuple[str, int]] = Counter()
        self._written: set[tuple[str, int]] = set()

    def complete(self, batch: pa.RecordBatch, refused: Reasons) -> tuple[int, int]:
        """(loaded, unchanged): the rows that `batch`, without the `refused` positions, completes.

        A row is unchanged if all its chunks are.
        """
        unchanged = UNCHANGED in batch.schema.names
        if CHUNKS not in batch.schema.names:
            rows_done = int(batch.num_rows - len(refused))
            return (0, rows_done) if unchanged else (rows_done, 0)
        rows = zip(batch.column(SHARD).to_pylist(), batch.column(ROW).to_pylist(), batch.column(CHUNKS).to_pylist(), strict=True)
        loaded = same = 0
        for i, (shard, row, chunks) in enumerate(rows):
            if i in refused:
                continue
            if not unchanged:
                self._written.add((shard, row))
            self._open[shard, row] += 1
            if self._open[shard, row] == chunks:
                del self._open[shard, row]
                written = (shard, row) in self._written
                self._written.discard((shard, row))
                loaded, same = loaded + written, same + (not written)
        return loaded, same


class Pace:
    """Keeps a process below a number of objects a second, by waiting before a batch is sent."""

    def __init__(self, objects_per_s: float | None) -> None:
        """None: no ceiling."""
        self.objects_per_s = objects_per_s
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, objects: int) -> None:
        """Return when `objects` more may go out."""
        if not self.objects_per_s:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + objects / self.objects_per_s
        time.sleep(max(0.0, start - now))


_paces: dict[float | None, Pace] = {}
_paces_lock = threading.Lock()


def shared_pace(objects_per_s: float | None) -> Pace:
    """The process's pace: all its writers together stay below the ceiling."""
    with _paces_lock:
        return _paces.setdefault(objects_per_s, Pace(objects_per_s))


class WriteObjects(beam.PTransform):
    """Objects to the target; gives the refused rows."""

    def __init__(self, target: Target, objects_per_s: float | None = None) -> None:
        """`objects_per_s`: a ceiling for this process."""
        super().__init__()
        self.target, self.objects_per_s = target, objects_per_s

    def expand(self, objects: beam.PCollection[pa.RecordBatch]) -> Any:
        """Stays in the worker that vectorized the objects."""
        return objects | "Write" >> beam.ParDo(_Write(self.target, self.objects_per_s)).with_outputs(REJECTED_TAG, SUMMARY_TAG)


class _Write(beam.DoFn):
    def __init__(self, target: Target, objects_per_s: float | None) -> None:
        self.target, self.objects_per_s = target, objects_per_s
        self.tally = RowTally()

    def setup(self) -> None:
        self.pace = shared_pace(self.objects_per_s)
        self.target.get_ready()

    def teardown(self) -> None:
        self.target.close()

    def start_bundle(self) -> None:
        self.tally = RowTally()
        take_figures()  # of a bundle that broke off in this thread

    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        if UNCHANGED in batch.schema.names:
            count("objects/unchanged", batch.num_rows)
            self._count_rows(batch, {})
            return
        for part in _paced(batch, self.objects_per_s):
            if self.objects_per_s:
                with phase("wait/ceiling", part):
                    self.pace.wait(part.num_rows)
            with phase("write", part):
                self.target.write(part)
            yield from rejected_output(self._acknowledged(wait=False))

    def finish_bundle(self) -> Iterator[Any]:
        from apache_beam.transforms.window import GlobalWindows

        with phase("wait/server"):
            rejections = self._acknowledged(wait=True)
        for output in rejected_output(rejections):
            yield beam.pvalue.TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
        yield from summary_output()

    def _acknowledged(self, wait: bool) -> list[Rejection]:
        """Count what the target took, and name what it refused."""
        rejections: list[Rejection] = []
        for batch, refused in self.target.results(wait):
            count("objects/written", batch.num_rows - len(refused))
            self._count_rows(batch, refused)
            rejections += reject(batch, refused, "write")
        return rejections

    def _count_rows(self, batch: pa.RecordBatch, refused: Reasons) -> None:
        loaded, unchanged = self.tally.complete(batch, refused)
        count("rows/loaded", loaded)
        count("rows/unchanged", unchanged)


def _paced(batch: pa.RecordBatch, objects_per_s: float | None) -> Iterator[pa.RecordBatch]:
    """`batch`, in pieces of at most a second's worth where there is a ceiling."""
    step = batch.num_rows if objects_per_s is None else max(1, int(np.floor(objects_per_s)))
    for start in range(0, batch.num_rows, max(1, step)):
        yield batch.slice(start, step)
