"""Answers of a service that gives vectors: JSON in, numpy out, each fault named at its value."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from encoders.base import Encoding, Progress, Vectors
from schemas.errors import RowError

Answer = list[tuple[int, Vectors | RowError]]  # number of a value, and what it became


def vector_of(numbers: Any, dim: int | None) -> Vectors:
    """`numbers` of a JSON answer as a vector (dim,) float32. Raises RowError."""
    try:
        array = np.asarray(numbers)
    except ValueError:
        array = np.empty((0, 0))
    if array.ndim != 1 or not array.size or array.dtype.kind not in "fiu":
        raise RowError("bad_vector", f"the answer has no list of numbers where its vector should be: {str(numbers)[:80]}")
    with np.errstate(over="ignore"):
        vector: Vectors = array.astype(np.float32)
    if dim is not None and len(vector) != dim:
        raise RowError("bad_vector", f"the answer has a vector of length {len(vector)}, but this model's have length {dim}")
    if not np.isfinite(vector).all():
        raise RowError("bad_vector", "the answer has a vector with something in it that is no finite float32")
    return vector


def vectors_of(numbers: Any, places: Sequence[int], dim: int) -> Answer:
    """The vectors of several values, in the order of the answer. Raises RowError where there are not as many as `places`."""
    if not isinstance(numbers, list) or len(numbers) != len(places):
        got = len(numbers) if isinstance(numbers, list) else "no"
        raise RowError("bad_answer", f"the answer has {got} vectors for {len(places)} values")
    return [(place, _or_error(one, dim)) for place, one in zip(places, numbers, strict=True)]


def _or_error(numbers: Any, dim: int) -> Vectors | RowError:
    try:
        return vector_of(numbers, dim)
    except RowError as error:
        return error


def encoding_of(answers: Iterable[Answer], count: int, dim: int, progress: Progress | None) -> Encoding:
    """All answers in one: (count, dim) float32, with rows of NaN for errors."""
    encoding = Encoding(np.full((count, dim), np.nan, np.float32))
    for answer in answers:
        for place, found in answer:
            if isinstance(found, RowError):
                encoding.errors[place] = found
            else:
                encoding.vectors[place] = found
        if progress:
            progress(len(answer))
    return encoding
