"""Parts of an encoder's time."""

import time

import pytest

from encoders.timing import timed, timed_calls, timings


def test_nothing_is_kept_where_nobody_listens() -> None:
    with timed("decode"):
        pass
    with timings() as heard:
        pass
    assert heard == {}


def test_a_part_inside_a_part_counts_once() -> None:
    start = time.perf_counter()
    with timings() as heard, timed("decode"):
        time.sleep(0.01)
        timed_calls("tokenise", time.sleep)(0.01)
    assert heard.keys() == {"decode", "tokenise"}
    assert 20_000 <= heard.total() <= 1e6 * (time.perf_counter() - start)
    assert min(heard.values()) >= 9_000


def test_a_part_that_raises_is_counted() -> None:
    with timings() as heard, pytest.raises(ValueError, match="no"), timed("decode"):
        raise ValueError("no")
    assert "decode" in heard


def test_a_listener_inside_a_listener_hears_its_own() -> None:
    with timings() as outer:
        with timings() as inner, timed("decode"):
            time.sleep(0.002)
        with timed("tokenise"):
            time.sleep(0.002)
    assert (set(inner), set(outer)) == ({"decode"}, {"tokenise"})
