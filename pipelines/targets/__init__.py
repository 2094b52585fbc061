"""The targets: a registry of one so far, and the contract that a target keeps."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.collection import Collection
from schemas.objects import Reasons

TARGETS = {"weaviate": "pipelines.targets.weaviate:WeaviateTarget"}


class Target(Protocol):
    """Takes objects; made on the launcher, opened on workers (pickled, so it holds no connection)."""

    def collection(self) -> Collection | None:
        """The collection as the target has it, or None if it is missing. Raises WorldError, JobError (a refused key)."""
        ...

    def create(self, definition: dict[str, Any]) -> Collection:
        """Make the collection, and read back what came of it. Raises JobError with the target's own words."""
        ...

    def get_ready(self) -> None:
        """Begin what takes long before the first write, beside what the caller does; to be called early, or never."""
        ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Send objects; returns before they are acknowledged. Raises WorldError after the retries."""
        ...

    def results(self, wait: bool) -> Sequence[tuple[pa.RecordBatch, Reasons]]:
        """The batches acknowledged since the last call, each with the rows that were refused; all of them if `wait`."""
        ...

    def fingerprints(self, uuids: Sequence[bytes], tenant: str = "") -> dict[bytes, list[bytes]]:
        """The stored fingerprints of those objects that are there. Raises WorldError."""
        ...

    def vectors(self, uuids: Sequence[bytes], names: Sequence[str], tenant: str = "") -> dict[bytes, dict[str, npt.NDArray[np.float32]]]:
        """The stored vectors `names` of those objects that are there. Raises WorldError."""
        ...

    def objects(self, uuids: Sequence[bytes], tenant: str = "") -> tuple[list[bytes], pa.RecordBatch]:
        """Those of `uuids` that are there, and their properties, a row each. Raises WorldError."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
