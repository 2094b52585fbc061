"""Batches in flight: what runs on a GPU, here on the CPU; only pinned memory and streams are not reached without one."""

import threading
import weakref
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from encoders.backends.device import OnDevice, on_device
from encoders.backends.flight import BATCHES, in_flight, own_stream, to_device, to_host
from encoders.backends.packing import padded_rows
from encoders.backends.switch import close_for
from encoders.batching import Budget, plan_batches, run_batches, run_padded
from encoders.text import TextEncoder
from schemas.models import ModelSpec
from tests.encoders.test_backends import FAMILIES, TEXT, saved

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@cache
def model_of(root: Path, family: str, dtype: str = "float32") -> SentenceTransformer:
    folder = root / family
    if not folder.exists():
        saved(folder, family)
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype}).eval()


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=12), tokens=st.integers(1, 600))
def test_the_vectors_are_the_librarys_own(root: Path, family: str, texts: list[str], tokens: int) -> None:
    model = model_of(root, family)
    encoder = TextEncoder(ModelSpec(name=str(root / family), device="cpu"), {})
    encoder._model, encoder._way, encoder.budget = model, OnDevice(model), Budget(tokens)
    found = encoder.encode(texts)
    wanted = model.encode(texts, show_progress_bar=False)
    assert (np.linalg.norm(found.vectors - wanted, axis=1) <= 2e-6 * np.linalg.norm(wanted, axis=1) + 1e-9).all()
    assert found.padded >= found.tokens


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_each_precision_is_compared_within_its_own_rounding(root: Path, dtype: str) -> None:
    fast, how = on_device(model_of(root, "Bert", dtype))
    assert fast is not None, how
    assert how == f"{dtype} on cpu, batches in flight"
    assert fast.forward([[2, 7, 3]]).dtype == np.float32


def test_a_model_of_other_modules_is_left_to_the_library(root: Path) -> None:
    class Odd(SentenceTransformer):
        def __iter__(self) -> Any:
            return iter([torch.nn.Linear(1, 1)])

    saved(root / "odd", "Bert")
    fast, how = on_device(Odd(str(root / "odd"), device="cpu"))
    assert fast is None and how == "cpu, by the library: its modules are Linear"


def test_vectors_that_differ_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(root, "Electra")
    monkeypatch.setattr(OnDevice, "forward", lambda self, ids, prompt="": np.ones((len(ids), 32), np.float32))
    fast, how = on_device(model)
    assert fast is None and how.startswith("float32 on cpu, by the library: its vectors differ by ")


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=1, max_size=6), st.integers(0, 0))
@settings(max_examples=100, deadline=None)
def test_rows_have_their_ids_and_then_padding(texts: list[list[int]], padding: int) -> None:
    rows, mask = padded_rows(texts, padding)
    assert rows.shape == mask.shape == (len(texts), max(map(len, texts)))
    assert [row[real == 1].tolist() for row, real in zip(rows, mask, strict=True)] == texts
    assert (rows[mask == 0] == padding).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_copies_keep_the_numbers(dtype: torch.dtype) -> None:
    numbers = torch.arange(12, dtype=dtype).view(3, 4)
    with own_stream(CPU):
        back = to_host(to_device(numbers, CPU))
    assert back.dtype == np.float32 and back.tolist() == numbers.tolist()
    assert close_for(dtype) >= 1e-5


def test_two_batches_are_under_way_and_no_more() -> None:
    """While one is copied back (here: waits for the other), the next one is in the queue of the device."""
    both, most, here, lock = threading.Barrier(BATCHES, timeout=60), 0, 0, threading.Lock()

    def forward(positions: np.ndarray) -> np.ndarray:
        nonlocal most, here
        with lock:
            here += 1
            most = max(most, here)
        both.wait()
        with lock:
            here -= 1
        return np.stack([positions, positions], axis=1).astype(np.float32)

    out = np.empty((8, 2), np.float32)
    run_batches(plan_batches([1] * 8, rows=1), forward, out, None, in_flight("one of its own"))
    assert most == BATCHES and out[:, 0].tolist() == list(range(8))


def test_the_turn_is_given_on_while_the_last_batches_are_computed() -> None:
    given_on, entered = threading.Event(), threading.Event()

    @contextmanager
    def turn() -> Any:
        entered.set()
        yield
        given_on.set()

    def forward(positions: np.ndarray) -> np.ndarray:
        if 0 in positions:  # the shortest, in the last batch or in one that is under way with it
            assert given_on.wait(60)
        return np.zeros((len(positions), 2), np.float32)

    run_padded(np.array([1, 9]), forward, np.empty((2, 2), np.float32), None, Budget(9), in_flight("another"), turn())
    assert entered.is_set() and given_on.is_set()


@pytest.mark.parametrize("pool", [None, "a device of its own"])
def test_what_ran_out_of_memory_is_let_go_before_the_next_try(pool: str | None) -> None:
    """A traceback holds the frames that failed, and these their tensors: the half of the batch would have no room either."""

    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []

    def forward(positions: np.ndarray) -> np.ndarray:
        assert all(ref() is None for ref in held)
        if len(positions) > 1:
            large = Tensor()
            held.append(weakref.ref(large))
            raise RuntimeError("CUDA out of memory")
        return np.zeros((1, 2), np.float32)

    run_batches([np.arange(2)], forward, np.empty((2, 2), np.float32), None, in_flight(pool) if pool else None)
    assert len(held) == 1
