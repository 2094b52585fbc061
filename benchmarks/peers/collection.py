"""The collection that every peer writes into, made afresh, and the vectors that it holds afterwards."""

from typing import Any

import httpx

NAME = "Docstring"


def drop(url: str) -> None:
    """The collection is gone."""
    httpx.delete(f"{url}/v1/schema/{NAME}", timeout=60).raise_for_status()


def fresh(url: str, index: str) -> None:
    """An empty collection with `key`, `text` and a self-provided vector `text`."""
    drop(url)
    properties = [{"name": n, "dataType": ["text"]} for n in ("key", "text")]
    vectors = {"text": {"vectorizer": {"none": {}}, "vectorIndexType": index}}
    definition = {"class": NAME, "properties": properties, "vectorConfig": vectors}
    httpx.post(f"{url}/v1/schema", json=definition, timeout=60).raise_for_status()


def stored(url: str) -> dict[str, list[float]]:
    """key -> vector of every object."""
    found: dict[str, Any] = {}
    after = ""
    while page := httpx.get(f"{url}/v1/objects?class={NAME}&include=vector&limit=500&after={after}", timeout=60).json()["objects"]:
        found |= {o["properties"]["key"]: o["vectors"]["text"] for o in page}
        after = page[-1]["id"]
    return found
