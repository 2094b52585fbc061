"""A billion objects: how long, for how much, and what breaks first; by figures measured here, published ones and a simulation.

    python benchmarks/billion.py

Figures that were measured here are read from benchmarks/results (planning.json, mending.json, unchanged.json); published ones stand
below with their source, and so do assumptions, which are marked as such. The simulation is `benchmarks/cluster.py`.
docs/billion.md tells what comes out. Takes some seconds, and writes benchmarks/results/billion.json.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.billion_table import tables  # noqa: E402
from benchmarks.cluster import Load, simulated  # noqa: E402
from benchmarks.figures import RESULTS, store  # noqa: E402

BILLION = 1_000_000_000
SCALES = (1_000_000, 10_000_000, 100_000_000, BILLION)
AUTOSCALER = "price table of Kubernetes' cluster autoscaler for Google Cloud (gce_price_info.go, commit 0411d1c), on demand"
IGNITE = "Artain-AI/ignite-ms README and benchmark page, one A100-40GB, about 68 tokens a text"
WEAVIATE = "Weaviate documentation, ANN benchmarks, n4-highmem-16, Sphere 10M x 768, efConstruction 128: 1,934 s"
SPHERE = "Weaviate blog, The Details Behind the Sphere Dataset, 2022-12-27"


@dataclass(frozen=True)
class Figure:
    """A number, and where it is from: `measured` here, `published`, or `assumed`."""

    value: float
    kind: str
    source: str


def measured(name: str, *path: str) -> Any:
    """A figure of benchmarks/results/NAME.json."""
    found = json.loads((RESULTS / f"{name}.json").read_text())
    for key in path:
        found = found[key]
    return found


def inputs() -> dict[str, Figure]:
    """Every number that goes in."""
    many = measured("planning", "layouts", "2,000 files of 5,000 rows")
    held = measured("planning", "holdings")
    lookups = measured("unchanged", "rows") / measured("unchanged", "figures", "fingerprints alone, s")
    mending = measured("mending", "objects_per_s")
    planning = "benchmarks/planning.py"
    return {
        "footer_s": Figure(many["median"]["seconds"] / many["files"], "measured", f"{planning}, local disk, 8 threads"),
        "footer_bytes": Figure(many["median"]["bytes"] / many["files"], "measured", f"{planning}, eight columns, five row groups"),
        "footer_kept_bytes": Figure(many["median"]["mb"] * 2**20 / many["files"], "measured", f"{planning}, resident set"),
        "footer_calls": Figure(many["median"]["calls"] / many["files"], "measured", planning),
        "latency_s": Figure(0.05, "assumed", "one call to an object store"),
        "shard_launcher_bytes": Figure(held["shard_bytes_on_launcher"], "measured", planning),
        "shard_graph_bytes": Figure(held["shard_bytes_in_graph"], "measured", planning),
        "shard_report_bytes": Figure(held["shard_bytes_in_report"], "measured", f"{planning}, twelve figures a shard"),
        "verify_peak_bytes": Figure(held["verify_peak_bytes_an_id"], "measured", f"{planning}, while the ids are sorted"),
        "verify_bytes": Figure(held["verify_bytes_an_id"], "measured", f"{planning}, what stays"),
        "id_bytes": Figure(6, "measured", "pipelines/ids.py, packed"),
        "mend_rate": Figure(mending["flat"]["mend"], "measured", "benchmarks/mending.py, flat, 384-d, server on the same two cores"),
        "lookup_rate": Figure(lookups, "measured", "benchmarks/unchanged.py, fingerprints alone, one thread, server on the same two cores"),
        "cursor_rate": Figure(45_000, "measured", "docs/decisions/0008-after-a-kill.md, server on the same two cores"),
        "small_rate": Figure(16_648, "published", f"e5-small-v2 (12 layers of 384) by TEI: {IGNITE}"),
        "base_rate": Figure(8_729, "published", f"multilingual-e5-base by TEI: {IGNITE}"),
        "node_rate": Figure(10_000_000 / 1934, "published", WEAVIATE),
        "async_ack": Figure(362 / 99, "published", "Weaviate server PR 3424, SIFT1M: 362 s in step; 99 s to acknowledge"),
        "async_total": Figure((99 + 336) / 362, "published", "the same: 99 s, then 336 s to index; read as one after the other"),
        "ram_factor": Figure(6000 / (4 * 1024), "published", "Weaviate documentation, Resource planning: 6 GB for 1M x 1024-d"),
        "node_price": Figure(16 * 0.030821 + 128 * 0.004131, "published", f"n4-highmem-16, 16 vCPU and 128 GB: {AUTOSCALER}"),
        "gpu_price": Figure(3.673385, "published", f"a2-highgpu-1g, one A100-40GB, 12 vCPU: {AUTOSCALER}"),
        "node_ram_gb": Figure(0.8 * 128, "assumed", "four fifths of a node's 128 GB"),
    }


IMAGES = 1_500.0  # a second, see RATES
PRICES = {"A100": 3.673385, "L4, 4 vCPU": 0.76, "L4, 8 vCPU": 0.91}  # dollars an hour: AUTOSCALER
# what, values a second on one GPU, its machine, the rate's source
RATES: list[tuple[str, float, str, str]] = [
    ("text, small: plain SentenceTransformer", 2_500, "A100", f"e5-small-v2, {IGNITE}"),
    ("text, small: TEI", 16_648, "A100", f"e5-small-v2, {IGNITE}"),
    ("text, small: TensorRT, the best known", 50_127, "A100", f"e5-small-v2 by ignite-ms, {IGNITE}"),
    ("text, base: TEI", 8_729, "A100", f"multilingual-e5-base, {IGNITE}"),
    ("text, base: TensorRT", 17_319, "A100", f"multilingual-e5-base by ignite-ms, {IGNITE}"),
    (
        "text, base, on a small GPU",
        BILLION / (409 / 0.8 * 3600),
        "L4, 4 vCPU",
        "ModernBERT 149M, Hugging Face blog of 2025-02-13: $409 a billion at $0.8/h",
    ),
    ("images, CLIP B/32", IMAGES, "L4, 8 vCPU", "clip-retrieval README, one RTX 3080; that an L4 is as fast is assumed"),
]


def prices() -> list[dict[str, Any]]:
    """Dollars for a million values, GPU machines only, no time wasted."""
    rows = [(what, rate, gpu, PRICES[gpu], source) for what, rate, gpu, source in RATES]
    return [
        {"what": w, "rate": r, "machine": g, "dollars_an_hour": p, "dollars_a_million": p / 3600 / r * 1e6, "source": s}
        for w, r, g, p, s in rows
    ]


def nodes_for(objects: int, dimensions: int, quantized: bool, found: dict[str, Figure]) -> tuple[float, int]:
    """GB that an HNSW index needs, and the nodes that have them; the graph's part is what the rule has above the vectors."""
    vector = 4.0 * dimensions
    gigabytes = objects * (vector * (found["ram_factor"].value - 1) + (vector / 4 if quantized else vector)) / 1e9
    return gigabytes, max(1, -int(-gigabytes // found["node_ram_gb"].value))


def scales(found: dict[str, Figure], shard_rows: int, file_rows: int) -> list[dict[str, float]]:
    """What each number of objects needs outside the pipeline's flow."""
    f = {name: figure.value for name, figure in found.items()}
    rows = []
    for n in SCALES:
        shards, files = n / shard_rows, n / file_rows
        row = {
            "objects": n,
            "files": files,
            "shards": shards,
            "footers_s": files * f["footer_s"],
            "footers_far_s": files * f["footer_calls"] * f["latency_s"] / 8,
            "footers_gb": files * f["footer_kept_bytes"] / 1e9,
            "graph_mb": shards * f["shard_graph_bytes"] / 1e6,
            "launcher_mb": shards * f["shard_launcher_bytes"] / 1e6,
            "report_mb": shards * f["shard_report_bytes"] / 1e6,
            "ids_shuffled_gb": n * f["id_bytes"] / 1e9,
            "hashes_that_meet": n * n / 2 / 2**48,
            "verify_peak_gb": n * f["verify_peak_bytes"] / 1e9,
            "verify_gb": n * f["verify_bytes"] / 1e9,
            "cursor_h": n / f["cursor_rate"] / 3600,
            "mend_h": n / f["mend_rate"] / 3600,
            "lookup_thread_h": n / f["lookup_rate"] / 3600,
        }
        rows.append(row)
    return rows


def scenarios(base: Load, found: dict[str, Figure]) -> dict[str, Load]:
    """The load as planned, and what may come its way."""
    f = {name: figure.value for name, figure in found.items()}
    by_workers = {f"{n} worker{'s' * (n > 1)}": replace(base, workers=n) for n in (1, 2, 4, 16, 32)}
    return {
        "as planned": base,
        **by_workers,
        "twice the nodes": replace(base, nodes=2 * base.nodes),
        "twice the nodes, 16 workers": replace(base, nodes=2 * base.nodes, workers=16),
        "plain SentenceTransformer, 64 workers": replace(base, workers=64, rate=2_500),
        "base model, 16 workers": replace(base, workers=16, rate=f["base_rate"]),
        "images on 64 small GPUs": replace(base, workers=64, rate=IMAGES),
        "asynchronous indexing, 32 workers": replace(base, workers=32, node_rate=base.node_rate * f["async_ack"]),
        "searches take 30 % of the nodes": replace(base, queries=0.3),
        "one node gets twice its share": replace(base, hot=2.0),
        "1 % of the requests sent twice": replace(base, lost=0.01),
        "a slow worker, shards are taken": replace(base, slow=1),
        "a slow worker, shards are dealt out": replace(base, slow=1, own_queues=True),
        "a worker dies half-way": replace(base, deaths=(4000.0,)),
        "a worker dies half-way, Flink's batch mode": replace(base, deaths=(4000.0,), looked_up=f["lookup_rate"], own_queues=True),
        "shards of 20,000": replace(base, shard_rows=20_000),
        "shards of 1,000,000": replace(base, shard_rows=1_000_000),
        "shards of 10,000,000": replace(base, shard_rows=10_000_000),
    }


def line(load: Load, found: dict[str, Figure]) -> dict[str, Any]:
    """One scenario: hours, what was waited for, and what it cost."""
    outcome = simulated(load)
    assert outcome.acknowledged == [1] * len(load.sizes), "a shard was lost, or acknowledged twice"
    hours = outcome.seconds / 3600
    machine = PRICES["L4, 8 vCPU"] if load.rate == IMAGES else found["gpu_price"].value
    gpu, nodes = (load.workers * machine * hours, load.nodes * found["node_price"].value * hours)
    indexed = hours
    if load.node_rate > found["node_rate"].value:
        indexed = max(hours, load.objects / load.nodes / found["node_rate"].value * found["async_total"].value / 3600)
    return {
        "load": asdict(load),
        "hours": hours,
        "hours_until_indexed": indexed,
        "objects_per_s": load.objects / outcome.seconds,
        "gpus_busy": outcome.encoding_s / outcome.seconds / load.workers,
        "nodes_busy": outcome.writing_s / outcome.seconds / load.nodes,
        "tail_s": outcome.tail_s,
        "repeated": outcome.repeated,
        "gpu_dollars_a_million": gpu / load.objects * 1e6,
        "node_dollars_a_million": nodes / load.objects * 1e6,
    }


def main() -> None:
    """All tables."""
    found = inputs()
    sizes = {f"{d}-d{', 8-bit' * q}": nodes_for(BILLION, d, q, found) for d in (384, 768) for q in (False, True)}
    month = 730 * found["node_price"].value
    nodes = sizes["384-d"][1]
    base = Load(BILLION, workers=8, rate=found["small_rate"].value, nodes=nodes, node_rate=found["node_rate"].value)
    result = {
        "inputs": {name: asdict(figure) for name, figure in found.items()},
        "prices": prices(),
        "nodes": {name: {"gb": gb, "nodes": n, "dollars_a_month": n * month} for name, (gb, n) in sizes.items()},
        "scales": scales(found, shard_rows=2000, file_rows=5000) + scales(found, shard_rows=100_000, file_rows=1_000_000),
        "simulated": {name: line(load, found) for name, load in scenarios(base, found).items()},
        "sphere": {"source": SPHERE, "objects_per_s": 898e6 / 48 / 3600, "dollars_a_million": 6 * 6.3039 * 48 / 898},
    }
    store("billion", result)
    print("\n\n".join(tables().values()))


if __name__ == "__main__":
    main()
