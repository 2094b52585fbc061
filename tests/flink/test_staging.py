"""Workers without Warpbeam: Beam's own start program `boot` unpacks what the launching machine staged, and installs it.

`boot` is the program of Beam's images, here started by the TaskManager (PROCESS). Each worker has an environment of its
own with everything that this one has, except Warpbeam, and without an index to install from.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from jobs.flink.cluster import ROOT, Cluster
from tests.cloud.emulators import NoTool, go_program
from tests.conftest import Load
from tests.flink.conftest import Start
from tests.flink.test_flink import job_of, report_of, rows, stored

WORKER = """#!/bin/sh
unset PYTHONPATH
made={folder}/worker-$$
{python} -m venv --without-pip $made && echo {packages} >$made/lib/python{short}/site-packages/most.pth
export PATH=$made/bin:$PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 PIP_NO_INDEX=1
cd $made && exec {boot} --semi_persist_dir=$made "$@" >>{folder}/workers.log 2>&1
"""
SOURCES = ("schemas", "encoders", "pipelines", "jobs", "pyproject.toml", "setup.py", "README.md", "warpbeam.py")


@pytest.fixture
def bare(cluster: Cluster, tmp_path: Path) -> list[str]:
    """The flags of a run on one worker that has no Warpbeam."""
    try:
        boot = go_program(
            f"beam-boot-{version('apache-beam')}", f"github.com/apache/beam/sdks/v2/python/container@v{version('apache-beam')}"
        )
    except NoTool as error:
        pytest.skip(str(error))
    (tmp_path / "workers").mkdir()
    program = tmp_path / "workers" / "boot.sh"
    short = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder, packages = program.parent, sysconfig.get_paths()["purelib"]
    program.write_text(WORKER.format(folder=folder, python=sys.executable, packages=packages, short=short, boot=boot))
    program.chmod(0o755)
    return cluster.beam_args(parallelism=1, environment_config=json.dumps({"command": str(program)}))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Warpbeam's sources, but its fake encoder turns all vectors round: so it shows whose code a worker has."""
    for name in SOURCES:
        source, copy = ROOT / name, tmp_path / "checkout" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    fake = tmp_path / "checkout" / "encoders" / "fake.py"
    fake.write_text(fake.read_text().replace("standard_normal(self.dim, np.float32)", "standard_normal(self.dim, np.float32) * -1"))
    return tmp_path / "checkout"


def test_a_worker_without_warpbeam_ends_the_run_with_2(load: Load, bare: list[str], warpbeam: Start) -> None:
    code, said = warpbeam("run", job_of(load, rows(10)), "--", *bare).end()
    assert code == 2, said
    problem = report_of(load)["problem"]
    assert "the workers cannot import" in problem and "--setup_file" in problem and len(problem.splitlines()) == 1
    assert "Traceback" not in said


def staged_as(kind: str, checkout: Path) -> str:
    """Beam's flag for it: the sources, of which Beam makes an sdist, or a wheel."""
    if kind == "sdist":
        return f"--setup_file={checkout}/setup.py"
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", str(checkout / "dist"), str(checkout)], check=True)
    return f"--extra_package={next((checkout / 'dist').glob('*.whl'))}"


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_workers_use_what_was_staged(load: Load, bare: list[str], checkout: Path, warpbeam: Start, kind: str) -> None:
    path = job_of(load, rows(40))
    code, said = warpbeam("run", path, "--", *bare, staged_as(kind, checkout)).end()
    assert code == 0, said + (load.folder / "workers" / "workers.log").read_text()[-5000:]
    theirs = stored(load)
    assert len(theirs) == 40
    from encoders.fake import FakeEncoder
    from schemas.models import ModelSpec

    for properties, vector in theirs.values():
        ours = FakeEncoder(ModelSpec(fake=8), {}).encode([properties["title"]]).vectors[0]
        assert np.allclose(vector, -ours, atol=1e-6)
