"""What `--setup_file=./setup.py` stages for workers: a source package with everything, that installs and can be imported."""

import shutil
import subprocess
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.stager import Stager

ROOT = Path(__file__).parent.parent
LAYERS = ("schemas", "encoders", "pipelines", "jobs")
BESIDE = ("pyproject.toml", "setup.py", "README.md", "warpbeam.py", "constraints.txt")


def shipped() -> list[str]:
    """Every file of ours that a worker may need: modules, and the data that lies beside them."""
    files = [p for layer in LAYERS for p in (ROOT / layer).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return sorted(["warpbeam.py", *(p.relative_to(ROOT).as_posix() for p in files)])


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as Beam makes it, from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in BESIDE:
        shutil.copy(ROOT / name, folder)
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, folder / layer, ignore=shutil.ignore_patterns("__pycache__"))
    options = PipelineOptions([f"--setup_file={folder / 'setup.py'}", "--sdk_location=container"])
    staged = Stager.create_job_resources(options, str(tmp_path_factory.mktemp("staged")))
    (made,) = [
        beam_runner_api_pb2.ArtifactFilePayload.FromString(a.type_payload).path for a in staged if a.type_payload.endswith(b".tar.gz")
    ]
    return Path(made)


def test_the_package_holds_every_module_and_its_data(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(shipped()) <= names, f"missing in the sdist: {sorted(set(shipped()) - names)}"
    assert {"pyproject.toml", "setup.py", "README.md"} <= names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", ".venv", "docs/"))]


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with the package in it; what the package needs is borrowed from this one."""
    folder = tmp_path_factory.mktemp("worker")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", sdist]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (own / "borrowed.pth").unlink()
    assert all((own / name).is_file() for name in shipped()), [n for n in shipped() if not (own / n).is_file()]
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_every_module_of_the_installed_package_can_be_imported(installed: Path) -> None:
    modules = [n.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for n in shipped() if n.endswith(".py")]
    script = (
        "import importlib, os, sys\n"
        "for name in sys.argv[1:]:\n"
        "    if not name.endswith('__main__'):\n"
        "        module = importlib.import_module(name)\n"
        "        assert module.__file__.startswith(sys.prefix), module.__file__\n"
    )
    done = subprocess.run(
        [installed, "-W", "ignore", "-c", script, *modules], cwd=installed.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_installed_package_finds_its_data_and_its_command(installed: Path) -> None:
    script = "from encoders.prebuilt import prebuilt_image; assert prebuilt_image('multi2vec-clip:sentence-transformers-clip-ViT-B-32')"
    subprocess.run([installed, "-W", "ignore", "-c", script], cwd=installed.parent, check=True, timeout=120)
    done = subprocess.run([installed.parent / "warpbeam", "--help"], cwd=installed.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
