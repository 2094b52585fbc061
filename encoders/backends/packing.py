"""Texts of a batch: end to end in one row, without padding, or below one another, with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from encoders.batching import Positions


class Run(NamedTuple):
    """Texts of one length that stand together: `texts` of them, `length` tokens each, from token `start` on."""

    start: int
    texts: int
    length: int


@dataclass(frozen=True)
class Packed:
    """A batch without padding; `starts` (n + 1,) says where each text begins, and where the last one ends."""

    ids: Positions  # (tokens,)
    places: Positions  # (tokens,) the position ids, which begin anew with each text
    starts: Positions
    runs: tuple[Run, ...]


def pack(texts: Sequence[Sequence[int]], padding: int | None = None) -> Packed:
    """The token ids of `texts`, none of them empty, in one row.

    Position ids count from 0; a model of RoBERTa's kind, whose padding token is `padding`, counts from the number after
    it, and leaves out padding tokens that are written in a text.
    """
    lengths = np.array([len(t) for t in texts], np.int64)
    ids = np.concatenate([np.asarray(t, np.int64) for t in texts])
    starts = np.r_[0, np.cumsum(lengths)]
    return Packed(ids, _places(ids, starts, lengths, padding), starts, _runs(lengths, starts))


def padded_rows(texts: Sequence[Sequence[int]], padding: int) -> tuple[Positions, Positions]:
    """The token ids of `texts` (n, longest), `padding` behind the shorter ones, and 1 where a token is real (n, longest)."""
    rows = np.full((len(texts), max(map(len, texts))), padding, np.int64)
    mask = np.zeros_like(rows)
    for i, text in enumerate(texts):
        rows[i, : len(text)], mask[i, : len(text)] = text, 1
    return rows, mask


def _places(ids: Positions, starts: Positions, lengths: Positions, padding: int | None) -> Positions:
    if padding is None:
        return np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
    real = (ids != padding).astype(np.int64)
    counted = np.cumsum(real)
    before = np.r_[0, counted][starts[:-1]]
    return np.asarray((counted - np.repeat(before, lengths)) * real + padding, np.int64)


def _runs(lengths: Positions, starts: Positions) -> tuple[Run, ...]:
    first = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(np.r_[first, len(lengths)])
    return tuple(Run(int(starts[i]), int(n), int(lengths[i])) for i, n in zip(first, counts, strict=True))
