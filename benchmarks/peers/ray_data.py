"""Ray Data: read_parquet and map_batches with a class that loads the model once an actor; `variant` is (actors, cores that Ray sets aside for each, torch's threads in each).
Two actors with a whole core each leave none for reading on a machine of two, and Ray waits for ever.

The start of Ray and of its actors, which load the model, is not in the steady part.
"""

import os
import time
from typing import Any

from benchmarks.figures import outside
from benchmarks.peers.watching import given, tell
from benchmarks.texts import read_texts

BATCH = 128  # rows that an actor gets at a time; encode's own batches are those of its default


class Embed:
    """An actor: the model, and what a batch becomes."""

    def __init__(self, model: str, threads: int) -> None:
        import psutil

        started = psutil.Process().create_time()
        import torch
        from sentence_transformers import SentenceTransformer

        from benchmarks.peers.watching import Watch

        torch.set_num_threads(threads)
        self.watch = Watch()
        self.model = SentenceTransformer(model, device="cpu")
        self.ready = (started, time.time())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        tokens, padded = self.watch.tokens, self.watch.padded
        vectors = self.model.encode(batch["text"].tolist(), show_progress_bar=False)
        figures = [self.watch.tokens - tokens, self.watch.padded - padded, *self.ready]
        rows = np.zeros((len(vectors), 4))
        rows[0] = figures
        return {"key": batch["key"], "vector": vectors, "figures": rows}


def main() -> None:
    import numpy as np
    import ray

    job = given()
    actors, cores, threads = job["variant"]
    here = os.getcwd()
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level="error", runtime_env={"env_vars": {"PYTHONPATH": here}})
    ray.data.DataContext.get_current().enable_progress_bars = False
    start = time.time()
    rows = ray.data.read_parquet(job["texts"])
    pool = ray.data.ActorPoolStrategy(size=actors)
    made = rows.map_batches(Embed, fn_constructor_args=(job["model"], threads), batch_size=BATCH, compute=pool, num_cpus=cores)
    found = made.take_all()
    end = time.time()
    ray.shutdown()
    order = {r["key"]: r["vector"] for r in found}
    keys = [k for k, _ in read_texts(job["texts"])]
    figures = np.array([r["figures"] for r in found if r["figures"][3]])
    steady = outside((start, end), [tuple(f[2:]) for f in figures.tolist()])
    tokens, padded = (int(n) for n in figures[:, :2].sum(axis=0))
    tell({"steady_s": steady, "tokens": tokens, "padded": padded, "precision": "float32"}, job.get("out"), [order[k] for k in keys])


if __name__ == "__main__":
    main()
