"""Dataflow without Dataflow: flags and job, the graph as its runner sees it, the template's parameters and its launcher."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.transforms.environments import DockerEnvironment
from apache_beam.transforms.resources import resource_hints_from_options

from jobs.dataflow import LIBRARIES, _is_there, check_dataflow, on_dataflow
from jobs.examine.findings import examined
from jobs.execute import options_of
from jobs.job_file import load_job
from jobs.run import plan_of
from jobs.template import main, parameters, with_defaults
from pipelines.load import Plan, build
from schemas.errors import JobError
from schemas.job import Job
from tests.conftest import Load

ROOT = Path(__file__).parent.parent.parent
LOCAL = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
GPU = "accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
CLOUD = ["--runner=DataflowRunner", "--project=my-project", "--region=europe-west4", "--temp_location=gs://bucket/tmp"]
FLAGS = [*CLOUD, "--sdk_container_image=registry/warpbeam:1", "--experiments=no_use_multiple_sdk_containers"]
HINTS = [f"--resource_hint={GPU}", "--resource_hint=min_ram=24GB"]
FORWARD = common_urns.primitives.PAR_DO.urn
PARAMETERS = json.loads((ROOT / "deploy" / "dataflow" / "metadata.json").read_text())["parameters"]
HAS_GOOGLE = all(map(_is_there, LIBRARIES))


def job(**changes: Any) -> Job:
    keys: dict[str, Any] = {
        "source": {"parquet": "gs://bucket/rows/*.parquet", "key": "key"},
        "target": {"weaviate": "https://weaviate.example.org", "collection": "Article"},
        "vectors": {"text": {"model": "sentence-transformers/all-MiniLM-L6-v2", "text_fields": ["title"]}},
        "failures": {"path": "gs://bucket/failures"},
        "report": "gs://bucket/report",
    }
    return Job.model_validate(keys | changes)


def faults(flags: list[str], wrong: Job | None = None) -> tuple[str, ...]:
    """What `check_dataflow` says, but for Google's libraries, which not every machine has."""
    try:
        check_dataflow(wrong or job(), flags)
    except JobError as error:
        return tuple(f for f in error.faults if "Google's libraries" not in f)
    return ()


def without(flags: list[str], name: str) -> list[str]:
    return [f for f in flags if not f.startswith(f"--{name}")]


@pytest.mark.parametrize("runner", ["DataflowRunner", "dataflowrunner", "Dataflow", "apache_beam.runners.DataflowRunner"])
def test_dataflow_is_known_by_every_name_that_beam_knows(runner: str) -> None:
    assert on_dataflow([f"--runner={runner}"])
    assert on_dataflow(["--runner", runner])


def test_other_runners_are_asked_nothing() -> None:
    assert not on_dataflow(["--runner=FlinkRunner"])
    check_dataflow(job(failures={"path": "./failures"}), ["--runner=FlinkRunner"])
    check_dataflow(job(failures={"path": "./failures"}), [])


def test_a_right_job_with_the_right_flags_is_taken() -> None:
    assert faults([*FLAGS, *HINTS]) == ()
    assert faults([*without(FLAGS, "sdk_container_image"), "--setup_file=./setup.py"]) == ()


@pytest.mark.parametrize("gpu", [[], HINTS, ["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"]])
def test_a_model_for_every_core_is_refused(gpu: list[str]) -> None:
    (fault,) = faults([*without(FLAGS, "experiments"), *gpu])
    assert fault.startswith(
        "--experiments=no_use_multiple_sdk_containers: this flag is missing; without it Dataflow loads the model of vectors.text"
    )
    asked = faults([*without(FLAGS, "experiments"), *gpu, "--experiments=use_multiple_sdk_containers"])
    assert bool(asked) == bool(gpu), "several models are a choice where memory is all they cost"


def test_what_loads_no_model_may_have_a_process_for_every_core() -> None:
    vectors = {
        "made": {"model": {"fake": 8}, "text_fields": ["title"]},
        "old": {"column": "embedding"},
        "far": {"model": {"inference_url": "http://clip"}},
    }
    assert faults(without(FLAGS, "experiments"), job(vectors=vectors)) == ()


@pytest.mark.parametrize("name", ["project", "region", "temp_location", "sdk_container_image"])
def test_every_missing_flag_is_named(name: str) -> None:
    (fault,) = faults(without(FLAGS, name))
    assert fault.startswith(f"--{name}: ")


