"""One SDK worker, as Flink's PROCESS environment starts it: what the program `boot` does in Beam's images, without staged files.

It asks Beam's provision service for the pipeline's options and the addresses, and becomes the SDK harness. The code
comes from the package that is installed here; nothing is unpacked from the launching machine.
"""

import argparse
import os
from typing import Any

ASK_TIMEOUT_S = 60


def main(arguments: list[str] | None = None) -> None:
    """Run a worker until its runner lets it go."""
    parser = argparse.ArgumentParser(prog="python -m jobs.flink.worker")
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    parser.add_argument("--control_endpoint", default="")
    args, _ = parser.parse_known_args(arguments)
    from apache_beam.runners.worker import sdk_worker_main

    os.environ.update(environment(args.id, _provision(args.id, args.provision_endpoint), args.control_endpoint))
    sdk_worker_main.main([])


def environment(worker_id: str, info: Any, control: str = "") -> dict[str, str]:
    """The variables that Beam's SDK harness reads, from what the provision service said."""
    from google.protobuf import json_format

    def at(url: str) -> str:
        return f'url: "{url}"'

    found = {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": at(info.control_endpoint.url or control),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if info.logging_endpoint.url:
        found["LOGGING_API_SERVICE_DESCRIPTOR"] = at(info.logging_endpoint.url)
    return found


def _provision(worker_id: str, endpoint: str) -> Any:
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return service.GetProvisionInfo(request, metadata=(("worker_id", worker_id),), timeout=ASK_TIMEOUT_S).info


if __name__ == "__main__":
    main()
