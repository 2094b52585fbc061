"""Versions of a collection, and the alias under which applications read one of them."""

import re
from urllib.parse import quote

from pipelines.targets.connection import Connection


def version_name(base: str, number: int) -> str:
    """The collection that holds version `number`."""
    return f"{base}_v{number}"


def version_number(base: str, collection: str) -> int | None:
    """Which version of `base` a collection is; None if it is none."""
    found = re.fullmatch(rf"{re.escape(base)}_v([1-9][0-9]*)", collection)
    return int(found.group(1)) if found else None


def collections(connection: Connection) -> list[str]:
    """The names of all collections. Raises WorldError, JobError."""
    return [c["class"] for c in connection.get("/v1/schema").get("classes") or []]


def alias_target(connection: Connection, alias: str) -> str | None:
    """The collection that `alias` stands for, or None. Raises WorldError, JobError."""
    found = connection.get(f"/v1/aliases/{quote(alias)}", missing_ok=True)
    return str(found["class"]) if found else None


def move_alias(connection: Connection, alias: str, collection: str) -> None:
    """Let `alias` stand for `collection`, at once; it is made if it is missing. Raises WorldError, JobError."""
    if alias_target(connection, alias) is None:
        connection.post("/v1/aliases", {"alias": alias, "class": collection})
    else:
        connection.put(f"/v1/aliases/{quote(alias)}", {"class": collection})
