"""Planning: the shards of 10,000,000 rows from Parquet footers alone, and what the launcher holds besides, by shard and by id.

    python benchmarks/planning.py [--rounds 3]

Two data sets of 10,000,000 rows and eight columns are written: 2,000 files with five row groups each, and 100 files with ten.
Each reading of their footers runs in a process of its own, in turns with pyarrow's own ways: `read_metadata` with as many threads,
and a `dataset` whose fragments have their metadata. Bytes and calls are the operating system's count for that process, MB its
peak resident set above that after the imports. Beside: the bytes a shard takes in the job graph and in the report, the time
and memory of one of the 64 partitions of ids at a billion objects, and those of verify's sorted ids.
Writes benchmarks/results/planning.json.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import machine, spread, store  # noqa: E402
from jobs.verify.id_sets import SourceIds, ordered_ids  # noqa: E402
from pipelines.ids import PARTITIONS, packed, repeated  # noqa: E402
from pipelines.sources import Shard  # noqa: E402
from pipelines.sources.footers import THREADS  # noqa: E402
from pipelines.sources.parquet import ParquetSource  # noqa: E402
from schemas.report import Summary  # noqa: E402

HOME = ROOT / ".warpbeam" / "planning"
ROWS = 10_000_000
LAYOUTS = {"2,000 files of 5,000 rows": (2000, 1000), "100 files of 100,000 rows": (100, 10_000)}  # files, rows of a row group
BILLION = 1_000_000_000


def write(folder: Path, files: int, group: int) -> None:
    """`ROWS` rows in `files` Parquet files, with row groups of `group` rows: a key, and seven columns that hardly take space."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ROWS // files
    rest = {f"column_{i}": pa.array(np.zeros(rows)) for i in range(7)}
    for number in range(files):
        table = pa.table({"key": np.arange(number * rows, (number + 1) * rows)} | rest)
        place = folder / f"part-{number:05d}.parquet"
        pq.write_table(table, place, row_group_size=group, use_dictionary=False, compression="zstd", column_encoding=_encoding(table))


def _encoding(table: pa.Table) -> dict[str, str]:
    return {name: "DELTA_BINARY_PACKED" if name == "key" else "BYTE_STREAM_SPLIT" for name in table.schema.names}


def ours(folder: str) -> list[Shard]:
    """The shards, and with them one schema for all files."""
    source = ParquetSource(folder, {})
    source.schema()
    return source.shards()


def metadata(folder: str) -> list[Any]:
    """pyarrow's footers, in as many threads as ours."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(pq.read_metadata, sorted(Path(folder).iterdir())))


def dataset(folder: str) -> list[Any]:
    """The fragments of pyarrow's dataset, with the metadata of their row groups; one thread, as pyarrow does it."""
    fragments = list(ds.dataset(folder, format="parquet").get_fragments())
    for fragment in fragments:
        fragment.ensure_complete_metadata()
    return fragments


WAYS: dict[str, Callable[[str], list[Any]]] = {
    "warpbeam": ours,
    f"pyarrow read_metadata, {THREADS} threads": metadata,
    "pyarrow dataset": dataset,
}


def _read() -> tuple[int, int]:
    """Bytes and calls of reading, of this process so far."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["syscr"])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(way: str, folder: str) -> dict[str, float]:
    """In a process of its own: seconds, bytes, calls and memory of one way."""
    held, (size, calls) = _peak_mb(), _read()
    start = time.perf_counter()
    found = WAYS[way](folder)
    seconds = time.perf_counter() - start
    size, calls = _read()[0] - size, _read()[1] - calls
    return {"seconds": seconds, "bytes": size, "calls": calls, "mb": _peak_mb() - held, "found": len(found)}


def layout(name: str, rounds: int) -> dict[str, Any]:
    """All ways on one data set, in turns."""
    files, group = LAYOUTS[name]
    folder = HOME / f"{files}-{group}"
    write(folder, files, group)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--one", way, "--folder", str(folder)]
            runs[way].append(json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout))
    shutil.rmtree(folder)
    base = {k: statistics.median(r[k] for r in runs["warpbeam"]) for k in ("seconds", "bytes", "calls", "mb", "found")}
    against = {w: statistics.median(b["seconds"] / a["seconds"] for a, b in zip(runs["warpbeam"], r, strict=True)) for w, r in runs.items()}
    return {"files": files, "shards": base["found"], "median": base, "times_as_fast_as": against, "runs": runs}


def traced(act: Callable[[], Any]) -> tuple[float, int, int]:
    """Seconds, the peak and what is left in bytes, as Python and numpy allocate them. Tracing makes it somewhat slower."""
    tracemalloc.start()
    start = time.perf_counter()
    kept = act()
    seconds = time.perf_counter() - start
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return seconds, peak, left


def shard(number: int) -> Shard:
    """A shard as those of a bucket are: each file's name has a random part, and no two have one size."""
    drawn = uuid.uuid5(uuid.NAMESPACE_URL, str(number))
    name = f"day={number % 365}/part-{number:05d}-{drawn}.snappy.parquet"
    return Shard(f"{name}#0-0", f"bucket/warehouse/products/{name}", (0, 0, (("day", str(number % 365)),)), 2000, drawn.int % (8 << 20))