def test_places_of_the_launching_machine_are_refused() -> None:
    wrong = job(
        source={"parquet": "rows.parquet", "key": "k"}, target={"weaviate": "embedded", "collection": "A"}, failures={}, report="./report"
    )
    assert [f.split(":")[0] for f in faults(FLAGS, wrong)] == ["source", "failures.path", "report", "target.weaviate"]
    local = job(target={"weaviate": "http://localhost:8080", "collection": "A"})
    assert faults(FLAGS, local) == (
        "target.weaviate: 'http://localhost:8080' is a server of this machine; on Dataflow name an address that the workers reach",
    )


def test_the_command_line_refuses_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "source: {parquet: x.parquet, key: k}\ntarget: {weaviate: 'http://nowhere:1', collection: C}\nvectors: {v: {model: {fake: 4}, text_fields: [t]}}\n"
    )
    done = Load.command(None, "run", path, "--", "--runner=DataflowRunner")  # type: ignore[arg-type]
    assert done.exit_code == 2
    assert "--project: Dataflow needs the project" in done.output
    assert "nowhere" not in done.output


# the graph


@pytest.fixture
def plan(load: Load) -> Iterator[Plan]:
    """A load with chunks, duplicates and fingerprints, as Dataflow would get it."""
    load.create({"vectorizer": "none", "properties": [{"name": "body", "dataType": ["text"]}]})
    rows = load.parquet(pa.table({"key": ["a", "b"], "body": ["some words", "more"]}))
    path = load.job(rows, {"default": {"model": {"fake": 8}, "text_fields": ["body"]}}, {"incremental": True, "write": "replace"})
    with examined(load_job(path)) as found:
        assert not found.exit_code, found.faults
        yield plan_of(found, None, FLAGS)


def graph(plan: Plan, flags: list[str]) -> beam_runner_api_pb2.Pipeline:
    """The portable pipeline, with the environment that Dataflow's runner gives it."""
    options = PipelineOptions(without(flags, "runner"))
    pipeline = beam.Pipeline(runner=LOCAL, options=options)
    build(pipeline, plan)
    image = DockerEnvironment.from_container_image("registry/warpbeam:1", resource_hints=resource_hints_from_options(options))
    return pipeline.to_runner_api(default_environment=image)


def fused(proto: beam_runner_api_pb2.Pipeline) -> list[set[str]]:
    """The names of the steps of each fused stage."""
    known = frozenset([common_urns.primitives.IMPULSE.urn, common_urns.primitives.GROUP_BY_KEY.urn])
    _, stages = translations.create_and_optimize_stages(proto, translations.standard_optimize_phases(), known)
    names = [{name.unique_name for name in _inner(stage, proto)} for stage in stages]
    return [steps for steps in names if steps]


def _inner(stage: Any, proto: beam_runner_api_pb2.Pipeline) -> Iterator[Any]:
    for transform in stage.transforms:
        if "executable_stage" in transform.spec.urn:
            payload = beam_runner_api_pb2.ExecutableStagePayload.FromString(transform.spec.payload)
            yield from payload.components.transforms.values()
        else:
            yield transform


def stage_of(stages: list[set[str]], step: str) -> set[str]:
    (found,) = [s for s in stages if any(name.startswith(step) for name in s)]
    return found


def hints_of(proto: beam_runner_api_pb2.Pipeline) -> set[tuple[tuple[str, bytes], ...]]:
    """The hints of every step that runs in a worker."""
    environments = proto.components.environments
    used = {t.environment_id for t in proto.components.transforms.values() if t.environment_id}
    return {tuple(sorted(environments[name].resource_hints.items())) for name in used}


def test_every_step_has_the_same_hints(plan: Plan) -> None:
    (hints,) = hints_of(graph(plan, [*FLAGS, *HINTS]))
    assert {urn.split(":")[-2]: value for urn, value in hints} == {
        "accelerator": GPU.removeprefix("accelerator=").encode(),
        "min_ram_bytes": b"24000000000",
    }
    assert hints_of(graph(plan, FLAGS)) == {()}


@pytest.mark.parametrize("spread", [False, True])
def test_what_follows_the_reshuffle_is_one_stage(plan: Plan, spread: bool) -> None:
    stages = fused(graph(replace(plan, reshuffle=spread, recipes={"default": bytes(16)}), [*FLAGS, *HINTS]))
    heavy = stage_of(stages, "WriteObjects/")
    for step in ("SkipUnchanged/", "VectorizeObjects/", *([] if spread else ["ReadObjects/"])):
        assert any(name.startswith(step) for name in heavy), (step, heavy)


