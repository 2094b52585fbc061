"""Deletes in a collection of a million objects: what the source has no more, and what a delta file marks.

    python benchmarks/deletes.py [--rows 1000000] [--gone 9000]

Loads a table (key, title, an embedding of 8 numbers) into the embedded server, then runs the job with a source that
lacks some rows (`delete: missing`), and with a small delta file that marks others (`delete: marked`). After each run every id
of the collection is compared with what should be there. The peak resident set is the operating system's figure for each
run's process. Writes benchmarks/results/deletes.json.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

HOME = ROOT / ".warpbeam" / "deletes"
RESULT = ROOT / "benchmarks" / "results" / "deletes.json"
NAME = "Deletes"
JOB = """
source: {{parquet: {table}.parquet, key: key{more}}}
target: {{weaviate: embedded, collection: {name}, create: class.json, delete: {delete}}}
vectors: {{v: {{column: embedding}}}}
report: report-{table}
failures: {{path: failures}}
name: deletes
"""


def table(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]", gone: bool | None = None) -> pa.Table:
    """Rows with these numbers; `gone`: a column that marks all of them, or none."""
    embedding = np.stack([np.cos(numbers * (k + 1)) for k in range(8)], 1).astype(np.float32)
    columns = {
        "key": [f"key-{i}" for i in numbers],
        "title": [f"title {i}" for i in numbers],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embedding.ravel()), 8),
    }
    return pa.table(columns | ({} if gone is None else {"gone": pa.array([gone] * len(numbers))}))


def job(name: str, rows: pa.Table, delete: str) -> Path:
    """The table, the class and the job file."""
    HOME.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, HOME / f"{name}.parquet", row_group_size=10_000)
    vectors = {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}
    properties = [{"name": n, "dataType": ["text"]} for n in ("key", "title")]
    (HOME / "class.json").write_text(json.dumps({"class": NAME, "properties": properties, "vectorConfig": vectors}))
    path = HOME / f"{name}.yaml"
    path.write_text(JOB.format(table=name, name=NAME, delete=delete, more=", deleted: gone" if delete == "marked" else ""))
    return path


def one(path: str) -> None:
    """Run the job here; what it cost."""
    from rich.console import Console

    from jobs.job_file import load_job
    from jobs.run import run

    code = run(load_job(path), Console(quiet=True))
    assert code == 0, code
    print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def run(path: Path) -> dict[str, float]:
    """One run in a process of its own: seconds, peak, and what the report counts."""
    start = time.perf_counter()
    figures = in_own_process(__file__, "--one", str(path)) | {"seconds": time.perf_counter() - start}
    report = json.loads((HOME / f"report-{path.stem}" / "report.json").read_text())
    return figures | {k: report["counts"][k] for k in ("read", "loaded", "unchanged", "objects_deleted")}


def stored(path: Path) -> set[bytes]:
    """Every id of the collection."""
    from jobs.examine.findings import with_server
    from jobs.job_file import load_job
    from pipelines.targets.cursor import id_ranges, read_ids
    from pipelines.targets.weaviate import WeaviateTarget

    with closing(WeaviateTarget(with_server(load_job(path)).target)) as target:
        collection = target.collection()
        assert collection is not None
        return {u for page in read_ids(target.connection, collection, "", id_ranges(1)[0]) for u in page.view("V16").tolist()}


def main() -> None:
    """Load, run with rows missing, run with rows marked."""
    import httpx

    from jobs.examine.findings import with_server
    from jobs.job_file import load_job
    from schemas.objects import uuid5

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gone", type=int, default=9_000)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    numbers = np.arange(options.rows)
    draw = np.random.default_rng(0).permutation(numbers)
    lost, marked = np.sort(draw[: options.gone]), np.sort(draw[options.gone : 2 * options.gone])
    path = job("all", table(numbers), "missing")
    url = with_server(load_job(path)).target.weaviate.url
    httpx.delete(f"{url}/v1/schema/{NAME}", timeout=600)
    figures = {"load": run(path)}
    left = np.setdiff1d(numbers, lost)
    figures["missing"] = run(job("fewer", table(left), "missing"))
    assert stored(path) == {uuid5(f"key-{i}") for i in left}
    figures["marked"] = run(job("delta", table(marked, gone=True), "marked"))
    assert stored(path) == {uuid5(f"key-{i}") for i in np.setdiff1d(left, marked)}
    httpx.delete(f"{url}/v1/schema/{NAME}", timeout=600)
    for name, found in figures.items():
        print(
            f"{name:8} {found['seconds']:6.0f} s {found['peak_mb']:6.0f} MB at the peak, {found['objects_deleted']:,} deleted; ids as they should be"
        )
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    result = {"rows": options.rows, "gone": options.gone, "figures": figures, "machine": machine}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
