"""Mending: how fast the launcher sends again what a run left in doubt, after a kill or a lost request.

    python benchmarks/mending.py [--rows 30000] [--dimensions 384]

Loads a table with vectors into the embedded server, with a flat and with an HNSW index, and sends everything again as the next
run would that finds the mark of an open run from before the load (docs/decisions/0008-after-a-kill.md): all objects are read by the
cursor, and written twice. Client and server share the cores. Writes benchmarks/results/mending.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import machine, store  # noqa: E402
from benchmarks.memory import HOME, write  # noqa: E402


def mended(path: Path, index: str) -> dict[str, float]:
    """Objects a second of the load, of reading all by the cursor, and of sending all again."""
    import httpx
    from rich.console import Console

    from jobs.doubt import EVER, Doubt
    from jobs.examine.findings import examined
    from jobs.job_file import load_job
    from jobs.open_run import reindexed
    from jobs.run import run
    from pipelines.targets.cursor import id_ranges, read_ids

    definition = HOME / f"{path.stem.replace('job', 'memory')}.json"
    settings = json.loads(definition.read_text())
    settings["vectorConfig"]["v"]["vectorIndexType"] = index
    definition.write_text(json.dumps(settings))
    start = time.perf_counter()
    code = run(load_job(path), Console(quiet=True))
    assert code == 0, code
    loaded = time.perf_counter()
    with examined(load_job(path)) as found:
        assert found.collection and found.target
        looked = time.perf_counter()
        ids = sum(len(page) for page in read_ids(found.target.connection, found.collection, "", id_ranges(1)[0]))
        read = time.perf_counter()
        sent = reindexed(found, Doubt(EVER))
        done = time.perf_counter()
        assert sent == ids, (sent, ids)
        httpx.delete(f"{found.target.spec.weaviate.url}/v1/schema/{found.collection.name}", timeout=600).raise_for_status()
    return {"load": ids / (loaded - start), "cursor": ids / (read - looked), "mend": sent / (done - read)}


def main() -> None:
    """Both indexes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--dimensions", type=int, default=384)
    options = parser.parse_args()
    figures = {}
    for index in ("flat", "hnsw"):
        figures[index] = mended(write(options.rows, options.dimensions), index)
        print(index, {k: f"{v:,.0f}/s" for k, v in figures[index].items()}, flush=True)
    store("mending", {"machine": machine(), "rows": options.rows, "dimensions": options.dimensions, "objects_per_s": figures})


if __name__ == "__main__":
    main()
