"""Whether two collections hold the same: ids and properties exactly, vectors within a relative difference."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SAME = 1e-6


@dataclass(frozen=True)
class Difference:
    """What a collection lacks or has too much of, beside that of an undisturbed run."""

    lost: int
    surplus: int
    double: int
    properties: int  # objects whose properties differ
    vectors: int  # objects with a vector that differs, or that one of the two has not
    worst: float  # the largest relative difference of a vector

    @property
    def nothing(self) -> bool:
        return not (self.lost or self.surplus or self.double or self.properties or self.vectors)


def difference(found: list[dict[str, Any]], right: list[dict[str, Any]]) -> Difference:
    """How `found` differs from what is `right`; both as REST gives objects."""
    one, other = ({o["id"]: o for o in objects} for objects in (found, right))
    both = one.keys() & other.keys()
    apart = [_apart(one[i]["vectors"], other[i]["vectors"]) for i in both]
    return Difference(
        lost=len(other.keys() - one.keys()),
        surplus=len(one.keys() - other.keys()),
        double=len(found) - len(one),
        properties=sum(one[i]["properties"] != other[i]["properties"] for i in both),
        vectors=sum(a > SAME for a in apart),
        worst=max(apart, default=0.0),
    )


def _apart(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """The largest relative difference of two objects' vectors; infinite where one has a vector that the other lacks."""
    if {n for n, v in one.items() if v} != {n for n, v in other.items() if v}:
        return float("inf")
    return max((_relative(np.array(one[n]), np.array(other[n])) for n in one if one[n]), default=0.0)


def _relative(one: Any, other: Any) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))
