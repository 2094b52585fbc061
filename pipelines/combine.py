"""Field vectors and weights -> one vector: the native way."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def combine(vectors: Floats, owner: npt.NDArray[np.int64], weights: Floats, n: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """One vector for each of `n` rows from their parts: (n, dim) float32, and which rows have one (n,).

    A row with one part gets that part's vector as the model made it. With several, each part's vector is scaled to
    length 1, so that a weight means what it says; the weights are scaled to sum to 1 over the parts the row has; the
    sum is scaled to length 1.
    """
    counts = np.bincount(owner, minlength=n)
    out = np.full((n, vectors.shape[1]), np.nan, np.float32)
    alone = counts[owner] == 1
    out[owner[alone]] = vectors[alone]
    several = counts > 1
    if several.any():
        out[several] = _weighted(vectors, owner, weights, n)[several]
    return out, counts > 0


def _weighted(vectors: Floats, owner: npt.NDArray[np.int64], weights: Floats, n: int) -> Floats:
    """The weighted sums of unit vectors, scaled to length 1; rows whose parts cancel out become NaN."""
    share = weights / np.bincount(owner, weights, n)[owner].astype(np.float32)
    total = np.zeros((n, vectors.shape[1]), np.float32)
    np.add.at(total, owner, unit(vectors) * share[:, None].astype(np.float32))
    return unit(total)


def unit(vectors: Floats) -> Floats:
    """`vectors` (n, dim) scaled to length 1; a zero vector becomes NaN."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled: Floats = (vectors / norms).astype(np.float32)
    return scaled
