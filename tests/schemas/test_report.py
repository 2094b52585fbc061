"""What a run counts."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.report import Counts


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
