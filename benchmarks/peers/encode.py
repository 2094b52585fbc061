"""Plain `SentenceTransformer.encode`: texts in memory, vectors in memory, nothing else."""

import time

from benchmarks.peers.watching import Watch, given, tell
from benchmarks.texts import read_texts


def main() -> None:
    from sentence_transformers import SentenceTransformer

    job = given()
    watch = Watch()
    model = SentenceTransformer(job["model"], device="cpu")
    texts = [t for _, t in read_texts(job["texts"])]
    start = time.time()
    vectors = model.encode(texts, batch_size=job["variant"], show_progress_bar=False)
    tell(watch.told(start, time.time()), job.get("out"), vectors)


if __name__ == "__main__":
    main()
