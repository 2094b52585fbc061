"""Beam's own way to configure a pipeline: flags that say where WriteToWeaviate writes."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions


class WeaviateOptions(PipelineOptions):
    """The flags `--weaviate_url`, `--weaviate_grpc`, `--weaviate_collection` and `--weaviate_api_key`; `view_as` gives them."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--weaviate_url", help="The server's address: http://localhost:8080.")
        parser.add_argument("--weaviate_grpc", help="The address of its gRPC port: localhost:50051; absent, port 50051 of the same host.")
        parser.add_argument("--weaviate_collection", help="The collection, which exists.")
        parser.add_argument("--weaviate_api_key", help="A reference to the key, ${NAME}, looked up on the worker; never the key itself.")
