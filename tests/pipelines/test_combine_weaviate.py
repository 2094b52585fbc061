"""Vectors and positional weights to one vector, as Weaviate's Go code computes it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.combine_weaviate import combine_weaviate

F = np.float32


def one(vectors: list[list[float]], weights: tuple[float, ...]) -> list[float]:
    """The vector of a single row, as Python's shortest float32 texts."""
    out, present, reasons = combine_weaviate(np.array(vectors, F), np.zeros(len(vectors), np.int64), weights, 1)
    assert present.tolist() == [True] and reasons == {} and out.dtype == F
    return [float(str(x)) for x in out[0]]


@pytest.mark.parametrize(
    ("vectors", "weights", "expected"),
    [
        pytest.param([[1, 0], [0, 1]], (0.7, 0.3), [0.35, 0.15], id="W1"),
        pytest.param([[1, 0], [0, 1]], (), [0.5, 0.5], id="W2"),
        pytest.param([[1, 0], [0, 1]], (1, 1), [0.25, 0.25], id="W3"),
        pytest.param([[1, 2]], (0.7, 0.3), [0.7, 1.4], id="W4 and W5: whichever is there takes the first weight"),
        pytest.param([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (0.9, 0.1, 0.5), [0.2, 0.022222223, 0.11111111], id="W6"),
        pytest.param([[0.1, -0.3]], (0.7,), [0.1, -0.3], id="W9"),
    ],
)
def test_the_cases_of_the_specification(vectors: list[list[float]], weights: tuple[float, ...], expected: list[float]) -> None:
    assert one(vectors, weights) == expected  # W10, vectors of unequal length, no encoder gives


def test_more_vectors_than_weights_spoil_their_row_alone() -> None:  # W7
    vectors, owner = np.ones((5, 2), F), np.array([0, 1, 1, 0, 1])
    out, present, reasons = combine_weaviate(vectors, owner, (1.0, 1.0), 3)
    assert list(reasons) == [1] and reasons[1][0] == "more_vectors_than_weights"
    assert "3 values" in reasons[1][1] and "2 weights" in reasons[1][1] and "every object of the same request" in reasons[1][1]
    assert present.tolist() == [True, True, False]
    assert out[0].tolist() == [0.5, 0.5] and np.isnan(out[1:]).all()


def test_weights_that_sum_to_nothing_give_nan() -> None:  # W8
    assert np.isnan(one([[1, 0]], (0.0,))).all()


def test_nothing_to_combine() -> None:
    out, present, reasons = combine_weaviate(np.zeros((0, 3), F), np.zeros(0, np.int64), (1.0,), 2)
    assert out.shape == (2, 3) and np.isnan(out).all() and not present.any() and reasons == {}


def test_texts_come_before_images_in_each_row() -> None:
    """The owners of the texts, then those of the images: the first weight is the text's wherever there is one."""
    vectors = np.array([[1, 0], [2, 0], [0, 1], [0, 2], [0, 3]], F)
    out, _, _ = combine_weaviate(vectors, np.array([0, 2, 0, 1, 2]), (3.0, 1.0), 3)
    assert out.tolist() == [[0.375, 0.125], [0, 1.5], [0.75, 0.375]]


def in_go(vectors: list[np.ndarray], weights: tuple[float, ...]) -> list[np.float32]:
    """Weaviate's NormalizeWeights and CombineVectorsWithWeights, line by line, one float32 at a time."""
    denominator = F(0)
    for w in weights:
        denominator = F(denominator + F(w))
    normalized = [F(F(w) * F(F(1) / denominator)) for w in weights]
    sums, dividers = [F(0)] * len(vectors[0]), [0] * len(vectors[0])
    for k, vector in enumerate(vectors):
        for i in range(len(vector)):
            sums[i] = F(sums[i] + (F(vector[i] * normalized[k]) if weights else vector[i]))
            dividers[i] += 1
    return [F(s / F(d)) for s, d in zip(sums, dividers, strict=True)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=12).map(sorted),
    st.lists(st.integers(0, 3), max_size=6).map(sorted),
    st.lists(st.floats(0.001, 100), max_size=20),
    st.data(),
)
def test_bit_for_bit_like_the_loops_of_the_source(texts: list[int], images: list[int], weights: list[float], data: st.DataObject) -> None:
    owner = np.array(texts + images, np.int64)
    vectors = data.draw(arrays.arrays(F, (len(owner), 3), elements=st.floats(-1000, 1000, width=32)))
    out, present, reasons = combine_weaviate(vectors, owner, tuple(weights), 4)
    for row in range(4):
        own = [vectors[i] for i in np.flatnonzero(owner == row)]
        assert present[row] == bool(own)
        assert (row in reasons) == bool(weights and len(own) > len(weights))
        if own and row not in reasons:
            np.testing.assert_array_equal(out[row], np.array(in_go(own, tuple(weights)), F))
