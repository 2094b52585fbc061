"""`--only`: files of failures that are damaged, or name rows that are not there; every row they name is an object or rejected."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from jobs.chosen import failed_rows
from jobs.examine.findings import Findings
from pipelines.layout import layout_of
from pipelines.sources import source_of
from schemas.columns import REJECTED
from schemas.errors import JobError, WorldError
from tests.fuzz.accounts import collection, job_for, object_rows
from tests.fuzz.amounts import fuzz, tally
from tests.fuzz.child import child
from tests.fuzz.test_parquet import flip
from tests.fuzz.values import column, table

RANDOM = st.randoms(use_true_random=True)


def taken_again(location: str, failures: str) -> tuple[str, int, int]:
    """Why the failures are refused; or how many rows they name, and how many of these are accounted for."""
    job = job_for("parquet", location, "id")
    source = source_of(job)
    layout, _ = layout_of(source.schema(), job, collection())
    try:
        chosen = failed_rows(Findings(job, source=source, shards=source.shards(), layout=layout), failures)
    except (JobError, WorldError) as error:
        return str(error), 0, 0
    assert chosen.only is not None
    named = done = 0
    for shard in chosen.shards:
        good, failed, _ = object_rows(source, shard, layout, chosen.only)
        named += len(chosen.only[shard.name]) // 8
        done += len(set(good) | set(failed))
        assert len(good) + len(failed) == len(set(good) | set(failed))
    return "", named, done


def failures(r: random.Random, shards: list[str]) -> pa.Table:
    """Rejections of these shards, some of rows that are not there; sometimes other columns."""
    count = r.choice((0, 1, 3, 30))
    columns = {
        "shard": pa.array(
            [r.choice(shards) if r.random() < 0.99 else r.choice((None, "", "other#0-0")) for _ in range(count)], pa.string()
        ),
        "row": pa.array(
            [
                r.choice((r.randrange(60), r.randrange(60), 1000)) if r.random() < 0.99 else r.choice((None, -1, 2**63 - 1))
                for _ in range(count)
            ],
            pa.int64(),
        ),
    }
    made = pa.table({f.name: columns[f.name] if f.name in columns else column(f.type, count, r) for f in REJECTED}, schema=None)
    if r.random() < 0.15:
        name = r.choice(REJECTED.names)
        made = (
            made.drop_columns([name])
            if r.random() < 0.5
            else made.set_column(made.schema.names.index(name), name, column(pa.float64(), count, r))
        )
    return made


@fuzz(600)
@given(RANDOM)
def test_every_row_that_is_named_is_accounted_for(folder: Path, r: random.Random) -> None:
    tally("failures of --only")
    path, failed = folder / "o.parquet", folder / "failed.parquet"
    pq.write_table(table({"int": pa.int64(), "text": pa.string()}, 60, r), path, row_group_size=30)
    pq.write_table(failures(r, ["o.parquet#0-1"]), failed)
    if r.random() < 0.3:
        data = bytearray(failed.read_bytes())
        flip(data, 0, len(data), r)
        failed.write_bytes(data[: r.randrange(len(data))] if r.random() < 0.3 else data)
    refused, named, done = child.ask(taken_again, str(path), str(failed))
    assert refused or named == done > 0
