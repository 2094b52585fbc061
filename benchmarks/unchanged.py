"""A second run over objects that have not changed, and one in which only a price has.

    python benchmarks/unchanged.py [--rows 100000] [--dimensions 384]

Loads a table (key, title, text, price; vectors made from the text by the made-up encoder, since nothing is to be
encoded in the runs that count) into the embedded server, then runs the job again as it is, and again after every
tenth price has changed. Times are those of the pipeline, in a process of its own. As the peer stands what the server
can do: the fingerprints of all objects read by id, nothing else, two threads. Writes benchmarks/results/unchanged.json.
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

HOME = ROOT / ".warpbeam" / "unchanged"
RESULT = ROOT / "benchmarks" / "results" / "unchanged.json"
NAME = "Unchanged"


def write(rows: int, dearer: bool) -> None:
    """The table; `dearer`: every tenth price is another."""
    HOME.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(rows)
    prices = numbers * 0.5 + (numbers % 10 == 0) * float(dearer)
    columns = {
        "key": [f"key-{i}" for i in numbers],
        "title": [f"title of article {i}" for i in numbers],
        "text": [f"article {i}: " + "some words that describe it " * 8 for i in numbers],
        "price": prices,
    }
    pq.write_table(pa.table(columns), HOME / "rows.parquet", row_group_size=5000)
    properties = [{"name": n, "dataType": [t]} for n, t in (("key", "text"), ("title", "text"), ("text", "text"), ("price", "number"))]
    vectors = {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}
    (HOME / "class.json").write_text(json.dumps({"class": NAME, "properties": properties, "vectorConfig": vectors}))


def job(dimensions: int) -> Path:
    """The job file."""
    path = HOME / "job.yaml"
    path.write_text(
        "source: {parquet: rows.parquet, key: key}\n"
        f"target: {{weaviate: embedded, collection: {NAME}, create: class.json}}\n"
        f"vectors: {{v: {{model: {{fake: {dimensions}}}, text_fields: [title, text]}}}}\n"
    )
    return path


def one(path: str) -> None:
    """Run the job here, and print what it took and counted."""
    from rich.console import Console

    from jobs.examine.findings import examined
    from jobs.examine.sample import take_sample
    from jobs.execute import executed
    from jobs.job_file import load_job
    from jobs.run import _created, plan_of

    with examined(load_job(path)) as found:
        take_sample(found)
        assert not found.exit_code, found.faults + found.away
        _created(found, lambda text: None)
        plan = plan_of(found)
    start = time.perf_counter()
    outcome = executed(plan, [], Console(), quiet=True)
    seconds = time.perf_counter() - start
    assert outcome.error is None, outcome.error
    print(json.dumps({"seconds": seconds, "counters": {k: v for k, v in outcome.counters.items() if not k.startswith("ms/")}}))


def run(path: Path) -> dict[str, object]:
    """One run in a process of its own."""
    return in_own_process(__file__, "--one", str(path))


def peer(path: Path, rows: int) -> float:
    """Seconds to read all fingerprints by id, 1,000 a request, two threads."""
    from jobs.examine.findings import with_server
    from jobs.job_file import load_job
    from pipelines.targets.weaviate import WeaviateTarget
    from schemas.objects import uuid5

    target = WeaviateTarget(with_server(load_job(path)).target)
    target = WeaviateTarget(target.spec, target.collection())
    uuids = [uuid5(f"key-{i}") for i in range(rows)]
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        found = sum(pool.map(lambda i: len(target.fingerprints(uuids[i : i + 1000])), range(0, rows, 1000)))
    assert found == rows
    return time.perf_counter() - start


def main() -> None:
    """Load, run again, change prices, run again."""
    import httpx

    from jobs.examine.findings import with_server
    from jobs.job_file import load_job

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    write(options.rows, dearer=False)
    path = job(options.dimensions)
    url = with_server(load_job(path)).target.weaviate.url
    httpx.delete(f"{url}/v1/schema/{NAME}", timeout=600)
    figures: dict[str, object] = {"load": run(path), "unchanged": run(path), "unchanged again": run(path)}
    figures["fingerprints alone, s"] = peer(path, options.rows)
    write(options.rows, dearer=True)
    figures["prices"] = run(path)
    httpx.delete(f"{url}/v1/schema/{NAME}", timeout=600)
    for name, found in figures.items():
        if isinstance(found, dict):
            print(f"{name:16} {found['seconds']:7.1f} s {options.rows / found['seconds']:9.0f} objects/s  {found['counters']}")
        else:
            print(f"{name:24} {found:.1f} s {options.rows / found:9.0f} objects/s")
    RESULT.parent.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    RESULT.write_text(
        json.dumps({"rows": options.rows, "dimensions": options.dimensions, "figures": figures, "machine": machine}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
