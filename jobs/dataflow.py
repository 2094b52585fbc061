"""Dataflow: what its flags and the job must say before anything runs. See docs/dataflow.md."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from schemas.errors import raise_faults
from schemas.job import Job

ONE_MODEL = "no_use_multiple_sdk_containers"  # one process a machine, so one model a GPU
ONE_A_CORE = "use_multiple_sdk_containers"  # what Beam asks for if nothing is said
LIBRARIES = ("apitools", "google.auth", "google.cloud.dataflow_v1beta3")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def on_dataflow(beam_args: Sequence[str]) -> bool:
    """Whether Beam's own flags name Dataflow's runner."""
    runner = PipelineOptions(list(beam_args)).view_as(StandardOptions).runner or ""
    return runner.rsplit(".", 1)[-1].lower() in ("dataflowrunner", "dataflow")


def check_dataflow(job: Job, beam_args: Sequence[str]) -> None:
    """Raise JobError with all that would go wrong on Dataflow's machines; nothing where another runner is named."""
    if not on_dataflow(beam_args):
        return
    options = PipelineOptions(list(beam_args))
    raise_faults(
        [*_missing_libraries(), *_cloud_faults(options), *_code_faults(options), *_model_faults(job, options), *_place_faults(job)]
    )


def _missing_libraries() -> Iterator[str]:
    missing = [name for name in LIBRARIES if not _is_there(name)]
    if missing:
        yield f'--runner=DataflowRunner: Google\'s libraries are missing ({", ".join(missing)}): pip install "warpbeam[dataflow]"'


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def _cloud_faults(options: PipelineOptions) -> Iterator[str]:
    """What Beam would find out only after the collection is made."""
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.project:
        yield "--project: Dataflow needs the project that the job runs in, as in --project=my-project"
    if not cloud.region:
        yield "--region: Dataflow needs a region, as in --region=europe-west4"
    if not any((place or "").startswith("gs://") for place in (cloud.temp_location, cloud.staging_location)):
        yield f"--temp_location: Dataflow needs a folder in Cloud Storage, as in --temp_location=gs://bucket/tmp; it is {cloud.temp_location!r}"


def _code_faults(options: PipelineOptions) -> Iterator[str]:
    """Workers import Warpbeam: from their image, or from the package that is staged."""
    image, setup = options.view_as(WorkerOptions).sdk_container_image, options.view_as(SetupOptions)
    if not (image or setup.setup_file or setup.extra_packages):
        yield (
            "--sdk_container_image: Beam's own image has no Warpbeam in it; name an image made by `docker build --target cpu` or "
            "`--target gpu`, or stage the package with --setup_file=./setup.py"
        )
    if setup.save_main_session:
        yield "--save_main_session: leave it out; Warpbeam's code is in the workers' image, or staged with --setup_file=./setup.py"


def _model_faults(job: Job, options: PipelineOptions) -> Iterator[str]:
    """One process a core would load one model a core; on a GPU they would not even fit."""
    models = [name for name in job.vectors if _is_loaded(job, name)]
    said = options.view_as(DebugOptions).experiments or []
    if not models or ONE_MODEL in said:
        return
    named = f"vectors.{', vectors.'.join(models)}"
    if accelerated(options):
        yield f"--experiments={ONE_MODEL}: this flag is missing; without it Dataflow loads the model of {named} once a core, all of them on one GPU"
    elif ONE_A_CORE not in said:
        yield (
            f"--experiments={ONE_MODEL}: this flag is missing; without it Dataflow loads the model of {named} once a core "
            f"(say --experiments={ONE_A_CORE} if that is meant and the memory is there)"
        )


def _is_loaded(job: Job, name: str) -> bool:
    """Whether the model's weights are in the worker's memory; a service's are not."""
    model = job.vectors[name].model
    return model is not None and not (model.fake or model.inference_url or model.nvidia)


def accelerated(options: PipelineOptions) -> bool:
    """Whether Beam's own flags ask for a GPU: as a resource hint, or as a service option."""
    hints = options.view_as(StandardOptions).resource_hints or []
    services = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    return any(str(hint).startswith("accelerator") for hint in hints) or any(s.startswith("worker_accelerator") for s in services)


def _place_faults(job: Job) -> Iterator[str]:
    """What lies on the launching machine, where no worker sees it."""
    for key, place in (("source", job.source.location), ("failures.path", job.failures.path), ("report", job.report)):
        if "://" not in place:
            yield f"{key}: {place!r} is a path of this machine; on Dataflow name a URL that the workers reach, such as gs://bucket/folder"
    url = job.target.weaviate.url
    if url == "embedded" or (urlsplit(url).hostname or "") in LOCAL_HOSTS:
        yield f"target.weaviate: {url!r} is a server of this machine; on Dataflow name an address that the workers reach"
