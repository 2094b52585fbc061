"""`warpbeam run`, the whole job: from Parquet into a real Weaviate, in a fresh collection. `variant` is the vector index.

The steady part is the pipeline, from the first shard to the last acknowledged object, without the time in which it loads the model.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import outside
from benchmarks.peers.collection import NAME, drop
from benchmarks.peers.watching import given, tell


def job_file(asked: dict[str, Any]) -> Path:
    """The job and its class definition, as a user writes them, beside the texts."""
    folder = Path(asked["folder"])
    properties = [{"name": n, "dataType": ["text"]} for n in ("key", "text")]
    vectors = {"text": {"vectorizer": {"none": {}}, "vectorIndexType": asked["variant"]}}
    (folder / "class.json").write_text(json.dumps({"class": NAME, "properties": properties, "vectorConfig": vectors}))
    content = {
        "source": {"parquet": asked["texts"], "key": "key"},
        "target": {"weaviate": {"url": asked["url"], "grpc": asked["grpc"]}, "collection": NAME, "create": "class.json"},
        "vectors": {"text": {"model": {"name": asked["model"], "device": "cpu"}, "text_fields": ["text"]}},
        "failures": {"path": "failures"},
        "report": "report",
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def watched(owner: Any, name: str, spans: list[tuple[float, float]]) -> None:
    """From now on, when `owner.name` is called, its start and end (time.time()) are kept."""
    call = getattr(owner, name)

    @functools.wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.time()
        try:
            return call(*args, **kwargs)
        finally:
            spans.append((start, time.time()))

    setattr(owner, name, timed)


def main() -> None:
    asked = given()
    drop(asked["url"])
    path = job_file(asked)

    from rich.console import Console

    import jobs.run
    from jobs.job_file import load_job
    from pipelines.vectorize import _Vectorize

    pipeline: list[tuple[float, float]] = []
    loading: list[tuple[float, float]] = []  # each thread waits until the one model is there
    watched(jobs.run, "executed", pipeline)
    watched(_Vectorize, "setup", loading)
    code = jobs.run.run(load_job(path), Console(file=sys.stderr))
    report = json.loads((path.parent / "report" / "report.json").read_text())
    assert code == 0, report
    assert report["counts"]["objects_written"] == asked["n"], report["counts"]
    found = report["vectors"]["text"]
    figures = {"tokens": found["tokens"], "padded": found["padded"], "phases_ms": report["phases_ms"]}
    tell({"steady_s": outside(pipeline[0], loading), "precision": "float32"} | figures)


if __name__ == "__main__":
    main()
