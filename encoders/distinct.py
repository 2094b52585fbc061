"""Each distinct value is computed once: the brands, categories and repeated descriptions of a window cost next to nothing."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from encoders.base import Encoder, Encoding, Groups, Progress
from encoders.batching import Positions

Value = TypeVar("Value", bound=Hashable)


def encode_distinct(
    encoder: Encoder, values: Sequence[Any], modality: str, progress: Progress | None = None, groups: Groups | None = None
) -> Encoding:
    """As `encoder.encode`, with each distinct value encoded once; `tokens` are those that were computed.

    A model whose vectors depend on an object's other values gets every value.
    """
    if encoder.grouped:
        return encoder.encode(values, modality, progress=progress, groups=groups)
    distinct, index = distinct_values(values)
    found = encoder.encode(distinct, modality, progress=share_progress(progress, len(distinct), len(values)))
    return found if len(distinct) == len(values) else spread(found, index)


def spread(found: Encoding, index: Positions) -> Encoding:
    """What was found for distinct values, for all: `index` (n,) says which is whose."""
    errors = {i: found.errors[int(k)] for i, k in enumerate(index) if int(k) in found.errors} if found.errors else {}
    truncated = np.flatnonzero(np.isin(index, found.truncated)).tolist()
    return Encoding(found.vectors[index], errors, truncated, found.tokens, found.padded)


def distinct_values(values: Iterable[Value]) -> tuple[list[Value], Positions]:
    """Each value once, in order, and for each of `values` where it stands there."""
    places: dict[Value, int] = {}
    index = np.array([places.setdefault(v, len(places)) for v in values], np.int64)
    return list(places), index


def share_progress(progress: Progress | None, parts: int, whole: int) -> Progress | None:
    """A progress for `parts` that reports `whole` in the same proportion; of no parts, all is done at once."""
    if progress is None:
        return None
    if parts == 0:
        progress(whole)
        return None
    done = 0

    def step(n: int) -> None:
        nonlocal done
        before, done = done, done + n
        progress(done * whole // parts - before * whole // parts)

    return step
