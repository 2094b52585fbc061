"""Beam's own way: ReadFromParquet, MLTransform with SentenceTransformerEmbeddings, weaviate-client's batches; two threads."""

import logging
import tempfile
import time

from benchmarks.peers.watching import Watch, given, tell


def main() -> None:
    import apache_beam as beam
    from apache_beam.ml.transforms.base import MLTransform
    from apache_beam.ml.transforms.embeddings.huggingface import SentenceTransformerEmbeddings
    from apache_beam.options.pipeline_options import PipelineOptions

    from benchmarks.peers.beam_writer import WriteToWeaviate, with_vector
    from benchmarks.peers.collection import NAME, fresh

    logging.disable(logging.WARNING)
    job = given()
    fresh(job["url"], "flat")
    watch = Watch()
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    options = PipelineOptions([runner, "--direct_running_mode=multi_threading", "--direct_num_workers=2"])
    embed = SentenceTransformerEmbeddings(model_name=job["model"], columns=["vector"], load_model_args={"device": "cpu"})
    ports = int(job["url"].rpartition(":")[2]), int(job["grpc"].rpartition(":")[2])
    start = time.time()
    with tempfile.TemporaryDirectory() as artifacts, beam.Pipeline(options=options) as root:
        rows = root | beam.io.ReadFromParquet(job["texts"]) | beam.Map(with_vector)
        embedded = rows | MLTransform(write_artifact_location=artifacts).with_transform(embed)
        _ = embedded | beam.ParDo(WriteToWeaviate(*ports, NAME))
    tell(watch.told(start, time.time()))


if __name__ == "__main__":
    main()
