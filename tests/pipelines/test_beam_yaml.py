"""Beam's own YAML main runs the example pipeline, with our provider listing, into a real Weaviate."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from weaviate.util import generate_uuid5

from tests.conftest import Load

ROOT = Path(__file__).parent.parent.parent


def test_the_example_runs_with_beams_main(load: Load) -> None:
    pytest.importorskip("docstring_parser", reason="pip install 'apache-beam[yaml]'")
    properties = [{"name": "title", "dataType": ["text"]}, {"name": "year", "dataType": ["int"]}]
    load.create({"properties": properties, "vectorConfig": {"text": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}}})
    provider = str(ROOT / "pipelines" / "yaml_provider.yaml")
    variables = {"url": load.server.url, "grpc": load.server.grpc, "collection": load.collection, "provider": provider}
    command = [sys.executable, "-m", "apache_beam.yaml.main", "--yaml_pipeline_file=examples/in_your_pipeline.yaml"]
    command += [f"--jinja_variables={json.dumps(variables)}", "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = load.objects()
    assert set(found) == {generate_uuid5("b1"), generate_uuid5("b2")}
    assert found[generate_uuid5("b2")]["properties"] == {"title": "Beams and Shuttles", "year": 2004}
    assert all(len(o["vectors"]["text"]) == 8 for o in found.values())
    assert "no_vector" in done.stdout + done.stderr and '"written": 2' in done.stdout + done.stderr
