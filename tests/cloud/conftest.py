"""The stores that the tests read from and write to: each behind a tap that counts requests and bytes."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from pipelines.storage import file_system
from tests.cloud.emulators import NoTool, azure_server, gcs_server, s3_server
from tests.cloud.tap import Tap

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # read as gcsfs is imported; else it asks for a service that no emulator has
# The account that azurite has built in; its key is published in its documentation.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Store:
    """A store with a bucket; `secrets`: the environment that `options` refers to, `own`: what its client reads by itself."""

    name: str
    url: str
    tap: Tap
    options: dict[str, Any]
    secrets: dict[str, str]
    own: dict[str, str]

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """For a test's own files, by the way that the product takes."""
        return file_system(self.url, self.options)[0]

    def put(self, name: str, content: bytes) -> str:
        self.fs.pipe_file(f"{self.url}/{name}", content)
        return f"{self.url}/{name}"


def s3(folder: Path, stack: ExitStack) -> Store:
    tap = stack.enter_context(closing(Tap(stack.enter_context(s3_server(folder)))))
    own = {"AWS_ACCESS_KEY_ID": "kept-s3-id", "AWS_SECRET_ACCESS_KEY": "kept-s3-secret", "AWS_ENDPOINT_URL": f"http://{tap.host}"}
    own["AWS_DEFAULT_REGION"] = "us-east-1"
    options = {
        "key": "${SHOP_ID}",
        "secret": "${SHOP_SECRET}",
        "endpoint_url": f"http://{tap.host}",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    httpx.put(f"http://{tap.host}/shop").raise_for_status()
    return Store("s3", "s3://shop", tap, options, {"SHOP_ID": "kept-s3-id", "SHOP_SECRET": "kept-s3-secret"}, own)


def gcs(folder: Path, stack: ExitStack) -> Store:
    (folder / "objects" / "shop").mkdir(parents=True)
    tap = stack.enter_context(closing(Tap(stack.enter_context(gcs_server(folder, folder / "objects")))))
    options = {"token": "anon", "endpoint_url": f"http://{tap.host}"}
    return Store("gcs", "gs://shop", tap, options, {}, {"STORAGE_EMULATOR_HOST": f"http://{tap.host}"})


def azure(folder: Path, stack: ExitStack) -> Store:
    tap = stack.enter_context(closing(Tap(stack.enter_context(azure_server(folder)))))
    connection = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};BlobEndpoint=http://{tap.host}/devstoreaccount1;"
    options = {"connection_string": "${SHOP_CONNECTION}"}
    return Store("azure", "az://shop", tap, options, {"SHOP_CONNECTION": connection}, {"AZURE_STORAGE_CONNECTION_STRING": connection})


MAKERS: dict[str, Callable[[Path, ExitStack], Store]] = {"s3": s3, "gcs": gcs, "azure": azure}


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """The store of a name, started at the first question for it."""
    with ExitStack() as stack:
        made: dict[str, Store] = {}

        def store(name: str) -> Store:
            if name not in made:
                try:
                    made[name] = MAKERS[name](tmp_path_factory.mktemp(name), stack)
                except NoTool as error:
                    pytest.skip(str(error))
                if name == "azure":
                    with pytest.MonkeyPatch.context() as env:
                        env.setenv("SHOP_CONNECTION", made[name].secrets["SHOP_CONNECTION"])
                        made[name].fs.mkdir(made[name].url)
            return made[name]

        yield store


@pytest.fixture(params=list(MAKERS))
def store(request: pytest.FixtureRequest, stores: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Each of the three, its secrets in the environment."""
    found = stores(request.param)
    for key, value in found.secrets.items():
        monkeypatch.setenv(key, value)
    return found
