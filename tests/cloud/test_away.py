"""A store that nobody answers for: at the start of a run, and between the look at the files and the reading of their rows."""

import uuid
from collections.abc import Callable
from contextlib import closing

import pytest
import yaml

from pipelines.sources.parquet import ParquetSource
from schemas.errors import WorldError
from tests.cloud.conftest import Store
from tests.cloud.tap import Tap
from tests.cloud.test_jobs import SIMPLE, there
from tests.cloud.test_reading import parquet, rows
from tests.conftest import Load

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Package google:FutureWarning"),
]
NOBODY = "127.0.0.1:9"


def behind(store: Store, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the options of `store` lead to `host`; S3's client is told to try once."""
    for key, value in store.secrets.items():
        monkeypatch.setenv(key, value.replace(store.tap.host, host))
    if "endpoint_url" in store.options:
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if store.name == "s3" else {}
        monkeypatch.setattr(store, "options", store.options | once | {"endpoint_url": f"http://{host}"})


@pytest.mark.slow  # the clients of Google and Azure try again for one to three minutes
@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_a_store_that_is_away_ends_the_run_with_3(
    load: Load, stores: Callable[[str], Store], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as a run whose rows all failed: nothing was started."""
    store = stores(name)
    behind(store, NOBODY, monkeypatch)
    load.create(SIMPLE)
    _, job = there(load, store, {"parquet": "rows.parquet"})
    spec = yaml.safe_load(job.read_text())
    job.write_text(yaml.safe_dump(spec | {"failures": {"path": "failures"}, "report": "report"}))
    result = load.command("run", job)
    assert result.exit_code == 3, result.output
    assert "Something outside the job is wrong" in result.output and f"source {store.url}" in result.output, result.output
    assert "Traceback" not in result.output and not load.objects() and not (load.folder / "failures").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_a_store_that_goes_away_rejects_no_row(stores: Callable[[str], Store], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores(name)
    for key, value in store.secrets.items():
        monkeypatch.setenv(key, value)
    url = store.put(f"{uuid.uuid4().hex[:8]}/rows.parquet", parquet(rows(3000)))
    with closing(Tap(store.tap.host)) as way:
        behind(store, way.host, monkeypatch)
        source = ParquetSource(url, store.options)
        (shard,) = source.shards()
    with pytest.raises(WorldError, match="the connection was lost"):
        list(source.read(shard, ["key"]))
