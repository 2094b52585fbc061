"""`run --only` and `run --adopt`, against a real Weaviate."""

from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from weaviate.util import generate_uuid5

from schemas.fingerprints import STORED
from tests.conftest import Load
from tests.jobs.test_incremental import TWO, VECTORS, rows


def failing(load: Load) -> tuple[Path, dict[str, Any]]:
    """A load of which three rows fail; the job allows it."""
    load.create(TWO)
    table = rows(100, titles={3: None, 50: None})
    table = table.set_column(0, "key", pa.array([None if i == 70 else f"k{i}" for i in range(100)]))
    job = load.job(
        load.parquet(table, row_group_size=30), {"v": VECTORS["v"]}, {"write": "replace"}, failures={"path": "failures", "allowed_share": 1}
    )
    code, report = load.run(job)
    assert code == 0 and report["counts"]["failed"] == 3 and report["counts"]["loaded"] == 97
    return job, report


def test_only_takes_exactly_the_rows_that_failed(load: Load) -> None:
    job, report = failing(load)
    load.parquet(rows(100, titles={50: None}), row_group_size=30)  # 3 and 70 are mended
    code, again = load.run(job, "--only", report["failures_path"])
    counts = again["counts"]
    assert code == 0 and counts["add_up"]
    assert (counts["read"], counts["loaded"], counts["failed"]) == (3, 2, 1)
    assert len(load.objects()) == 99
    code, third = load.run(job, "--only", again["failures_path"])
    assert (third["counts"]["read"], third["counts"]["failed"]) == (1, 1)


def test_only_says_what_is_wrong_with_its_folder(load: Load) -> None:
    job, report = failing(load)
    for folder, words in (
        (str(load.folder / "report"), "there are no failures"),
        (str(load.folder / "rows.parquet"), "no file of failures"),
    ):
        result = load.command("run", job, "--only", folder)
        assert result.exit_code == 2 and words in result.output, result.output
    assert load.command("run", job, "--only", report["failures_path"], "--limit", "3").exit_code == 2
    load.parquet(rows(10), row_group_size=10)
    result = load.command("run", job, "--only", report["failures_path"])
    assert result.exit_code == 2 and "has no shard" in result.output.replace("\n", " ")


def by_others(load: Load, n: int) -> None:
    """A collection that was loaded without fingerprints."""
    load.create(TWO)
    assert load.run(load.job(load.parquet(rows(n)), VECTORS))[0] == 0


def test_adopt_takes_over_without_encoding(load: Load) -> None:
    by_others(load, 60)
    before = {k: o["vectors"] for k, o in load.objects().items()}
    changed = rows(60, titles={7: "another title"}, prices={8: -5.0})
    job = load.job(load.parquet(changed), VECTORS, {"incremental": True})
    code, report = load.run(job, "--adopt")
    assert code == 0, report
    assert report["counts"]["loaded"] == 60
    assert {n: (v["tokens"], v["reused"]) for n, v in report["vectors"].items()} == {"v": (1, 59), "w": (0, 60)}
    after = load.objects()
    assert {k: o["vectors"] for k, o in after.items() if k != generate_uuid5("k7")} == {
        k: v for k, v in before.items() if k != generate_uuid5("k7")
    }
    assert after[generate_uuid5("k8")]["properties"]["price"] == -5.0
    code, report = load.run(job)
    assert (code, report["counts"]["unchanged"]) == (0, 60)


@pytest.mark.parametrize(
    ("target", "vectors", "words"),
    [
        ({}, VECTORS, "say target.incremental: true"),
        ({"incremental": True}, VECTORS | {"v": {"model": {"fake": 4}, "text_fields": ["key"]}}, "vectors.v: 0 of 4"),
    ],
)
def test_adopt_refuses_what_it_would_get_wrong(load: Load, target: dict[str, Any], vectors: dict[str, Any], words: str) -> None:
    by_others(load, 500)
    result = load.command("run", load.job(load.parquet(rows(500)), vectors, target), "--adopt")
    assert result.exit_code == 2 and words in result.output.replace("\n", " "), result.output
    schema = httpx.get(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).json()
    assert STORED not in {p["name"] for p in schema["properties"]}
