"""One Weaviate with modules for all tests that need no other: its models are tiny, but for the genuine MiniLM."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs.embedded import Server, start_server
from tests.conftest import Load
from tests.golden import clip_models, models
from tests.served import Modules, modules_server

SERVER_KEY = "server-key-7c1f0a9e"


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Iterator[Modules]:
    """Weaviate's modules and `warpbeam serve` behind them."""
    folder: Path = tmp_path_factory.mktemp("served")
    tiny = str(models.build("bert-tiny", folder / "text"))
    served = {
        "text": {"name": tiny, "mode": "huggingface"},
        "prefixed": {"name": tiny, "mode": "huggingface", "prefixes": True},
        "whole": {"name": tiny, "mode": "sentence-transformers"},
        "minilm": {"name": minilm, "mode": "huggingface"},
        "looks": {"name": str(clip_models.build(folder / "clip") / "clip-tiny")},
    }
    with modules_server(folder, served) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants SERVER_KEY and takes only small messages."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    env = {
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": SERVER_KEY,
        "AUTHENTICATION_APIKEY_USERS": "loader",
        "GRPC_MAX_MESSAGE_SIZE": "1000000",
    }
    with start_server(folder / "data", env=env, log=folder / "log") as server:
        yield server


@pytest.fixture
def vectorized(tmp_path: Path, modules: Modules) -> Iterator[Load]:
    """Runs jobs into a collection of this test's own, on the server with modules."""
    load = Load(tmp_path, modules.server, f"Test{uuid.uuid4().hex[:12]}")
    yield load
    httpx.delete(f"{load.server.url}/v1/schema/{load.collection}", timeout=60).raise_for_status()
