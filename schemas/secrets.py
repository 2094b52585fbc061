"""Secrets: the job, the graph and the options carry only `${NAME}`; what it stands for is looked up where it is used."""

import os
import re
from pathlib import Path
from typing import Any

from schemas.errors import JobError

MOUNTED = Path("/run/secrets")
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve_secret(reference: str) -> str:
    """`reference` with each `${NAME}` replaced: by the environment variable, else the mounted file /run/secrets/NAME. Raises JobError."""
    return REFERENCE.sub(lambda found: _looked_up(found.group(1)), reference)


def _looked_up(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    if (MOUNTED / name).is_file():
        return (MOUNTED / name).read_text().strip()
    raise JobError(f"the environment variable {name} is not set here, and there is no file {MOUNTED / name}; the job refers to it")


def resolved(options: Any) -> Any:
    """`options` (nested dicts and lists) with the secrets in its strings looked up."""
    if isinstance(options, dict):
        return {key: resolved(value) for key, value in options.items()}
    if isinstance(options, list):
        return [resolved(value) for value in options]
    return resolve_secret(options) if isinstance(options, str) else options
