"""Models that lie in a bucket: fetched once, whole, and with the same fingerprint as in a folder."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoders import family
from encoders.content import content_of
from encoders.fetched import FOLDER, Remote, _difference, fetched, with_local_files
from encoders.sharing import shared_encoder
from jobs.job_file import load_job
from schemas.errors import JobError, WorldError
from schemas.job import VectorSpec
from schemas.models import ModelSpec
from tests.encoders.tiny_models import tiny_clip, tiny_text_model

NAME = st.text(st.sampled_from("abcß 1_"), min_size=1, max_size=6).filter(lambda name: name.strip() == name)
FILES = st.dictionaries(st.lists(NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=50), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for fetched models; what this process fetched before is forgotten."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "kept"))
    fetched.cache_clear()
    fsspec.filesystem("memory").store.clear()
    yield tmp_path / "kept"
    fetched.cache_clear()
    fsspec.filesystem("memory").store.clear()


def uploaded(folder: Path, url: str) -> str:
    """`folder` under `url`."""
    fs, root = fsspec.core.url_to_fs(url)
    for file in folder.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"{root}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return url


def folders(kept: Path) -> list[str]:
    return sorted(p.name for p in kept.iterdir() if p.is_dir())


def test_a_model_in_a_bucket_gives_the_vectors_and_the_fingerprint_of_its_folder(tmp_path: Path, kept: Path) -> None:
    folder = tiny_text_model(tmp_path / "tiny")
    url = uploaded(folder, "memory://bucket/models/tiny")
    specs = [VectorSpec.model_validate({"model": {"name": str(name), "device": "cpu"}, "text_fields": ["t"]}) for name in (folder, url)]
    made = []
    for spec in specs:
        with shared_encoder(spec) as encoder:
            made.append(encoder.encode(["a red circle", "the picture"], "text").vectors)
    assert np.array_equal(*made)
    assert content_of(specs[0].model) == content_of(specs[1].model)
    assert len(folders(kept)) == 1
    assert folders(kept)[0].startswith("tiny-")


def test_the_family_is_told_by_the_files_in_the_bucket(tmp_path: Path) -> None:
    url = uploaded(tiny_clip(tmp_path / "pictures"), "memory://bucket/some/name")
    assert family(VectorSpec.model_validate({"model": url, "text_fields": ["t"]})) == "clip"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES)
def test_the_fingerprint_is_that_of_names_and_bytes(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    fetched.cache_clear()
    folder = tmp_path_factory.mktemp("local")
    for name, data in files.items():
        if any(other.startswith(f"{name}/") for other in files):
            continue  # a file cannot be a folder too
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    url = uploaded(folder, f"memory://bucket/{folder.name}")
    assert content_of(ModelSpec(name=url)) == content_of(ModelSpec(name=str(folder)))
    there = {p.relative_to(fetched(url)).as_posix(): p.read_bytes() for p in fetched(url).rglob("*") if p.is_file()}
    assert there == {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_documents_and_caches_are_left_in_the_bucket(tmp_path: Path) -> None:
    for name in ("config.json", "README.md", ".git/HEAD", "1_Pooling/config.json", "1_Pooling/shape.PNG"):
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_text("{}")
    place = fetched(uploaded(tmp_path / "m", "memory://bucket/m"))
    assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*.*") if p.is_file()) == ["1_Pooling/config.json", "config.json"]


def test_an_altered_model_is_fetched_anew_and_a_damaged_copy_too(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights").write_bytes(b"old")
    url = uploaded(tmp_path / "m", "memory://bucket/m")
    first = fetched(url)
    (first / "weights").write_bytes(b"ol")
    fetched.cache_clear()
    assert (fetched(url) / "weights").read_bytes() == b"old"
    (tmp_path / "m" / "weights").write_bytes(b"new")
    uploaded(tmp_path / "m", url)
    fetched.cache_clear()
    assert (fetched(url) / "weights").read_bytes() == b"new"
    assert len(folders(kept)) == 2


def test_a_single_file_keeps_its_name(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/imagebind.pth", b"weights")
    model = with_local_files(ModelSpec(imagebind="memory://bucket/imagebind.pth"))
    assert Path(model.imagebind or "").name == "imagebind.pth"
    assert Path(model.imagebind or "").read_bytes() == b"weights"
    (tmp_path / "imagebind.pth").write_bytes(b"weights")
    assert content_of(ModelSpec(imagebind="memory://bucket/imagebind.pth")) == content_of(
        ModelSpec(imagebind=str(tmp_path / "imagebind.pth"))
    )


def _ask(url: str, answers: Any) -> None:
    place = fetched(url)
    answers.put((str(place), os.stat(place).st_ino, (place / "weights").stat().st_size))


def test_processes_that_ask_at_once_fetch_once(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights").write_bytes(os.urandom(20 << 20))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    asking = [context.Process(target=_ask, args=(f"file://{tmp_path}/m", answers)) for _ in range(3)]
    for process in asking:
        process.start()
    found = {answers.get(timeout=120) for _ in asking}
    for process in asking:
        process.join()
    ((place, _, size),) = found  # the same folder, not one that was put in the place of another
    assert size == 20 << 20
    assert folders(kept) == [Path(place).name]


def test_faults_name_the_model_and_what_would_be_right(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match=r"the model 'memory://bucket/none' has no files; expected the URL of a folder"):
        fetched("memory://bucket/none")
    with pytest.raises(JobError, match=r"the model 'nothing://bucket/m' cannot be read: ValueError: Protocol not known"):
        fetched("nothing://bucket/m")
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path / "in the way"))
    fsspec.filesystem("memory").pipe_file("/bucket/m/weights", b"w")
    with pytest.raises(WorldError, match=r"cannot be kept in .*in the way: .*WARPBEAM_MODELS names another folder"):
        fetched("memory://bucket/m")
    assert not kept.exists()


def test_size_and_md5_are_compared(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"hello")
    known = "5d41402abc4b2a76b9719d911017c592"
    assert _difference(Remote("b/weights", "weights", 5, "1", known), tmp_path / "weights") == ""
    assert _difference(Remote("b/weights", "weights", 6, "1", ""), tmp_path / "weights") == "5 bytes came of 6"
    assert "its MD5 is not 0" in _difference(Remote("b/weights", "weights", 5, "1", "0" * 32), tmp_path / "weights")


def test_a_url_in_a_job_stays_a_url(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    models = {"a": "gs://b/m", "b": "{imagebind: 's3://b/imagebind.pth'}"}
    lines = "".join(f"  {name}: {{model: {model}, text_fields: [t]}}\n" for name, model in models.items())
    job.write_text("source: {parquet: x.parquet, key: k}\ntarget: {weaviate: embedded, collection: C}\nvectors:\n" + lines)
    loaded = load_job(job)
    assert [loaded.vectors[n].model for n in "ab"] == [ModelSpec(name="gs://b/m"), ModelSpec(imagebind="s3://b/imagebind.pth")]
