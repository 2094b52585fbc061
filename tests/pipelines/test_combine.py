"""Field vectors and weights to one vector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.combine import combine, unit


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_one_part_is_left_as_the_model_made_it() -> None:
    out, has = combine(floats([3, 4]), np.array([0]), floats([0.2])[0], 1)
    assert out.tolist() == [[3, 4]]
    assert has.tolist() == [True]


def test_row_without_parts_has_no_vector() -> None:
    out, has = combine(floats([3, 4]), np.array([1]), np.ones(1, np.float32), 3)
    assert has.tolist() == [False, True, False]
    assert np.isnan(out[[0, 2]]).all()


def test_no_parts_at_all() -> None:
    out, has = combine(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), 2)
    assert out.shape == (2, 4)
    assert not has.any()


def test_lengths_of_parts_do_not_count() -> None:
    """A weight means what it says: each part is scaled to length 1 first."""
    out, _ = combine(floats([100, 0], [0, 1]), np.array([0, 0]), np.array([0.5, 0.5], np.float32), 1)
    np.testing.assert_allclose(out, [[2**-0.5, 2**-0.5]], rtol=1e-6)


def test_weights_are_scaled_over_the_parts_that_are_present() -> None:
    parts, owner = floats([1, 0], [0, 1]), np.array([0, 0])
    small, _ = combine(parts, owner, np.array([0.1, 0.3], np.float32), 1)
    large, _ = combine(parts, owner, np.array([10, 30], np.float32), 1)
    np.testing.assert_allclose(small, large, rtol=1e-6)
    np.testing.assert_allclose(small[0, 1] / small[0, 0], 3, rtol=1e-6)


def test_parts_that_cancel_out_give_nan() -> None:
    out, has = combine(floats([1, 0], [-1, 0]), np.array([0, 0]), np.ones(2, np.float32), 1)
    assert np.isnan(out).all()
    assert has.all()


def test_nan_part_spoils_only_its_row() -> None:
    out, _ = combine(floats([np.nan, 0], [1, 0], [0, 1]), np.array([0, 0, 1]), np.ones(3, np.float32), 2)
    assert np.isnan(out[0]).all()
    assert out[1].tolist() == [0, 1]


def test_unit_of_zero_is_nan() -> None:
    assert np.isnan(unit(floats([0, 0]))).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 2**32 - 1))
def test_against_a_plain_loop(owners: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((len(owners), 3), np.float32)
    weights = generator.uniform(0.1, 2, len(owners)).astype(np.float32)
    out, has = combine(parts, np.array(owners, np.int64), weights, 5)
    for row in range(5):
        mine = [i for i, o in enumerate(owners) if o == row]
        assert has[row] == bool(mine)
        if len(mine) == 1:
            assert out[row].tolist() == parts[mine[0]].tolist()
        elif mine:
            total = sum(weights[i].astype(float) * parts[i] / np.linalg.norm(parts[i].astype(float)) for i in mine)
            assert out[row] == pytest.approx(total / np.linalg.norm(total), rel=1e-4, abs=1e-5)
