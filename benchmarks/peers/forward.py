"""The bare forward pass: tokenised, sorted by length and batched before the clock starts; then the model alone, torch as it stands.

`variant` is the padded tokens of a batch.
"""

import time

from benchmarks.peers.watching import Watch, given, tell
from benchmarks.texts import read_texts


def main() -> None:
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from encoders.batching import plan_batches

    job = given()
    watch = Watch()
    model = SentenceTransformer(job["model"], device="cpu").eval()
    texts = [t for _, t in read_texts(job["texts"])]
    lengths = [len(i) for i in model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]]
    batches = plan_batches(lengths, tokens=job["variant"])
    features = [model.preprocess([texts[i] for i in batch]) for batch in batches]
    vectors = np.empty((len(texts), model.get_embedding_dimension()), np.float32)
    start = time.time()
    with torch.inference_mode():
        for batch, feature in zip(batches, features, strict=True):
            vectors[batch] = model(feature)["sentence_embedding"].numpy()
    tell(watch.told(start, time.time()), job.get("out"), vectors)


if __name__ == "__main__":
    main()
