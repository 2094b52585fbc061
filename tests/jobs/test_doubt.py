"""What of a run is in doubt: nothing that was lost is ever left out, and what was acknowledged long before is."""

from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.doubt import CLOCK, EVER, MOST, Doubt, Span, joined

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
TIMES = st.integers(0, 10**7).map(lambda s: START + timedelta(seconds=s))
SPANS = st.lists(st.tuples(TIMES, TIMES).map(lambda s: (min(s), max(s))), max_size=40)
PATIENCE = 60


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def ms(second: float) -> int:
    return round((at(second) - EVER).total_seconds() * 1000)


@given(SPANS)
def test_joined_spans_cover_all_of_them_in_order(spans: list[Span]) -> None:
    found = joined(spans)
    assert len(found) <= MOST
    assert all(any(begin >= b and end <= e for b, e in found) for begin, end in spans)
    edges = [time for span in found for time in span]
    assert edges == sorted(edges)
    if len(found) < MOST:  # nothing was given up
        assert {time for span in found for time in span} <= {time for span in spans for time in span}


@given(TIMES, SPANS)
def test_it_is_read_as_it_was_written(since: datetime, spans: list[Span]) -> None:
    doubt = Doubt(since, joined(spans))
    assert Doubt.parse(str(doubt)) == doubt


@pytest.mark.parametrize("text", ["", "today", "2026-01-01T00:00:00,2026-01-02T00:00:00", "2026-01-01/2026-01-02/2026-01-03", ","])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid isoformat|no list of spans"):
        Doubt.parse(text)


class Request(NamedTuple):
    """Sent, stored, and lost (then sent again, stored again and acknowledged) or acknowledged, in seconds."""

    sent: float
    stored: float
    ended: float
    lost: bool
    stored_again: float
    settled: float


@st.composite
def requests(draw: st.DrawFn) -> Request:
    seconds = st.floats(0, PATIENCE)
    sent = draw(st.floats(0, 3600))
    stored, ended = sorted((sent + draw(seconds), sent + draw(seconds)))
    pause = ended + draw(st.floats(0, 900))
    stored_again, settled = sorted((pause + draw(seconds), pause + draw(seconds)))
    return Request(sent, stored, ended, draw(st.booleans()), stored_again, settled)


def after_beats(sent: list[Request], beats: list[float], late: float) -> tuple[Doubt, list[Doubt]]:
    """What is in doubt at the end, and at each beat; the time is asked for `late` seconds after the counters were read."""
    doubt, figures, seen = Doubt(at(0) - CLOCK), (0, 0), []
    for beat in beats:
        lost = sum(r.lost and r.ended <= beat for r in sent)
        settled = sum(r.lost and r.settled <= beat for r in sent)
        now = at(int(beat + late)) - CLOCK
        doubt = doubt.moved_on(now, timedelta(seconds=PATIENCE), (lost, settled) != figures or lost != settled)
        figures = lost, settled
        seen.append(doubt)
    return doubt, seen


@given(st.lists(requests(), max_size=12), st.lists(st.floats(20, 400), max_size=60), st.floats(0, 1.5))
@settings(max_examples=300, deadline=None)
def test_what_was_lost_and_what_is_on_its_way_is_always_covered(sent: list[Request], gaps: list[float], late: float) -> None:
    end = max([5000.0, *(r.settled for r in sent)]) + 1
    beats = [b for b in (sum(gaps[: i + 1]) for i in range(len(gaps))) if b < end] + [end]
    last, seen = after_beats(sent, beats, late)
    for r in (r for r in sent if r.lost):
        assert last.ended().covers(ms(r.stored)) and last.ended().covers(ms(r.stored_again))
    for beat, doubt in zip(beats, seen, strict=True):  # a kill right then: what was stored and not acknowledged
        for r in sent:
            if r.sent <= beat < (r.settled if r.lost else r.ended):
                assert all(doubt.covers(ms(s)) for s in (r.stored, *[r.stored_again] * r.lost))


def test_what_was_written_long_after_a_loss_is_not_in_doubt() -> None:
    """A night's load whose server was restarted once: minutes are sent again, and not the night."""
    lost = Request(3000, 3010, 3020, True, 3100, 3110)
    last, _ = after_beats([lost], [60.0 * i for i in range(1, 600)], 0.1)
    assert len(last.spans) == 1
    begin, end = last.spans[0]
    assert end - begin < timedelta(minutes=6)
    assert last.ended().covers(ms(3050)) and not last.ended().covers(ms(2800)) and not last.ended().covers(ms(3300))
