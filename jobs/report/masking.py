"""What a report must not show: the values of the job's secrets, and passwords in URLs, wherever they turn up."""

import json
import re
from collections.abc import Iterator
from typing import Any

from schemas.errors import JobError
from schemas.secrets import REFERENCE, resolve_secret

SHORTEST = 4  # a shorter value would be found in half of all words
PASSWORD = re.compile(r"(?<=://)[^/\s@\"']+:[^/\s@\"']+(?=@)")


def masked(data: Any, job: Any) -> Any:
    """`data` (nested dicts and lists) with the value of each `${NAME}` that `job` refers to replaced by that reference."""
    values = sorted(_values(job), key=lambda item: -len(item[0]))  # a value may hold another one
    return _masked(data, values)


def _values(job: Any) -> Iterator[tuple[str, str]]:
    for name in sorted(set(REFERENCE.findall(json.dumps(job, default=str)))):
        try:
            value = resolve_secret(f"${{{name}}}")
        except JobError:
            continue  # known to the workers only
        if len(value) >= SHORTEST:
            yield value, f"${{{name}}}"


def _masked(data: Any, values: list[tuple[str, str]]) -> Any:
    if isinstance(data, dict):
        return {_masked(key, values): _masked(value, values) for key, value in data.items()}
    if isinstance(data, list):
        return [_masked(value, values) for value in data]
    if not isinstance(data, str):
        return data
    for value, reference in values:
        data = data.replace(value, reference)
    return PASSWORD.sub("***", data)
