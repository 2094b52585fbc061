"""Which rows a run takes: all, the first few, or those that failed before."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.examine.findings import Findings
from pipelines.sources import Shard
from pipelines.sources.listing import BROKEN
from pipelines.storage import file_system, protocol_of
from schemas.columns import REJECTED, Rejection
from schemas.errors import JobError


@dataclass(frozen=True)
class Chosen:
    """Shards and, where not all of their rows are wanted, the numbers of those that are (int64, by shard)."""

    shards: list[Shard]
    only: dict[str, bytes] | None = None


def chosen_rows(found: Findings, limit: int | None, only: str | None) -> Chosen:
    """What `--limit` and `--only` leave. Raises JobError."""
    if limit is not None and only is not None:
        raise JobError("--limit and --only: name one of them")
    if only is not None:
        return failed_rows(found, only)
    return Chosen(limited(found, limit) if limit is not None else found.shards)


def limited(found: Findings, limit: int) -> list[Shard]:
    """The first shards that together have `limit` rows, the last one cut short."""
    assert found.source and found.layout
    chosen: list[Shard] = []
    for shard in found.shards:
        if limit <= 0:
            break
        rows = shard.rows
        if rows is None:
            items = found.source.read(replace(shard, limit=limit), found.layout.id_columns)
            rows = sum(1 if isinstance(i, Rejection) else i.num_rows for i in items)
        chosen.append(replace(shard, limit=min(limit, rows), rows=min(limit, rows)))
        limit -= rows
    return chosen


def failed_rows(found: Findings, folder: str) -> Chosen:
    """The rows that the failures in `folder` (of one run, or one of its files) name. Raises JobError where it names none of this source."""
    table = _failures(folder, _options(found, folder))
    if not table.num_rows:
        raise JobError(f"--only {folder}: no row is named there")
    rows: dict[str, set[int]] = {}
    for shard, row in zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True):
        rows.setdefault(shard, set()).add(row)
    known = {s.name: s for s in found.shards}
    if strange := sorted(set(rows) - set(known)):
        raise JobError(f"--only {folder}: the source has no shard {strange[0]!r} any more; run the whole job again: what is in is skipped")
    return Chosen([known[name] for name in rows], {name: np.array(sorted(found), np.int64).tobytes() for name, found in rows.items()})


def _options(found: Findings, folder: str) -> dict[str, Any]:
    """What fsspec is handed for `folder`: as for `failures.path` where both are in the same kind of store."""
    failures = found.job.failures
    return failures.storage_options if protocol_of(folder) == protocol_of(failures.path) else {}


def _failures(folder: str, storage_options: dict[str, Any]) -> pa.Table:
    """The rejections of one run. Raises JobError."""
    place = folder if "://" in folder else str(Path(folder).absolute())
    files, path = file_system(place, storage_options, "--only")
    names = [path] if files.isfile(path) else sorted(files.glob(f"{path}/*.parquet"))
    if not names:
        raise JobError(f"--only {folder}: there are no failures; name the folder that a run's report names, or a Parquet file in it")
    try:
        tables = [pq.ParquetFile(name, filesystem=files).read().select(REJECTED.names).cast(REJECTED) for name in names]
        table = pa.concat_tables(tables)
        table.validate(full=True)
    except BROKEN as error:
        raise JobError(f"--only {folder}: this is no file of failures: {error}") from error
    if table.column("shard").null_count or table.column("row").null_count:
        raise JobError(f"--only {folder}: this is no file of failures: a row of it has no shard or no number")
    return table
