"""What a verification found: each check with its figures, and every wrong object by its id."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage import file_system, opened
from schemas.columns import TENANT, UUID

NAMED = 20  # of each kind of fault, in the report; all of them are in the Parquet file
KINDS = ("missing", "failed", "surplus", "unindexed", "stale", "untracked", "property", "vector", "recall")
WRONG = pa.schema(
    [
        ("problem", pa.string()),
        ("uuid", pa.binary(16)),
        ("tenant", pa.string()),
        ("key", pa.string()),
        ("where", pa.string()),  # the property or the vector
        ("message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `good` is None where it cannot be told, or does not apply."""

    name: str
    good: bool | None
    said: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Wrong:
    """Wrong objects: counted, the first of each kind kept, all written to a Parquet file at `path` once there are any."""

    path: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _writer: Any = None

    def add(
        self,
        problem: str,
        uuids: Sequence[bytes],
        tenants: Sequence[str | None] | None = None,
        keys: Sequence[str | None] | None = None,
        where: Sequence[str] | None = None,
        messages: Sequence[str] | None = None,
    ) -> None:
        """Objects with one `problem`; the lists are as long as `uuids`."""
        if not uuids:
            return
        nulls: list[None] = [None] * len(uuids)
        columns = [[problem] * len(uuids), uuids, tenants or nulls, keys or nulls, where or nulls, messages or nulls]
        batch = pa.RecordBatch.from_arrays([pa.array(c, f.type) for c, f in zip(columns, WRONG, strict=True)], schema=WRONG)
        self._write(batch)
        self.counts[problem] += len(uuids)
        kept = self.named.setdefault(problem, [])
        first = batch.slice(0, max(0, NAMED - len(kept))).to_pylist()
        kept += [{k: str(_uuid(v)) if k == "uuid" else v for k, v in row.items() if v is not None and k != "problem"} for row in first]

    def add_rows(
        self, problem: str, objects: pa.RecordBatch, where: Sequence[str] | None = None, messages: Sequence[str] | None = None
    ) -> None:
        """The `objects` of a batch, with one problem."""
        tenants = objects.column(TENANT).to_pylist() if TENANT in objects.schema.names else None
        self.add(problem, objects.column(UUID).to_pylist(), tenants, objects.column("@key").to_pylist(), where, messages)

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            file = self._open.enter_context(opened(self.path, "wb", self.storage_options, "report"))
            self._writer = pq.ParquetWriter(file, WRONG)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Finish the file; without wrong objects one of an earlier verification goes."""
        if self._writer is not None:
            self._writer.close()
            self._open.close()
        else:
            files, path = file_system(self.path, self.storage_options, "report")
            if files.exists(path):
                files.rm(path)


def uuids_in(ids: Any) -> list[bytes]:
    """The 16 bytes of each id of an array."""
    data = np.ascontiguousarray(ids).tobytes()
    return [data[i : i + 16] for i in range(0, len(data), 16)]


def _uuid(value: bytes) -> Any:
    from uuid import UUID as Uuid

    return Uuid(bytes=value)
