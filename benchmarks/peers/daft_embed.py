"""Daft: read_parquet and `embed_text` with its provider of sentence-transformers models, in the process itself."""

import time

from benchmarks.peers.watching import Watch, given, tell


def main() -> None:
    import daft
    import numpy as np
    from daft.functions import embed_text

    job = given()
    watch = Watch()
    start = time.time()
    rows = daft.read_parquet(job["texts"])
    vectors = embed_text(daft.col("text"), provider="transformers", model=job["model"])
    found = rows.with_column("vector", vectors).select("key", "vector").to_arrow()
    end = time.time()
    assert watch.loads, "Daft loaded the model where it cannot be watched"
    tell(watch.told(start, end), job.get("out"), np.stack(found.column("vector").to_pylist()))


if __name__ == "__main__":
    main()
