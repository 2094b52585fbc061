"""What a job meets: a real Weaviate whose REST and gRPC go through proxies, and which can be killed and started again."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from jobs.server import Server, start_server
from pipelines.targets.weaviate import WeaviateTarget
from schemas.job import TargetSpec, WeaviateSpec
from tests.faults.toxiproxy import Toxiproxy, running_toxiproxy

PAGE = 2000
ASKED = 250  # questions at a time


@dataclass
class World:
    """One server, its two proxies, and what is in it; the harness itself asks the server without a proxy."""

    folder: Path
    server: Server
    toxiproxy: Toxiproxy
    rest: str  # host:port of the proxy
    grpc: str

    @property
    def proxies(self) -> dict[str, str]:
        return {"rest": self.rest, "grpc": self.grpc}

    def kill_server(self) -> None:
        """kill -9."""
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.runs():
            time.sleep(0.01)

    def restart_server(self) -> None:
        """A new server on the same data; the proxies lead to it."""
        self.server = start_server(self.folder / "data", log=self.folder / "server.log")
        self.toxiproxy.lead("rest", self.rest, self.server.url.removeprefix("http://"))
        self.toxiproxy.lead("grpc", self.grpc, self.server.grpc)

    def connect(self, enabled: bool) -> None:
        """False: every connection is cut, new ones are refused."""
        for name, listen in self.proxies.items():
            self.toxiproxy.enable(name, listen, enabled)

    def toxic(self, kind: str, stream: str = "downstream", **attributes: int) -> None:
        for name in self.proxies:
            self.toxiproxy.toxic(name, kind, stream, **attributes)

    def heal(self) -> None:
        """As on a good day."""
        for name in self.proxies:
            self.toxiproxy.heal(name)
        self.connect(True)

    def count(self, collection: str) -> int:
        """The objects of a collection; 0 where it is not made yet."""
        query = {"query": f"{{Aggregate{{{collection}{{meta{{count}}}}}}}}"}
        found = httpx.post(f"{self.server.url}/v1/graphql", json=query, timeout=60).json()
        known = isinstance(found, dict) and not found.get("errors") and "data" in found  # else the class is not there
        return int(found["data"]["Aggregate"][collection][0]["meta"]["count"]) if known else 0

    def settled_count(self, collection: str) -> int:
        """The count once requests that outlive their sender are done."""
        before = -1
        while (now := self.count(collection)) != before:
            before = now
            time.sleep(0.3)
        return now

    def objects(self, collection: str, tenant: str = "") -> list[dict[str, Any]]:
        """Every object as REST gives it, with vectors; a list, so that what is there twice shows."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            query = {"class": collection, "limit": PAGE, "include": "vector", "after": after} | ({"tenant": tenant} if tenant else {})
            page = httpx.get(f"{self.server.url}/v1/objects", params=query, timeout=60).raise_for_status().json()["objects"]
            found += page
            if len(page) < PAGE:
                return found
            after = page[-1]["id"]

    def unindexed(self, collection: str, objects: list[dict[str, Any]]) -> int:
        """How many of `objects` no filter finds, though they are stored."""
        spec = TargetSpec(weaviate=WeaviateSpec(url=self.server.url, grpc=self.server.grpc), collection=collection)
        with closing(WeaviateTarget(spec)) as bare, closing(WeaviateTarget(spec, bare.collection())) as target:
            ids = [bytes.fromhex(o["id"].replace("-", "")) for o in objects]
            found = [target.fingerprints(ids[i : i + PAGE]) for i in range(0, len(ids), PAGE)]
        return len(ids) - sum(map(len, found))

    def deaf(self, collection: str, objects: list[dict[str, Any]], tenant: str = "") -> int:
        """How many of `objects` are not found by their own vector: nothing as near as themselves comes back."""
        return sum(self._deaf(collection, objects[i : i + ASKED], tenant) for i in range(0, len(objects), ASKED))

    def _deaf(self, collection: str, objects: list[dict[str, Any]], tenant: str) -> int:
        where = f'tenant:"{tenant}" ' if tenant else ""
        asked = [
            f'a{i}:Get{{{collection}({where}limit:1 nearVector:{{vector:{json.dumps(o["vectors"]["v"])} targetVectors:["v"]}}){{_additional{{distance}}}}}}'
            for i, o in enumerate(objects)
        ]
        answer = httpx.post(f"{self.server.url}/v1/graphql", json={"query": f"{{{' '.join(asked)}}}"}, timeout=60).raise_for_status().json()
        assert not answer.get("errors"), answer
        nearest = [a[collection] for a in answer["data"].values()]
        return sum(not n or n[0]["_additional"]["distance"] > 0.01 for n in nearest)

    def forget(self, collection: str) -> None:
        httpx.delete(f"{self.server.url}/v1/schema/{collection}", timeout=60).raise_for_status()


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A server and its proxies in `folder`, all ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_toxiproxy(folder / "toxiproxy.log") as toxiproxy:
        server = start_server(folder / "data", log=folder / "server.log")
        try:
            rest = toxiproxy.proxy("rest", server.url.removeprefix("http://"))
            made = World(folder, server, toxiproxy, rest, toxiproxy.proxy("grpc", server.grpc))
        except BaseException:
            server.stop()
            raise
        try:
            yield made
        finally:
            made.server.stop()
