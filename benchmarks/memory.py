"""Scale, with precomputed vectors: the resident set and the cost of a row at 10,000, 100,000 and 1,000,000 rows.

    python benchmarks/memory.py [--rows 10000,100000,1000000] [--dimensions 384]

Each size runs `warpbeam run` in a process of its own, into a fresh collection with a flat index of the embedded server;
the peak resident set is the kernel's figure for that process (Linux only). `pipeline_s` is the time from the first shard to
the last acknowledged object, `seconds` that of the whole process. Writes benchmarks/results/memory.json.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

HOME = ROOT / ".warpbeam" / "memory"
RESULT = ROOT / "benchmarks" / "results" / "memory.json"
JOB = """
source: {{parquet: rows-{rows}.parquet, key: key}}
target: {{weaviate: embedded, collection: Memory{rows}, create: memory-{rows}.json}}
vectors: {{v: {{column: embedding}}}}
failures: {{path: failures}}
report: report-{rows}
"""


def write(rows: int, dimensions: int) -> Path:
    """A Parquet file with row groups of 10,000 rows, its class definition and its job."""
    HOME.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    schema = pa.schema(
        [("key", pa.string()), ("title", pa.string()), ("price", pa.float64()), ("embedding", pa.list_(pa.float32(), dimensions))]
    )
    with pq.ParquetWriter(HOME / f"rows-{rows}.parquet", schema) as writer:
        for start in range(0, rows, 10_000):
            numbers = pa.array(generator.standard_normal(10_000 * dimensions, np.float32))
            keys = [f"key-{i}" for i in range(start, start + 10_000)]
            columns = [keys, [f"title of {k}" for k in keys], np.arange(10_000.0), pa.FixedSizeListArray.from_arrays(numbers, dimensions)]
            writer.write_table(pa.table(columns, schema=schema))
    properties = [{"name": n, "dataType": [t]} for n, t in (("key", "text"), ("title", "text"), ("price", "number"))]
    vectors = {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}
    (HOME / f"memory-{rows}.json").write_text(json.dumps({"class": f"Memory{rows}", "properties": properties, "vectorConfig": vectors}))
    path = HOME / f"job-{rows}.yaml"
    path.write_text(JOB.format(rows=rows))
    return path


def load(path: Path) -> dict[str, float]:
    """Peak resident set in MB and seconds of one `warpbeam run`."""
    start = time.perf_counter()
    return in_own_process(__file__, "--one", str(path)) | {"seconds": time.perf_counter() - start}


def one(path: str) -> None:
    """In a process of its own: the command line, and what it cost."""
    import httpx
    from rich.console import Console

    import jobs.run
    from jobs.examine.findings import with_server
    from jobs.job_file import load_job

    spans: list[float] = []
    executed = jobs.run.executed

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        outcome = executed(*arguments, **options)
        spans.append(time.perf_counter() - start)
        return outcome

    jobs.run.executed = timed
    job = load_job(path)
    code = jobs.run.run(job, Console(file=sys.stderr))
    assert code == 0, code
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"peak_mb": peak_mb(), "cpu_s": usage.ru_utime + usage.ru_stime, "pipeline_s": spans[0]}))
    url = with_server(job).target.weaviate.url
    httpx.delete(f"{url}/v1/schema/{job.target.collection}", timeout=600).raise_for_status()


def peak_mb() -> float:
    """The peak resident set of this process; `ru_maxrss` would begin with that of the process that started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    """All sizes, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    figures: dict[str, dict[str, float]] = {}
    for rows in map(int, options.rows.split(",")):
        figures[str(rows)] = load(write(rows, options.dimensions))
        row = figures[str(rows)]
        print(
            f"{rows:>10,} rows: {row['peak_mb']:7.0f} MB at the peak, {row['seconds']:6.0f} s, pipeline {row['pipeline_s']:6.0f} s, "
            f"{row['pipeline_s'] / rows * 1e6:6.0f} µs a row, {row['cpu_s'] / rows * 1e6:6.0f} µs CPU a row",
            flush=True,
        )
    values = list(figures.values())
    print(f"resident set, last against first: {values[-1]['peak_mb'] / values[0]['peak_mb']:.2f}")
    RESULT.parent.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"dimensions": options.dimensions, "figures": figures, "machine": machine}, indent=2) + "\n")


if __name__ == "__main__":
    main()
