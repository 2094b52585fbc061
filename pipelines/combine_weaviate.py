"""Field vectors and weights -> one vector: Weaviate's way, quirks included, in float32.

Source: usecases/vectorizer/combine.go and entities/moduletools/helper.go of Weaviate. Its arithmetic on amd64; on
arm64 Go may fuse the product with the sum, which differs in the last bit.
"""

import numpy as np
import numpy.typing as npt

from pipelines.combine import Floats
from schemas.objects import Reasons


def combine_weaviate(
    vectors: Floats, owner: npt.NDArray[np.int64], weights: tuple[float, ...], n: int
) -> tuple[Floats, npt.NDArray[np.bool_], Reasons]:
    """One vector for each of `n` rows: (n, dim) float32, which rows have parts (n,), and why a row cannot be combined.

    `vectors` (m, dim) lie in the module's order: the texts of all rows, then their images and so on; `owner` (m,) names
    their rows. Without weights a row's vector is the mean. With weights, part i of a row counts with weight i, whatever
    its property, scaled by the sum of all weights, and the sum is divided by the number of parts. Nothing is scaled to
    length 1. Weights that sum to 0 give NaN. Rows without parts, and those in the reasons, are NaN.
    """
    vectors = vectors.astype(np.float32, copy=False)
    counts = np.bincount(owner, minlength=n)
    scaled = _scaled(weights)
    total = np.zeros((n, vectors.shape[1]), np.float32)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for i, at in enumerate(_by_place(owner, counts)[: len(weights) or None]):
            total[owner[at]] += vectors[at] * scaled[i] if weights else vectors[at]
        total /= counts.astype(np.float32)[:, None]
    reasons = _too_many(counts, len(weights)) if weights else {}
    total[list(reasons)] = np.nan
    return total, counts > 0, reasons


def _by_place(owner: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The first parts of all rows, then the second ones, and so on: no row occurs twice among one place's parts."""
    by_row = np.argsort(owner, kind="stable")
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    sizes = np.bincount(place)
    return np.split(by_row[np.argsort(place, kind="stable")], np.cumsum(sizes)[:-1]) if len(owner) else []


def _scaled(weights: tuple[float, ...]) -> Floats:
    """Each weight times (1 / sum of all), each step in float32."""
    configured = np.array(weights, np.float32)
    total = np.float32(0)
    for weight in configured:
        total += weight
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(configured * (np.float32(1) / total), np.float32)


def _too_many(counts: npt.NDArray[np.int64], weights: int) -> Reasons:
    return {
        int(i): (
            "more_vectors_than_weights",
            f"the row has {counts[i]} values to combine and the collection {weights} weights; Weaviate would fail on it, "
            "and with it every object of the same request",
        )
        for i in np.flatnonzero(counts > weights)
    }
