"""The chart, the image's file and the compose file: that they agree with the program and with one another."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
import yaml

from jobs.cli import app
from jobs.server import free_ports
from schemas.job import Job
from tests.served import serving

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy" / "helm" / "warpbeam-serve"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HELM = shutil.which("helm") or shutil.which("helm", path=Path.home() / "go" / "bin")
SETTINGS: list[list[str]] = [
    [],
    ["--set", "gpus=1"],
    ["--set", "models.size=10Gi", "--set", "models.storageClass=fast"],
    ["--set", "models.claim=there", "--set", "secrets={keys,more}", "--set", "pullSecrets={registry}"],
    ["--set", "arguments={--vector,text}", "--set-string", "environment.TORCH_NUM_THREADS=4", "--set", "port=9000"],
    ["--set", "nodeSelector.pool=gpu", "--set-json", 'tolerations=[{"key":"nvidia.com/gpu","operator":"Exists"}]'],
]
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not installed: go install helm.sh/helm/v3/cmd/helm@latest")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=120)


def rendered(*settings: str) -> dict[str, dict[str, Any]]:
    """What the chart makes, by kind."""
    done = helm("template", "models", str(CHART), "--namespace", "search", *settings)
    assert done.returncode == 0, done.stderr
    return {part["kind"]: part for part in yaml.safe_load_all(done.stdout) if part}


@needs_helm
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(s) or "defaults")
def test_the_chart_passes_lint(settings: list[str]) -> None:
    done = helm("lint", "--strict", str(CHART), *settings)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(s) or "defaults")
def test_what_the_chart_makes_fits_the_program(settings: list[str]) -> None:
    made = rendered(*settings)
    pod = made["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, *arguments = container["args"]
    known = {o for p in typer.main.get_command(app).commands[command].params for o in p.opts}  # type: ignore[attr-defined]
    assert {a for a in arguments if a.startswith("--")} <= known
    assert (
        made["Deployment"]["spec"]["selector"]["matchLabels"].items()
        <= made["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    )
    assert made["Service"]["spec"]["selector"] == made["Deployment"]["spec"]["selector"]["matchLabels"]
    assert str(container["ports"][0]["containerPort"]) == arguments[arguments.index("--port") + 1]
    assert Job.model_validate(yaml.safe_load(made["ConfigMap"]["data"]["job.yaml"])).vectors
    assert pod["securityContext"]["runAsUser"] == int(re.findall(r"useradd --uid (\d+)", DOCKERFILE)[0])


@needs_helm
def test_the_probes_ask_what_serve_answers(tmp_path: Path) -> None:
    (container,) = rendered()["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    vectors = "vectors: {default: {model: {fake: 4}, text_fields: [title]}}\n"
    target = "target: {weaviate: 'http://127.0.0.1:9', collection: Any}\n"  # nothing listens there
    (tmp_path / "serve.yaml").write_text("source: {parquet: rows.parquet, key: key}\n" + target + vectors)
    port = free_ports().http
    with serving(tmp_path, port):
        answers = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=10))
        assert [answers.get(path, timeout=60).status_code for path in paths] == [204, 204, 204]
        answers.close()


@needs_helm
def test_settings_become_what_they_say() -> None:
    (container,) = rendered("--set", "gpus=2")["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi", "nvidia.com/gpu": 2}}
    claimed = rendered("--set", "models.size=10Gi")
    (_, volume) = claimed["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claimed["PersistentVolumeClaim"]["metadata"]["name"] == "models"
    first, other = (rendered("--set-string", f"job={job}")["Deployment"]["spec"]["template"]["metadata"]["annotations"] for job in "ab")
    assert first != other, "another job must make other pods"


@needs_helm
@pytest.mark.parametrize("wrong", ["prot=1", "port=99999", "models.size=10", "replicas=many", "image.repository=", "gpus=-1"])
def test_a_wrong_value_is_refused(wrong: str) -> None:
    done = helm("template", "models", str(CHART), "--set", wrong)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr


def test_the_dockerfile_has_the_documented_targets_and_no_root() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    named = [name for _, name in stages]
    assert {"cpu", "gpu", "serve", "template"} <= set(named)
    parts = dict(zip(named, re.split(r"^FROM .*$", DOCKERFILE, flags=re.MULTILINE)[1:], strict=True))
    for target in ("cpu", "gpu", "serve"):
        assert re.search(r"^USER (warpbeam|\$\{WORKER_USER\})$", parts[target], re.MULTILINE), target
    assert all(
        "COPY --from=beam /opt/apache/beam /opt/apache/beam" in parts[t] and "/opt/apache/beam/boot" in parts[t] for t in ("cpu", "gpu")
    )


def test_the_dockerfile_copies_what_is_there_and_all_of_the_program() -> None:
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line and "$" not in line
    ]
    names = {name for line in copied for name in line}
    assert all((ROOT / name).exists() for name in names), names
    assert {"schemas", "encoders", "pipelines", "jobs", "warpbeam.py", "pyproject.toml", "constraints.txt"} <= names
    assert (ROOT / re.findall(r"^ARG MODELS=(.+)$", DOCKERFILE, re.MULTILINE)[0]).is_dir()


def test_the_image_has_the_beam_that_the_constraints_name_and_a_python_that_it_supports() -> None:
    (beam,) = re.findall(r"^apache-beam==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (python, sdk) = re.findall(r"^ARG BEAM_IMAGE=apache/beam_python([\d.]+)_sdk:(\S+)$", DOCKERFILE, re.MULTILINE)[0]
    assert sdk == beam
    assert f"ARG PYTHON_IMAGE=python:{python}-slim" in DOCKERFILE


def test_the_extras_of_the_images_are_there() -> None:
    extras = {name for line in re.findall(r'^ARG \w+_EXTRAS="(.*)"$', DOCKERFILE, re.MULTILINE) for name in line.split(",")}
    defined = set(
        re.findall(
            r"^(\w+) = \[",
            (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[project.")[0],
            re.MULTILINE,
        )
    )
    assert extras <= defined


def test_the_compose_file_builds_a_target_of_the_dockerfile() -> None:
    build = yaml.safe_load((ROOT / "examples" / "docker-compose.yml").read_text())["services"]["warpbeam"]["build"]
    assert re.search(rf"^FROM \S+ AS {build['target']}$", DOCKERFILE, re.MULTILINE)
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
