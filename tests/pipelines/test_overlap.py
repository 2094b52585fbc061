"""Reading, encoding and writing side by side, also where Beam has one thread; ends, errors and bounds of the look-ahead."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from jobs.execute import counters_of
from pipelines import vectorize
from pipelines.overlap import Beside, BrokenOff, ReadAhead
from pipelines.read import prefetched
from pipelines.vectorize import VectorizeObjects
from schemas.columns import KEY, ROW, SHARD, UUID
from schemas.job import VectorSpec

LOCAL = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
PAUSE_S = 0.15
ROUNDS = 12
ROWS = 100
FAKE = VectorSpec.model_validate({"model": {"fake": 4}, "text_fields": ["text"]})


def objects(n: int, start: int = 0) -> pa.RecordBatch:
    keys = [str(i) for i in range(start, start + n)]
    uuids = pa.array([i.to_bytes(16, "big") for i in range(start, start + n)], pa.binary(16))
    columns = {KEY: pa.array(keys), UUID: uuids, SHARD: pa.array(["s"] * n), ROW: pa.array(range(n)), "text": pa.array(keys)}
    return pa.RecordBatch.from_pydict(columns)


def slow_batches() -> Iterator[pa.RecordBatch]:
    for i in range(ROUNDS):
        time.sleep(PAUSE_S)
        yield objects(ROWS, i * ROWS)


class SlowRead(beam.DoFn):
    def process(self, shard: str) -> Iterator[pa.RecordBatch]:
        yield from prefetched(slow_batches, shard)


class SlowWrite(beam.DoFn):
    def process(self, batch: pa.RecordBatch) -> Iterator[int]:
        time.sleep(PAUSE_S * batch.num_rows / ROWS)
        yield batch.num_rows


@pytest.fixture
def slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of one batch each, which take as long to encode as to read and to write."""
    monkeypatch.setenv("WARPBEAM_FAKE_MS_PER_VALUE", str(1000 * PAUSE_S / ROWS))
    monkeypatch.setattr(vectorize, "WINDOW_ROWS", ROWS)
    monkeypatch.setattr(vectorize, "IDLE_SHARE", 1.0)


def test_at_one_thread_a_load_takes_the_time_of_its_slowest_part(slow_model: None) -> None:
    options = [f"--runner={LOCAL}", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    pipeline = beam.Pipeline(options=PipelineOptions(options))
    read = pipeline | beam.Create(["s"]) | beam.ParDo(SlowRead()).with_output_types(pa.RecordBatch)
    _ = (read | VectorizeObjects({"v": FAKE})).objects | beam.ParDo(SlowWrite()).with_output_types(int)
    start = time.perf_counter()
    result = pipeline.run()
    took = time.perf_counter() - start
    counters = counters_of(result)
    encoding = counters["us/encode/v"] / 1e6
    assert counters["tokens/v"] == ROUNDS * ROWS
    assert encoding >= 0.9 * ROUNDS * PAUSE_S
    assert took < 2 * encoding  # one after another it would be three times as long


def test_what_is_read_ahead_is_bounded_and_whole() -> None:
    made = []

    def make() -> Iterator[pa.RecordBatch]:
        for i in range(20):
            made.append(i)
            yield objects(10, 10 * i)

    found = []
    with ReadAhead(make, rows=30) as ahead:
        while (item := ahead.next()) is not None:
            found.append(item.column(KEY)[0].as_py())
            assert len(made) <= len(found) + 4
    assert found == [str(10 * i) for i in range(20)]


def test_bytes_bound_what_is_read_ahead() -> None:
    made = []

    def make() -> Iterator[pa.RecordBatch]:
        for i in range(5):
            made.append(i)
            yield objects(10)

    with ReadAhead(make, size=1) as ahead:
        assert ahead.next() is not None
        time.sleep(0.05)
        assert len(made) <= 2


def test_a_fault_of_reading_comes_after_what_was_read() -> None:
    def make() -> Iterator[pa.RecordBatch]:
        yield objects(1)
        raise ValueError("row 2 is broken")

    found = prefetched(make, "s")
    assert next(found).num_rows == 1
    with pytest.raises(ValueError, match="row 2 is broken"):
        next(found)


def test_nothing_is_read_when_nobody_listens_any_more() -> None:
    closed = []

    def make() -> Iterator[pa.RecordBatch]:
        try:
            while True:
                yield objects(ROWS)
        finally:
            closed.append(True)

    before = threading.active_count()
    found = prefetched(make, "s")
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert closed == [True] and threading.active_count() == before


def test_work_beside_gives_its_outputs_and_its_error() -> None:
    beside = Beside()
    assert beside.idle and beside.take() == []
    beside.start(lambda: iter([1, 2]))
    assert beside.take() == [1, 2] and beside.idle

    def broken() -> Iterator[Any]:
        yield 1
        raise KeyError("no such vector")

    beside.start(broken)
    with pytest.raises(KeyError, match="no such vector"):
        beside.take()
    beside.close()


def test_work_of_a_bundle_that_broke_off_ends_soon() -> None:
    beside, steps = Beside(), []

    def endless() -> Iterator[Any]:
        while True:
            steps.append(1)
            time.sleep(0.001)
            beside.go_on()
            yield 1

    beside.start(endless)
    beside.close()
    assert beside.idle and steps and issubclass(BrokenOff, Exception)


def test_a_bundle_gives_every_row_once_and_in_its_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectorize, "WINDOW_ROWS", 64)
    stage = vectorize._Vectorize({"v": FAKE}, None, frozenset(), frozenset())
    stage.setup()
    for size in (1, 15, 16, 63, 64, 65, 200):
        stage.start_bundle()
        given = [b for i in range(5) for b in stage.process(objects(size, i * size))]
        given += [w.value for w in stage.finish_bundle()]
        assert sorted(np.concatenate([b.column(KEY).to_numpy(zero_copy_only=False) for b in given]).astype(int)) == list(range(5 * size))
    stage.teardown()
