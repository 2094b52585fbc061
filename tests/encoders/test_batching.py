"""Batches by padded tokens, and halving on out-of-memory."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.batching import DEVICE, Budget, padded_tokens, plan_batches, run_batches, run_padded

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


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(1e-7, 1e-3), st.integers(12, 20))
def test_the_budget_grows_while_that_is_faster(launch_s: float, token_s: float, room: int) -> None:
    """A device on which each batch costs `launch_s` and each token `token_s`, with memory for 2 to the power of `room` tokens."""
    budget, tokens, tried = Budget(4096, most=DEVICE), 1 << 20, []

    def rate(size: int) -> float:
        return size / (launch_s + size * token_s)

    for _ in range(12):
        used = budget.tokens
        tried.append(used)
        if used > 2**room:
            budget.ran_out(used)
        else:
            budget.measured(used, tokens, tokens / rate(used))
    settled = budget.tokens
    assert tried[-3:] == [settled] * 3
    assert settled <= min(DEVICE, 2**room)
    assert settled == 4096 or rate(settled) >= 1.05 * rate(settled // 2)
    assert settled == DEVICE or 2 * settled > 2**room or rate(2 * settled) < 1.05 * rate(settled)


def test_what_the_job_gives_is_kept() -> None:
    budget = Budget(4096, most=DEVICE, given=300)
    budget.measured(300, 10_000, 1.0)
    assert budget.tokens == 300
    assert budget.shared(10**6, 2) == 300


def test_windows_that_say_nothing_are_not_counted() -> None:
    budget = Budget(4096, most=DEVICE)
    budget.measured(4096, 8191, 1.0)
    assert budget.tokens == 4096, "not even two batches"
    budget.measured(2048, 10**6, 1.0)
    assert budget.tokens == 4096, "planned before the size was changed"


def test_a_device_with_a_cost_a_batch_gets_larger_ones() -> None:
    """Short texts fill a large batch too, and out of memory ends the search."""
    lengths = np.full(20_000, 20)
    budget, sizes = Budget(4096, most=DEVICE), []

    def forward(positions: np.ndarray) -> np.ndarray:
        sizes.append(len(positions))
        if len(positions) > 1000:
            raise MemoryError
        time.sleep(0.004)
        return positions[:, None].astype(np.float32)

    for _ in range(6):
        out = np.full((len(lengths), 1), np.nan, np.float32)
        sizes.clear()
        assert run_padded(lengths, forward, out, None, budget) == lengths.sum()
        assert out[:, 0].tolist() == list(range(len(lengths)))
    assert max(sizes) <= 1000
    assert budget.tokens == 819 * 20, "half of 1,638 texts, which had no room"