def graph_bytes(shards: int) -> int:
    """The job graph that hands these shards to the workers."""
    import apache_beam as beam

    pipeline = beam.Pipeline()
    pipeline | beam.Create([shard(i) for i in range(shards)]).with_output_types(Shard) | beam.Reshuffle()
    return int(pipeline.to_runner_api().ByteSize())


def report(shards: int) -> Summary:
    """The figures of a report: twelve for each shard, as a run with one model has."""
    summary = Summary()
    for number in range(shards):
        for name in (*(f"us/{n}" for n in ("read", "compare", "encode/v", "write", "wait/server", "wait/model")), *("abcdef")):
            summary.add(shard(number).name, f"rows/{name}" if len(name) == 1 else name, number // 100 * 1000, 1000.0)
    return summary


def partition() -> tuple[float, int, int]:
    """One of the partitions of ids at a billion objects: 15.6 million hashes of six bytes, in pieces of a thousand."""
    hashes = np.random.default_rng(0).integers(0, 1 << 48, BILLION // PARTITIONS, np.uint64)
    pieces = [packed(hashes[i : i + 1000]) for i in range(0, len(hashes), 1000)]
    del hashes
    return traced(lambda: repeated(pieces))


def verify(ids: int) -> tuple[float, int, int]:
    """verify's sorted ids of the source, 2,000 a shard."""
    shards = [shard(i) for i in range(ids // 2000)]
    numbers = np.random.default_rng(0).bytes(16 * ids)
    rows = np.arange(2000, dtype=np.int64)

    def piece(i: int) -> tuple[int, Any, Any]:
        return i, np.frombuffer(numbers, "S16", 2000, 32_000 * i).copy(), rows.copy()

    return traced(lambda: ordered_ids(SourceIds(shards), [piece(i) for i in range(len(shards))]))


def holdings() -> dict[str, float]:
    """What grows with shards and with ids, per piece."""
    few, many = 1000, 11_000
    ids = 2_000_000
    (id_s, id_peak, _), (verify_s, verify_peak, verify_left) = partition(), verify(ids)
    return {
        "shard_bytes_on_launcher": traced(lambda: [shard(i) for i in range(many)])[2] / many,
        "shard_bytes_in_graph": (graph_bytes(many) - graph_bytes(few)) / (many - few),
        "shard_bytes_in_report": traced(lambda: report(many))[2] / many,
        "partition_of_a_billion_s": id_s,
        "partition_of_a_billion_peak_mb": id_peak / 1e6,
        "verify_us_an_id": verify_s / ids * 1e6,
        "verify_peak_bytes_an_id": verify_peak / ids,
        "verify_bytes_an_id": verify_left / ids,
    }


def main() -> None:
    """Both layouts, then what is held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=WAYS)
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.folder)))
        return
    result: dict[str, Any] = {"machine": machine(), "rows": ROWS, "layouts": {n: layout(n, options.rounds) for n in LAYOUTS}}
    for name, found in result["layouts"].items():
        print(f"{name}: {found['shards']:,.0f} shards")
        for way, runs in found["runs"].items():
            seconds = spread([r["seconds"] for r in runs])
            row = {k: statistics.median(r[k] for r in runs) for k in ("bytes", "calls", "mb")}
            times = f"{seconds['median']:.2f} s ({seconds['min']:.2f} to {seconds['max']:.2f})"
            print(f"  {way:34} {times}, {row['bytes'] / 1e6:.1f} MB in {row['calls']:,.0f} calls, {row['mb']:.0f} MB of memory")
    result["holdings"] = holdings()
    print(json.dumps(result["holdings"], indent=1))
    store("planning", result)


if __name__ == "__main__":
    main()
