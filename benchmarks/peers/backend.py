"""The forward pass that `warpbeam run` takes, alone: tokenised before the clock starts, all batches planned at once."""

import time

from benchmarks.peers.watching import Watch, given, tell
from benchmarks.texts import read_texts


def main() -> None:
    import numpy as np

    from encoders.backends.cores import run_on_cores
    from encoders.batching import Budget
    from encoders.text import TextEncoder
    from schemas.models import ModelSpec

    job = given()
    watch = Watch()
    encoder = TextEncoder(ModelSpec(name=job["model"], device="cpu"), {})
    way = encoder.model and encoder._way
    assert way is not None, encoder.backend
    ids = way.tokenise([t for _, t in read_texts(job["texts"])])[0]
    lengths = np.array([len(i) for i in ids])
    vectors = np.empty((len(ids), encoder.dim), np.float32)
    start = time.time()
    run_on_cores(lengths, lambda batch: way.forward([ids[i] for i in batch]), vectors, None, Budget(way.most))
    told = watch.told(start, time.time()) | {"tokens": int(lengths.sum()), "padded": int(lengths.sum()), "backend": encoder.backend}
    config = encoder.model[0].model.config
    told["attention_flop_a_token"] = 4 * config.hidden_size * config.num_hidden_layers * float((lengths**2).sum() / lengths.sum())
    tell(told, job.get("out"), vectors)


if __name__ == "__main__":
    main()
