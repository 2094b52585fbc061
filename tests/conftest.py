"""What all tests share: a real Weaviate server, and the names of collections that are gone after the test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from jobs.embedded import Server, start_server


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Weaviate server: the one that WEAVIATE_URL (and WEAVIATE_GRPC, otherwise its port 50051) names, or one for this session."""
    url = os.environ.get("WEAVIATE_URL", "").rstrip("/")
    if url:
        yield Server(url, os.environ.get("WEAVIATE_GRPC") or f"{urlsplit(url).hostname}:50051", pid=0)
        return
    folder: Path = tmp_path_factory.mktemp("weaviate")
    with start_server(folder / "data", log=folder / "server.log") as server:
        yield server


@pytest.fixture
def collection_name(weaviate: Server) -> Iterator[str]:
    """A name that no collection has; the collection that the test makes under it is deleted."""
    name = f"Test{uuid.uuid4().hex[:12]}"
    yield name
    httpx.delete(f"{weaviate.url}/v1/schema/{name}", timeout=60).raise_for_status()
