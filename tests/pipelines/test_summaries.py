"""Summaries: what bundles count comes together once, by shard and time, whatever ran it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.metrics import count, live_summary, phase, reset, take_figures, waited
from pipelines.summaries import (
    FILES,
    SUMMARY,
    SUMMARY_TAG,
    StoreSummaries,
    by_file,
    store_summaries,
    stored_summary,
    summary_batch,
    summary_output,
)
from schemas.columns import SHARD
from schemas.report import Summary

FIGURES = st.dictionaries(
    st.tuples(st.text(max_size=4), st.sampled_from(["rows/read", "rows/loaded", "us/read"]), st.integers(0, 10**13)),
    st.integers(1, 10**6).map(float),
    max_size=30,
)


def objects(*shards: str) -> pa.RecordBatch:
    names = list(dict.fromkeys(shards))
    codes = pa.array([names.index(s) for s in shards], pa.int32())
    return pa.RecordBatch.from_arrays([pa.DictionaryArray.from_arrays(codes, pa.array(names))], names=[SHARD])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No figures of another test."""
    take_figures()
    reset()
    yield
    take_figures()
    reset()


def by_name(figures: Any) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for (shard, name, _), n in figures.items():
        found[shard, name] = found.get((shard, name), 0) + n
    return found


def test_a_count_belongs_to_its_shard_or_is_shared_by_rows() -> None:
    count("rows/read", 7, "a")
    count("rows/loaded", 8, objects("a", "b", "b", "b"))
    count("objects/written", 5)
    assert by_name(take_figures()) == {
        ("a", "rows/read"): 7,
        ("a", "rows/loaded"): 2,
        ("b", "rows/loaded"): 6,
        ("", "objects/written"): 5,
    }
    assert take_figures() == {}


def test_a_slice_shares_by_its_own_rows() -> None:
    count("rows/loaded", 3, objects("a", "b", "b", "c").slice(1, 3).slice(0, 3))
    assert by_name(take_figures()) == {("b", "rows/loaded"): pytest.approx(2), ("c", "rows/loaded"): pytest.approx(1)}


def test_figures_without_rows_or_shards_belong_to_none() -> None:
    count("rows/loaded", 1, objects("a").slice(0, 0))
    count("rows/loaded", 1, pa.RecordBatch.from_arrays([pa.array([1])], names=["x"]))
    assert by_name(take_figures()) == {("", "rows/loaded"): 2}


def test_parts_of_an_encoders_time_are_counted_apart() -> None:
    import time

    from encoders.timing import timed

    with phase("encode/v", "a"):
        time.sleep(0.005)
        with timed("tokenise"):
            time.sleep(0.005)
    found = by_name(take_figures())
    assert found.keys() == {("a", "us/encode/v"), ("a", "us/tokenise")} and min(found.values()) >= 4_000


def test_waiting_is_what_entering_takes() -> None:
    import threading

    lock = threading.Lock()
    with waited("wait/model", None, lock) as got:
        assert got and lock.locked()
    assert not lock.locked()
    assert set(by_name(take_figures())) <= {("", "us/wait/model")}


def test_live_figures_and_those_of_bundles_are_the_same() -> None:
    count("rows/loaded", 5, objects("a", "b"))
    count("rows/read", 2, "a")
    summary = Summary()
    for (shard, name, at), n in take_figures().items():
        summary.add(shard, name, at, n)
    live = live_summary()
    assert (live.counters, live.shards, live.done.counts) == (summary.counters, summary.shards, summary.done.counts)


@given(FIGURES)
def test_a_cut_batch_is_whole_and_a_shard_is_in_one_file(figures: dict[tuple[str, str, int], float]) -> None:
    batch = summary_batch(figures)
    assert batch.schema.equals(SUMMARY)
    cut = list(by_file(batch))
    assert sorted(str(row) for _, part in cut for row in part.to_pylist()) == sorted(str(row) for row in batch.to_pylist())
    assert all(0 <= number < FILES for number, _ in cut)
    files = {(shard, number) for number, part in cut for shard in part.column("shard").to_pylist()}
    assert len(files) == len({shard for shard, _ in files})


@settings(max_examples=30, deadline=None)
@given(st.lists(FIGURES, min_size=1, max_size=3))
def test_what_is_stored_adds_up_and_storing_twice_is_storing_once(tmp_path_factory: Any, bundles: list[Any]) -> None:
    folder = str(tmp_path_factory.mktemp("summaries"))
    parts: dict[int, list[pa.RecordBatch]] = {}
    for figures in bundles:
        for number, part in by_file(summary_batch(figures)):
            parts.setdefault(number, []).append(part)
    for _ in range(2):
        for number, batches in parts.items():
            store_summaries(number, batches, folder)
    expected = Summary()
    for figures in bundles:
        for (shard, name, at), n in figures.items():
            expected.add(shard, name, at, n)
    found = stored_summary(folder)
    assert (found is None) == (not parts)
    if found is not None:
        assert (found.totals, found.shards) == (expected.totals, expected.shards)
        assert sum(found.done.counts.values()) == sum(expected.done.counts.values())


def test_a_folder_that_is_not_there_is_no_summary(tmp_path: Path) -> None:
    assert stored_summary(str(tmp_path / "none")) is None


class Load(beam.DoFn):
    """Counts as the stages do."""

    def start_bundle(self) -> None:
        take_figures()

    def process(self, shard: str) -> Iterator[pa.RecordBatch]:
        for batch in range(3):
            count("rows/read", 10 * (batch + 1), shard)
            with phase("read", shard):
                np.sort(np.random.default_rng(0).random(1000))
            count("rows/loaded", 10 * (batch + 1))
        yield objects(shard)

    def finish_bundle(self) -> Iterator[Any]:
        yield from summary_output()


def test_a_bundle_that_broke_off_leaves_nothing_to_its_repetition() -> None:
    load = Load()
    load.start_bundle()
    list(load.process("a"))
    load.start_bundle()
    list(load.process("b"))
    (output,) = load.finish_bundle()
    rows = output.value.value.to_pylist()
    assert sum(r["n"] for r in rows if r["name"] == "rows/read") == 60 and {r["shard"] for r in rows} == {"b", ""}
    assert list(load.finish_bundle()) == []


@pytest.mark.parametrize(("mode", "workers"), [("multi_threading", 1), ("multi_threading", 4), ("multi_processing", 2)])
def test_every_bundle_of_a_pipeline_is_counted_once(tmp_path: Path, mode: str, workers: int) -> None:
    count("rows/read", 10**6, "left over from a bundle that broke off")
    shards = [f"s{i}" for i in range(40)]
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    flags = [f"--runner={runner}", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    with beam.Pipeline(argv=flags) as root:
        done = (
            root | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(Load()).with_output_types(pa.RecordBatch).with_outputs(SUMMARY_TAG)
        )
        _ = done[SUMMARY_TAG] | StoreSummaries(str(tmp_path / "summaries"))
    summary = stored_summary(str(tmp_path / "summaries"))
    assert summary is not None
    assert (summary.counters["rows/read"], summary.counters["rows/loaded"]) == (2400, 2400)
    assert {shard: figures["rows/read"] for shard, figures in summary.shards.items()} == dict.fromkeys(shards, 60)
    assert sum(summary.done.counts.values()) == 2400
    assert len(summary.slowest()) == 10
