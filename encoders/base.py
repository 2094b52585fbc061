"""The contract of an encoder, and what it gives back.

An encoder turns values of one modality into vectors. It knows nothing of Beam or Weaviate, so that whoever encodes
queries uses it as it stands. It is made cheaply, and loads its model when it is first used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from schemas.errors import RowError

Vectors = npt.NDArray[np.float32]
Role = Literal["document", "query"]
Progress = Callable[[int], None]
Groups = npt.NDArray[np.int64]


@dataclass
class Encoding:
    """What `encode` gives: row i of `vectors` belongs to value i; a value in `errors` has a row of NaN."""

    vectors: Vectors  # (n, dim) float32
    errors: dict[int, RowError] = field(default_factory=dict)
    truncated: list[int] = field(default_factory=list)  # values of which the model saw only the beginning
    tokens: int = 0  # that carried text
    padded: int = 0  # tokens the model computed, padding included


class LoadedLate:
    """An encoder whose model is loaded when it is first used: what travels to a worker is how it was made, never the model."""

    made_of: ClassVar[tuple[str, ...]] = ("spec",)  # the arguments of __init__, kept under their names
    callers = 1

    @property
    def grouped(self) -> bool:
        """Whether a value's vector depends on its object's other values."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """The arguments."""
        return {name: getattr(self, name) for name in self.made_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start unloaded."""
        self.__init__(**state)  # type: ignore[misc]


class Encoder(Protocol):
    """One model, or a pair that shares a space."""

    dim: int
    modalities: frozenset[str]  # "text", "image"
    callers: int  # threads that may encode at a time
    grouped: bool  # whether a value's vector depends on its object's other values

    def encode(
        self,
        values: Sequence[Any],
        modality: str,
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors for `values`: str for text, bytes of a file for image.

        Values with the same number in `groups` (n,) belong to one object; only a model whose vectors depend on an
        object's other values looks at it, and most do not.

        Values are in any order; `progress` is called with the number of values done since the last call.
        A value that cannot be encoded is named in `errors`; a fault of the model itself is raised.
        """
        ...
