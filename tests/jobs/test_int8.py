"""What int8 loses is measured on the job's own rows before a run uses it; it is told, and refused where it is too much."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs.examine import loss
from tests.conftest import Load
from tests.encoders.test_backends import saved
from tests.encoders.tiny_models import WORDS

DEFINITION = {
    "properties": [{"name": "key", "dataType": ["text"]}, {"name": "title", "dataType": ["text"]}],
    "vectorConfig": {"v": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}},
}
AGAIN: dict[str, dict[str, str]] = {"the same": {"dtype": "int8"}, "float32": {}, "another backend": {"backend": "openvino"}}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPBEAM_MODELS", str(tmp_path / "kept"))


def job(load: Load, model: str, **options: Any) -> Path:
    """A job of 60 texts of a few words."""
    import pyarrow as pa

    random = np.random.default_rng(3)
    titles = [" ".join(random.choice(WORDS, n % 9 + 1)) + f" {n}" for n in range(60)]
    source = load.parquet(pa.table({"key": [f"k{i}" for i in range(60)], "title": titles}))
    (load.folder / "class.json").write_text(json.dumps({"class": load.collection, **DEFINITION}))
    vectors = {"v": {"model": {"name": model, "device": "cpu", **options}, "text_fields": ["title"]}}
    return load.job(source, vectors, {"create": "class.json"})


def test_check_and_run_tell_what_int8_loses(load: Load, minilm: str) -> None:
    path = job(load, minilm, dtype="int8")
    told = json.loads(load.command("check", path, "--json").output)
    figures = told["int8"]["v"]
    assert (figures["texts"], figures["nearest"]) == (60, 10)
    assert 0.99 < figures["mean_cosine"] < 0.99999
    assert figures["worst_cosine"] <= figures["mean_cosine"]
    assert 0.5 < figures["recall"] <= 1
    line = f"int8 against float32 on 60 texts of the sample: cosine {figures['mean_cosine']:.4f} in the mean"
    assert any(line in remark for remark in told["remarks"])
    result = load.command("run", path)
    assert line in " ".join(result.output.split())
    report = json.loads((load.folder / "report" / "report.json").read_text())
    assert report["counts"]["loaded"] == 60
    assert report["vectors"]["v"]["int8"]["mean_cosine"] == pytest.approx(figures["mean_cosine"], abs=1e-4)
    counts = {key: load.run(job(load, minilm, **options))[1]["counts"]["unchanged"] for key, options in AGAIN.items()}
    assert counts == {"the same": 60, "float32": 0, "another backend": 60}


def test_a_model_that_loses_too_much_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "LEAST", 0.9999)
    path = job(load, str(saved(load.folder / "random", "Bert")), dtype="int8")
    for command in ("check", "run"):
        result = load.command(command, path)
        said = " ".join(result.output.split())
        assert result.exit_code == 2, said
        assert "vectors.v.model.dtype: int8 against float32 on 60 texts of the sample: cosine 0.9" in said
        assert f"a mean below {loss.LEAST} is refused: leave out dtype: int8" in said
    assert httpx.get(f"{load.server.url}/v1/schema/{load.collection}").status_code == 404, "nothing was made"


def test_a_backend_that_cannot_be_had_is_a_fault_of_the_job(load: Load, minilm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    result = load.command("check", job(load, minilm, backend="openvino", dimensions=64))
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert 'vectors.v.model: backend openvino: OpenVINO is missing: pip install "warpbeam[openvino]"' in said


def test_the_loss_is_what_it_says() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(40, 8)).astype(np.float32)
    same = loss.loss_of(exact, 3 * exact)
    assert same.mean_cosine == pytest.approx(1)
    assert (same.recall, same.texts) == (1, 40)
    turned = exact.copy()
    turned[7] = -exact[7]
    found = loss.loss_of(exact, turned)
    assert found.worst_cosine == pytest.approx(-1)
    assert found.mean_cosine == pytest.approx(38 / 40)
    assert 0 < (found.recall or 0) < 1
    assert loss.loss_of(exact[:20], turned[:20]).recall is None, "too few texts"
    assert "nearest" not in str(loss.loss_of(exact[:20], turned[:20]))