def test_a_hint_on_one_stage_alone_splits_the_stage() -> None:
    """Why the hints are the pipeline's and no stage's: this is what would send vectors from one machine to another."""
    pipeline = beam.Pipeline(runner=LOCAL)
    steps = (
        pipeline | beam.Impulse() | "Read" >> beam.Map(str) | "Encode" >> beam.Map(str).with_resource_hints(accelerator="type:a;count:1")
    )
    _ = steps | "Write" >> beam.Map(str)
    proto = pipeline.to_runner_api(default_environment=DockerEnvironment.from_container_image("image"))
    stages = fused(proto)
    assert "Write" not in stage_of(stages, "Encode")
    assert "Read" not in stage_of(stages, "Encode")


@pytest.mark.skipif(not HAS_GOOGLE, reason='Dataflow\'s translation needs pip install "warpbeam[dataflow]"')
@pytest.mark.filterwarnings("ignore")  # Google's packages warn of one another
def test_dataflows_own_translation_takes_the_graph(plan: Plan) -> None:
    from apache_beam.runners.dataflow.internal import apiclient

    options = options_of([*FLAGS, *HINTS, "--dry_run=True", "--machine_type=g2-standard-8"], "20250131T020000-1a2b")
    pipeline = beam.Pipeline(options=options)
    build(pipeline, plan)
    translated = pipeline.run().job
    proto = translated.proto_pipeline
    assert len(hints_of(proto)) == 1
    assert any(name.startswith("WriteObjects/") for name in (t.unique_name for t in proto.components.transforms.values()))
    environment = apiclient.Environment([], options, "1", "gs://bucket/pipeline.pb", proto).proto
    assert "no_use_multiple_sdk_containers" in environment.experiments
    assert "use_multiple_sdk_containers" not in environment.experiments
    (pool,) = environment.worker_pools
    assert [image.container_image for image in pool.sdk_harness_container_images] == ["registry/warpbeam:1"]
    assert len({t.environment_id for t in proto.components.transforms.values() if t.environment_id}) == 1


# the template

KEYS = {
    "name",
    "label",
    "helpText",
    "isOptional",
    "regexes",
    "paramType",
    "groupName",
    "parentName",
    "parentTriggerValues",
    "enumOptions",
    "defaultValue",
    "hiddenUi",
    "customMetadata",
}
TYPES = {"TEXT", "GCS_READ_FILE", "GCS_READ_FOLDER", "NUMBER", "BOOLEAN", "ENUM", "GCS_WRITE_FOLDER", "MACHINE_TYPE", "SERVICE_ACCOUNT"}
VALUES = {
    "job": (
        ["gs://bucket/job.yaml", "gs://my-bucket.eu/jobs/a b/articles.yml"],
        ["job.yaml", "/job.yaml", "gs://bucket/*.yaml", "gs://bucket/job.json", "gs://B/job.yaml", "s3://bucket/job.yaml"],
    ),
    "sdk_container_image": (
        ["europe-docker.pkg.dev/p/r/warpbeam:1.0", "registry:5000/warpbeam", f"host/a/b@sha256:{'0' * 64}"],
        ["warpbeam", "https://host/a", "host/a:", "host/A b"],
    ),
    "resource_hint": (
        [GPU, "accelerator=type:nvidia-tesla-t4;count:2", f"{GPU}:5xx"],
        ["nvidia-l4", "accelerator=type:nvidia-l4", "accelerator=type:nvidia-l4;count:0", "min_ram=4GB"],
    ),
    "set": (["target.tenant=acme", "a.b=1;c-d.e_f=[x, y]", "a="], ["target.tenant", "=1", "a=1;", "a=1;b", "a..b=1"]),
    "limit": (["1", "1000"], ["0", "-1", "1.5", "many", ""]),
    "only": (["gs://bucket/failures/20250131T020000-1a2b"], ["failures", "gs://bucket", "gs://bucket/*"]),
    "adopt": (["true", "false"], ["yes", "True", ""]),
    "experiments": (
        ["a", "min_cpu_platform=Intel Skylake".replace(" ", "_"), "use_multiple_sdk_containers,b=c"],
        ["", "a,,b", ",a", "a b"],
    ),
}


def test_the_metadata_has_the_form_that_dataflow_documents() -> None:
    metadata = json.loads((ROOT / "deploy" / "dataflow" / "metadata.json").read_text())
    assert metadata.keys() <= {
        "name",
        "description",
        "parameters",
        "streaming",
        "supportsAtLeastOnce",
        "supportsExactlyOnce",
        "defaultStreamingMode",
    }
    assert metadata["streaming"] is False
    for parameter in PARAMETERS:
        assert parameter.keys() <= KEYS, parameter
        assert {"name", "label", "helpText"} <= parameter.keys()
        assert parameter["paramType"] in TYPES
        assert parameter["helpText"].endswith((".", ".yaml", "driver", "2000"))
        assert isinstance(parameter["isOptional"], bool)


