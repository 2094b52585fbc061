"""What a run counts."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.report import COLUMNS, EDGES, TICK_MS, Counts, Summary, Timeline, histogram


def test_counts_are_read_from_the_counters_of_a_run() -> None:
    counters = {
        "rows/read": 10,
        "rows/loaded": 6,
        "rows/unchanged": 1,
        "rows/failed": 2,
        "rows/duplicate": 1,
        "objects/written": 17,
        "tokens": 5,
    }
    assert Counts.of(counters) == Counts(read=10, loaded=6, unchanged=1, failed=2, duplicate=1, objects_written=17)


def test_a_counter_that_never_counted_is_zero() -> None:
    assert Counts.of({}) == Counts()


@given(st.tuples(*[st.integers(0, 1000)] * 4))
def test_rows_add_up_when_each_is_in_one_group(groups: tuple[int, int, int, int]) -> None:
    assert Counts(sum(groups), *groups).add_up


@given(st.tuples(*[st.integers(0, 1000)] * 4), st.integers(1, 5))
def test_a_lost_row_does_not_add_up(groups: tuple[int, int, int, int], lost: int) -> None:
    assert not Counts(sum(groups) + lost, *groups).add_up


def test_failed_share() -> None:
    assert Counts(read=8, loaded=6, failed=2).failed_share == 0.25


def test_failed_share_of_nothing_is_zero() -> None:
    assert Counts().failed_share == 0.0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.data())
def test_a_repeated_bundle_turns_loaded_into_unchanged_and_the_sum_holds(bundles: list[int], data: st.DataObject) -> None:
    """A bundle whose objects were written before it broke off finds them there when it comes again."""
    repeated = data.draw(st.lists(st.sampled_from(range(len(bundles))), unique=True))
    counters = {"rows/read": sum(bundles), "rows/loaded": 0, "rows/unchanged": 0}
    for i, rows in enumerate(bundles):
        counters["rows/unchanged" if i in repeated else "rows/loaded"] += rows
    counts = Counts.of(counters)
    assert counts.add_up and counts.unchanged == sum(bundles[i] for i in repeated)


@given(st.lists(st.integers(0, 10**7)))
def test_every_length_is_in_the_one_class_that_it_belongs_to(lengths: list[int]) -> None:
    found = histogram(lengths)
    assert sum(found.values()) == len(lengths) and found.keys() <= set(EDGES)
    for edge, count in found.items():
        below = EDGES[EDGES.index(edge) - 1] if edge else -1
        assert count == sum(below < n and (n <= edge or edge == EDGES[-1]) for n in lengths)


def test_lengths_at_the_edges() -> None:
    assert histogram([0, 1, 2, 3, 4, 5, 2**20, 2**20 + 1, 2**30]) == {0: 1, 1: 1, 2: 1, 4: 2, 8: 1, 2**20: 1, 2**21: 2}


MOMENTS = st.lists(st.tuples(st.integers(0, 40 * 86_400_000), st.integers(1, 1000)), min_size=1, max_size=60)


@given(MOMENTS)
def test_a_timeline_forgets_nothing_and_stays_small(moments: list[tuple[int, int]]) -> None:
    line = Timeline()
    for at, n in moments:
        line.add(at, n)
    assert sum(line.counts.values()) == sum(n for _, n in moments)
    assert len(line.counts) <= COLUMNS and line.step_ms % TICK_MS == 0
    assert {at // line.step_ms for at, _ in moments} == set(line.counts)


@given(MOMENTS, st.integers(1, 100), st.integers(0, 10**10), st.integers(0, 10**10))
def test_the_columns_of_a_timeline_hold_everything(moments: list[tuple[int, int]], most: int, start: int, length: int) -> None:
    line = Timeline()
    for at, n in moments:
        line.add(at, n)
    step_s, counts = line.columns(start, start + length, most)
    assert sum(counts) == sum(n for _, n in moments)
    assert 1 <= len(counts) <= most and len(counts) * step_s * 1000 >= length


def test_columns_are_where_the_counts_were() -> None:
    line = Timeline()
    line.add(10_000, 5)
    line.add(12_000, 7)
    assert line.columns(10_000, 14_000, 4) == (1.0, [5, 0, 7, 0])


def test_a_summary_adds_up_by_shard() -> None:
    summary = Summary()
    for shard, name, at, n in [("a", "us/read", 1, 2.5), ("a", "us/write", 9, 1.5), ("b", "us/read", 2, 9), ("", "rows/loaded", 3, 4)]:
        summary.add(shard, name, at, n)
    summary.add("a", "rows/read", 4, 10)
    assert summary.counters == {"us/read": 12, "us/write": 2, "rows/loaded": 4, "rows/read": 10}
    assert [(shard, figures["us"], figures["rows/read"]) for shard, figures in summary.slowest()] == [("b", 9, 0), ("a", 4, 10)]
    assert (summary.first_ms, summary.last_ms) == (1, 9)


def test_only_the_slowest_are_given() -> None:
    summary = Summary()
    for i in range(30):
        summary.add(f"s{i:02d}", "us/read", 1, i)
    assert [shard for shard, _ in summary.slowest()] == [f"s{i:02d}" for i in range(29, 19, -1)]
