"""Models in S3, GCS and Azure: fetched with what the environment says, whole, once, and with the fingerprint of their folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from encoders.content import content_of
from encoders.fetched import FOLDER, fetched
from schemas.errors import JobError
from schemas.models import ModelSpec
from tests.cloud.conftest import Store

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of Google's packages about one another
FILES = {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 1024, "README.md": b"words"}


@pytest.fixture
def model(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Puts a model into the store; its client finds server and credentials in the environment."""
    for key, value in store.own.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv(FOLDER, str(tmp_path / "kept"))

    def forget() -> None:
        fetched.cache_clear()
        type(store.fs).clear_instance_cache()

    def put() -> str:
        for name, content in FILES.items():
            store.put(f"models/tiny/{name}", content)
        forget()
        return f"{store.url}/models/tiny"

    forget()
    yield put
    forget()


def test_a_model_is_fetched_whole_once_and_known_by_its_content(store: Store, model: Callable[[], str], tmp_path: Path) -> None:
    url = model()
    place = fetched(url)
    wanted = {name: content for name, content in FILES.items() if name != "README.md"}
    assert {name: (place / name).read_bytes() for name in wanted} == wanted
    assert sorted(p.name for p in (tmp_path / "kept").iterdir() if p.is_dir()) == [place.name]
    for name, content in wanted.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_bytes(content)
    assert content_of(ModelSpec(name=url)) == content_of(ModelSpec(name=str(tmp_path / "own")))
    before = (place / "model.safetensors").stat().st_ino
    fetched.cache_clear()  # another process of the same machine
    assert fetched(url) == place
    assert (place / "model.safetensors").stat().st_ino == before


def test_a_model_that_is_altered_is_fetched_anew(store: Store, model: Callable[[], str]) -> None:
    first = fetched(model())
    store.put("models/tiny/config.json", b"[]")
    fetched.cache_clear()
    second = fetched(f"{store.url}/models/tiny")
    assert second != first
    assert (second / "config.json").read_bytes() == b"[]"


def test_a_model_that_is_not_there_is_named(store: Store, model: Callable[[], str]) -> None:
    model()
    with pytest.raises(JobError, match=rf"the model '{store.url}/models/none' (has no files|cannot be read)"):
        fetched(f"{store.url}/models/none")
