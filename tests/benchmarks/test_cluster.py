"""The simulation of a load on a cluster: nothing is lost or done twice, and what must be slower is slower."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.billion import inputs, nodes_for, prices, scales
from benchmarks.billion_table import duration, tables
from benchmarks.cluster import REQUEST_ROWS, Load, simulated

LOADS = st.builds(
    Load,
    objects=st.integers(1, 300_000),
    workers=st.integers(1, 9),
    rate=st.floats(100, 20_000),
    nodes=st.integers(1, 5),
    node_rate=st.floats(100, 20_000),
    shard_rows=st.integers(1000, 50_000),
    spread=st.floats(0, 0.5),
    lost=st.floats(0, 0.2),
    queries=st.floats(0, 0.8),
    hot=st.floats(0.5, 4),
    deaths=st.lists(st.floats(0, 30), max_size=1).map(tuple),
    looked_up=st.sampled_from([None, 40_000.0]),
    own_queues=st.booleans(),
)
CALM = LOADS.map(lambda load: replace(load, spread=0.0, lost=0.0, deaths=(), own_queues=False))


@settings(max_examples=100, deadline=None)
@given(LOADS)
def test_every_shard_is_acknowledged_once_whatever_happens(load: Load) -> None:
    outcome = simulated(load)
    assert sum(load.sizes) == load.objects
    assert outcome.acknowledged == [1] * len(load.sizes)
    assert 0 <= outcome.tail_s <= outcome.seconds
    assert outcome.repeated == 0 or load.deaths
    assert simulated(load) == outcome


@settings(max_examples=100, deadline=None)
@given(CALM)
def test_no_load_beats_its_workers_or_its_server(load: Load) -> None:
    even = replace(load, hot=1.0)
    noise = 6 * (REQUEST_ROWS * load.nodes) ** 0.5  # a node may get somewhat less than its share, by chance
    assert simulated(even).seconds >= even.least_s - noise / (load.node_rate * (1 - load.queries))


@settings(max_examples=100, deadline=None)
@given(CALM, st.integers(1, 5))
def test_more_workers_are_never_slower(load: Load, more: int) -> None:
    few, many = (simulated(replace(load, workers=n)).seconds for n in (load.workers, load.workers + more))
    assert many <= few * 1.000001


def test_workers_help_as_long_as_the_server_keeps_up() -> None:
    load = Load(4_000_000, workers=1, rate=1000, nodes=4, node_rate=1000, shard_rows=10_000)
    one, two, four, eight, sixteen = (simulated(replace(load, workers=n)).seconds for n in (1, 2, 4, 8, 16))
    assert one / two == pytest.approx(2, rel=0.02)
    assert one / four == pytest.approx(4, rel=0.1)
    assert one / eight == pytest.approx(one / sixteen, rel=0.03)
    assert simulated(replace(load, workers=8, nodes=8)).seconds < 0.55 * four


@settings(max_examples=50, deadline=None)
@given(CALM)
def test_what_costs_the_server_costs_time(load: Load) -> None:
    base = replace(load, hot=1.0, queries=0.0)
    calm = simulated(base).seconds
    assert simulated(replace(base, queries=0.5)).seconds >= calm
    assert simulated(replace(base, lost=0.5)).seconds >= calm


def test_a_death_costs_what_was_not_acknowledged_and_in_batch_mode_all_that_the_worker_did() -> None:
    load = Load(1_000_000, workers=4, rate=1000, nodes=4, node_rate=5000, shard_rows=10_000, deaths=(100.0,), restart_s=10)
    calm, dead = simulated(replace(load, deaths=())), simulated(load)
    whole = simulated(replace(load, looked_up=5000.0, own_queues=True))
    assert 0 < dead.repeated <= 20_000
    assert calm.seconds < dead.seconds < calm.seconds * 1.1
    assert whole.repeated >= 90_000
    assert whole.seconds > dead.seconds


def test_the_tail_is_as_long_as_a_shard() -> None:
    load = Load(10_000_000, workers=4, rate=1000, nodes=4, node_rate=50_000)
    tails = [simulated(replace(load, shard_rows=rows)).tail_s for rows in (1000, 10_000, 100_000)]
    assert tails[0] < tails[1] < tails[2]


def test_a_slow_worker_hurts_only_where_shards_are_dealt_out() -> None:
    load = Load(4_000_000, workers=4, rate=1000, nodes=4, node_rate=50_000, shard_rows=10_000, slow=1)
    assert simulated(load).seconds == pytest.approx(4_000_000 / 3500, rel=0.03)
    assert simulated(replace(load, own_queues=True)).seconds == pytest.approx(4_000_000 / 4 / 500, rel=0.03)


def test_every_input_says_where_it_is_from() -> None:
    for name, figure in inputs().items():
        assert figure.value > 0, name
        assert figure.kind in ("measured", "published", "assumed"), name
        assert figure.source, name


def test_prices_and_memory_are_those_of_the_sources_own_sums() -> None:
    by_name = {row["what"]: row["dollars_a_million"] for row in prices()}
    assert by_name["text, base, on a small GPU"] == pytest.approx(0.409 * 0.76 / 0.8)  # $409 a billion at $0.8
    found = inputs()
    assert nodes_for(1_000_000, 1024, False, found)[0] == pytest.approx(6.0)  # Weaviate's rule itself
    assert nodes_for(1_000_000, 1024, True, found)[0] < 6.0
    first, *_, last = scales(found, 2000, 5000)
    assert last["hashes_that_meet"] == pytest.approx(1776, abs=1)
    assert last["shards"] == 1000 * first["shards"] == 500_000


def test_the_paper_has_the_figures_of_the_results() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "billion.md").read_text(encoding="utf-8")
    for name, rows in tables().items():
        assert rows in text, f"docs/billion.md has another table {name}; expected\n{rows}"


@pytest.mark.parametrize(("hours", "shown"), [(48.0, "2.0 days"), (240.0, "10 days"), (2.0, "2.0 h"), (1.5, "90 min"), (0.01, "36 s")])
def test_a_duration_is_told_in_its_unit(hours: float, shown: str) -> None:
    assert duration(hours) == shown