@pytest.mark.skipif(not HAS_GOOGLE, reason='Google\'s type of the metadata comes with pip install "warpbeam[dataflow]"')
@pytest.mark.filterwarnings("ignore")
def test_googles_own_type_reads_the_metadata() -> None:
    from google.cloud.dataflow_v1beta3.types import TemplateMetadata

    read = TemplateMetadata.from_json((ROOT / "deploy" / "dataflow" / "metadata.json").read_text(), ignore_unknown_fields=False)
    assert [p.name for p in read.parameters] == [p["name"] for p in PARAMETERS]
    assert [p.param_type.name for p in read.parameters] == [p["paramType"] for p in PARAMETERS]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p["name"])
def test_the_regexes_accept_good_values_and_refuse_bad_ones(parameter: dict[str, Any]) -> None:
    good, bad = VALUES[parameter["name"]]
    passes = [[v for v in values if all(re.fullmatch(r, v) for r in parameter["regexes"])] for values in (good, bad)]
    assert passes == [good, []]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p["name"])
def test_every_parameter_is_one_that_the_launcher_takes(parameter: dict[str, Any]) -> None:
    name, value = parameter["name"], VALUES[parameter["name"]][0][0]
    known, rest = parameters().parse_known_args([f"--job={VALUES['job'][0][0]}", f"--{name}={value}"])
    if rest:  # one of Beam's own
        assert PipelineOptions(rest).get_all_options(drop_default=True), f"Beam does not know --{name}"
        assert "not_known" not in PipelineOptions(rest).get_all_options(drop_default=True)
    else:
        assert str(getattr(known, name)) == value
    required = [a.dest for a in parameters()._actions if a.required]
    assert parameter["isOptional"] == (name not in [*required, "sdk_container_image"])


def test_every_parameter_of_ours_is_described() -> None:
    ours = {a.dest for a in parameters()._actions} - {"help"}
    assert ours <= {p["name"] for p in PARAMETERS}


def test_the_template_adds_what_it_needs_and_overrules_nothing() -> None:
    assert with_defaults(["--a=b"]) == ["--runner=DataflowRunner", "--a=b", "--experiments=no_use_multiple_sdk_containers"]
    said = ["--runner=FnApiRunner", "--experiments=x,use_multiple_sdk_containers"]
    assert with_defaults(said) == said


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield "memory://bucket/jobs"
    fs.store.clear()


def upload(load: Load, bucket: str, **target: Any) -> None:
    """A job with its data and its class definition in a bucket."""
    with fsspec.open(f"{bucket}/rows.parquet", "wb") as file:
        pq.write_table(pa.table({"key": list("abcd"), "body": ["a", "b", "c", "d"]}), file)
    with fsspec.open(f"{bucket}/schema/class.json", "w") as file:
        json.dump({"class": load.collection, "vectorizer": "none", "properties": [{"name": "body", "dataType": ["text"]}]}, file)
    content = {
        "source": {"parquet": f"{bucket}/rows.parquet", "key": "key"},
        "target": {
            "weaviate": {"url": load.server.url, "grpc": load.server.grpc},
            "collection": load.collection,
            "create": "schema/class.json",
        }
        | target,
        "vectors": {"default": {"model": {"fake": 8}, "text_fields": ["body"]}},
        "failures": {"path": f"{bucket}/failures"},
        "report": f"{bucket}/report",
    }
    with fsspec.open(f"{bucket}/job.yaml", "w") as file:
        yaml.safe_dump(content, file)


def test_the_launcher_submits_a_job_from_a_bucket_and_its_report_is_made_later(
    load: Load, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(load, bucket)
    assert main([f"--job={bucket}/job.yaml", "--limit=3", "--set=target.consistency_level=ONE;name=nightly", f"--runner={LOCAL}"]) == 0
    assert len(load.objects()) == 3
    said = re.search(r"warpbeam report JOB (\S+)", " ".join(capsys.readouterr().err.split()))
    assert said is not None
    (load.folder / "job.yaml").write_bytes(fsspec.filesystem("memory").cat_file("/bucket/jobs/job.yaml"))
    done = load.command("report", load.folder / "job.yaml", said.group(1), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["counts"]["loaded"] == 3


def test_the_launcher_names_what_is_wrong(load: Load, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--job={bucket}/job.yaml"]) == 2
    assert f"the job file {bucket}/job.yaml cannot be read: FileNotFoundError" in " ".join(capsys.readouterr().err.split())
    upload(load, bucket, delete="missing")
    assert main([f"--job={bucket}/job.yaml", f"--runner={LOCAL}"]) == 2
    assert "a template does not wait for it" in " ".join(capsys.readouterr().err.split())
    assert httpx.get(f"{load.server.url}/v1/schema/{load.collection}").status_code == 404
