"""Prints as JSON how many threads each library of this process takes; `--` and a folder with a text model. Run by test_threads."""

import json
import os
import sys
from pathlib import Path


def tokenising_threads() -> int:
    """Threads that the tokenisers start for a batch; none may have run before."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    before = len(os.listdir("/proc/self/task"))
    tokenizer.encode_batch(["a"] * 500)
    return len(os.listdir("/proc/self/task")) - before


def main() -> None:
    """Load the model as a worker does, and look."""
    found = {"tokenisers": tokenising_threads()}

    import pyarrow as pa
    import torch

    from encoders.backends.cores import cores
    from encoders.sharing import shared_encoder
    from encoders.threads import limit_arrow, usable_cores
    from jobs.execute import local_workers
    from schemas.job import VectorSpec

    spec = VectorSpec.model_validate({"model": {"name": str(Path(sys.argv[1])), "device": "cpu"}, "text_fields": ["title"]})
    with shared_encoder(spec) as encoder:
        encoder.encode(["a red circle", "the green square"], "text")
    limit_arrow()
    found |= {"torch": torch.get_num_threads(), "batches": cores(), "arrow": pa.cpu_count()}
    print(json.dumps(found | {"usable": usable_cores(), "beam": local_workers()}))


if __name__ == "__main__":
    main()
