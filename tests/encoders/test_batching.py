"""Batches by padded tokens, and halving on out-of-memory."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.batching import padded_tokens, plan_batches, run_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=60)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 2000), st.integers(1, 40))
def test_every_position_once_within_the_bounds(lengths: list[int], tokens: int, rows: int) -> None:
    batches = plan_batches(lengths, tokens, rows)
    assert sorted(int(i) for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens


@settings(max_examples=100, deadline=None)
@given(LENGTHS)
def test_longest_first_and_like_with_like(lengths: list[int]) -> None:
    """The first batch has the longest value; no value lies between those of another batch."""
    planned = [[lengths[i] for i in b] for b in plan_batches(lengths, 500, 8)]
    assert not lengths or max(lengths) in planned[0]
    by_length = sorted(planned, key=lambda b: (max(b), min(b)), reverse=True)
    assert all(min(longer) >= max(shorter) for longer, shorter in pairwise(by_length))


@settings(max_examples=20, deadline=None)
@given(LENGTHS)
def test_the_plan_is_always_the_same(lengths: list[int]) -> None:
    first, second = plan_batches(lengths, 500, 8), plan_batches(lengths, 500, 8)
    assert [b.tolist() for b in first] == [b.tolist() for b in second]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 2000))
def test_padded_tokens_are_rows_times_longest(lengths: list[int], tokens: int) -> None:
    batches = plan_batches(lengths, tokens)
    assert padded_tokens(lengths, batches) == sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert padded_tokens(lengths, batches) >= sum(lengths)


def test_no_values_no_batches() -> None:
    assert plan_batches([]) == []
    assert padded_tokens([], []) == 0


class Device:
    """Doubles its input, as long as a batch has at most `room` rows; remembers the batches it was given."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.given: list[int] = []

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        self.given.append(len(positions))
        if len(positions) > self.room:
            raise self.error
        return np.stack([positions * 2, positions], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate"), MemoryError(), RuntimeError("DefaultCPUAllocator: Out of Memory")]
)
def test_out_of_memory_halves_the_batch(error: Exception) -> None:
    device, out, done = Device(3, error), np.full((10, 2), np.nan, np.float32), []
    run_batches(plan_batches([1] * 10), device, out, done.append)
    assert out[:, 0].tolist() == [2.0 * i for i in range(10)]
    assert device.given == [10, 5, 2, 3, 5, 2, 3]
    assert done == [2, 3, 2, 3]


def test_torchs_own_error_is_recognised() -> None:
    torch = pytest.importorskip("torch")
    out = np.empty((4, 2), np.float32)
    run_batches([np.arange(4)], Device(1, torch.OutOfMemoryError("no room")), out, None)
    assert out[:, 1].tolist() == [0, 1, 2, 3]


def test_out_of_memory_of_one_value_is_raised() -> None:
    device = Device(0, MemoryError())
    with pytest.raises(MemoryError):
        run_batches([np.arange(4)], device, np.empty((4, 2), np.float32), None)
    assert device.given == [4, 2, 1]


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory of another kind")])
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    device = Device(0, error)
    with pytest.raises(type(error), match=str(error)):
        run_batches([np.arange(4)], device, np.empty((4, 2), np.float32), None)
    assert device.given == [4]


@settings(max_examples=100, deadline=None)
@given(LENGTHS.filter(bool), st.integers(1, 10))
def test_every_row_is_filled_whatever_the_room(lengths: list[int], room: int) -> None:
    out = np.full((len(lengths), 2), np.nan, np.float32)
    done: list[int] = []
    run_batches(plan_batches(lengths, 2000), Device(room, MemoryError()), out, done.append)
    assert out[:, 1].tolist() == list(range(len(lengths)))
    assert sum(done) == len(lengths)
