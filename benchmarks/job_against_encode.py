"""The whole job into a real Weaviate against plain `SentenceTransformer.encode`, on the demo's data, in one run.

    python benchmarks/job_against_encode.py [--rounds 3] [--batch-sizes 8,16,32]

In turn, round by round: plain `encode` of the same texts (its best of the given batch sizes, in its own process, the
model loaded before the clock starts), and the pipeline from reading Parquet to the last acknowledged object (its own
process too, the model loaded before the clock starts, the server running). Vectors are compared row by row.
Needs `python examples/stdlib.py` and `make env`. Prints a table; writes benchmarks/results/job_against_encode.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.figures import in_own_process  # noqa: E402

DATA = ROOT / ".warpbeam" / "stdlib"
RESULT = ROOT / "benchmarks" / "results" / "job_against_encode.json"


def texts() -> list[str]:
    """The texts that the demo's job encodes: key and docstring, joined by a newline."""
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / "stdlib.parquet", columns=["key", "docstring"])
    return [f"{k}\n{d}" for k, d in zip(table.column("key").to_pylist(), table.column("docstring").to_pylist(), strict=True)]


def encode(batch_size: int) -> float:
    """Seconds of plain encode; the vectors are kept for comparison."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(DATA / "model"), device="cpu")
    data = texts()
    model.encode(data[:64])
    start = time.perf_counter()
    vectors = model.encode(data, batch_size=batch_size, show_progress_bar=False)
    seconds = time.perf_counter() - start
    np.save(DATA / "plain.npy", vectors)
    return seconds


def job(index: str) -> float:
    """Seconds from the first shard to the last acknowledged object, into a fresh collection with this vector index."""
    import httpx
    from rich.console import Console

    from encoders.sharing import shared_encoder
    from jobs.examine.findings import examined, with_server
    from jobs.examine.sample import take_sample
    from jobs.execute import executed
    from jobs.job_file import load_job
    from jobs.run import plan_of

    definition = json.loads((ROOT / "examples" / "stdlib.json").read_text()) | {"class": "Benchmark"}
    definition["vectorConfig"]["text"]["vectorIndexType"] = index
    loaded = load_job(ROOT / "examples" / "stdlib.yaml", ["target.collection=Benchmark"])
    url = with_server(loaded).target.weaviate.url
    httpx.delete(f"{url}/v1/schema/Benchmark", timeout=60).raise_for_status()
    httpx.post(f"{url}/v1/schema", json=definition, timeout=60).raise_for_status()
    with examined(loaded) as found:
        take_sample(found)
        assert not found.exit_code, found.faults + found.away
        plan = plan_of(found)
    with shared_encoder(plan.job.vectors["text"]) as encoder:
        encoder.encode(["warm up"] * 64)
    start = time.perf_counter()
    outcome = executed(plan, [], Console(), quiet=True)
    seconds = time.perf_counter() - start
    assert outcome.error is None and outcome.counters["rows/loaded"] == len(texts()), outcome
    _compare(url)
    return seconds


def _compare(url: str) -> None:
    """Every stored vector is plain encode's, to a relative difference of 1e-5."""
    import httpx
    import numpy as np
    import pyarrow.parquet as pq

    keys = pq.read_table(DATA / "stdlib.parquet", columns=["key"]).column("key").to_pylist()
    plain = dict(zip(keys, np.load(DATA / "plain.npy"), strict=True))
    after, seen = "", 0
    while page := httpx.get(f"{url}/v1/objects?class=Benchmark&include=vector&limit=1000&after={after}", timeout=60).json()["objects"]:
        for found in page:
            wanted = plain[found["properties"]["key"]]
            difference = np.linalg.norm(np.array(found["vectors"]["text"]) - wanted) / np.linalg.norm(wanted)
            assert difference <= 1e-5, (found["properties"]["key"], difference)
        after, seen = page[-1]["id"], seen + len(page)
    assert seen == len(keys)


def measured(*arguments: str) -> float:
    """Seconds that this script, in a process of its own, prints as its last line."""
    return float(in_own_process(__file__, "--one", *arguments))


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", default="8,16,32")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "HOW"))
    options = parser.parse_args()
    if options.one:
        what, how = options.one
        print(encode(int(how)) if what == "encode" else job(how))
        return
    sizes = options.batch_sizes.split(",")
    first = {size: measured("encode", size) for size in sizes}
    best = min(first, key=lambda s: first[s])
    seconds: dict[str, list[float]] = {f"encode, batch size {best}": [], "job, flat index": [], "job, HNSW index": []}
    for _ in range(options.rounds):
        for name, arguments in zip(seconds, (("encode", best), ("job", "flat"), ("job", "hnsw")), strict=True):
            seconds[name].append(measured(*arguments))
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    base = seconds[f"encode, batch size {best}"]
    n = len(texts())
    rows = {
        name: {
            "seconds": values,
            "median_s": statistics.median(values),
            "texts_per_s": n / statistics.median(values),
            "ratio_to_encode": statistics.median(v / b for v, b in zip(values, base, strict=True)),
        }
        for name, values in seconds.items()
    }
    RESULT.parent.mkdir(exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"texts": n, "encode_by_batch_size_s": first, "rows": rows, "machine": machine}, indent=2) + "\n")
    print(f"\n{'':28}{'median s':>10}{'texts/s':>10}{'time / encode':>16}")
    for name, row in rows.items():
        print(f"{name:28}{row['median_s']:10.1f}{row['texts_per_s']:10.1f}{row['ratio_to_encode']:16.2f}")


if __name__ == "__main__":
    main()
