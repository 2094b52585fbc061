"""What a request to an inference container says: JSON in, a question for the encoder out."""

import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

from encoders.remote import PARTS
from jobs.serve.batches import Question


class Refused(Exception):
    """A request that gets an error instead of vectors: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        """Keep both for the answer."""
        self.status, self.reason = status, reason
        super().__init__(reason)


def parsed_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Refused."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise Refused(422, f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise Refused(422, "the body is nested too deeply") from error
    if not isinstance(data, dict):
        raise Refused(422, f"the body is {_kind(data)}; expected an object with `text`, or with `texts` and `images`")
    return data


def text_question(data: dict[str, Any]) -> Question:
    """The question of the text containers: {text, config: {pooling_strategy, task_type, dimensions}}. Raises Refused."""
    config = data.get("config") or {}
    if not isinstance(config, dict):
        raise Refused(422, f"config is {_kind(config)}; expected an object")
    task_type, pooling = (_optional(config, f"config.{key}", str) for key in ("task_type", "pooling_strategy"))
    dimensions = _optional(config, "config.dimensions", int)
    text = _optional(data, "text", str)
    if text is None:
        raise Refused(422, f"text is missing; the body has {', '.join(map(repr, data)) or 'no keys'}")
    return Question({"text": [text]}, (task_type, pooling, dimensions))


def _optional(data: dict[str, Any], path: str, kind: type) -> Any:
    """The value at the last key of `path`, of that type, or None."""
    value = data.get(path.rpartition(".")[2])
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise Refused(422, f"{path} is {_kind(value)}; expected {'text' if kind is str else 'a whole number'}")
    return value


def multi_question(data: dict[str, Any], modalities: Collection[str] = ("text", "image")) -> Question:
    """The question of a multi2vec container: a list of each of `modalities` ({texts, images, audio, ...}), media in base64. Raises Refused."""
    lists = {modality: (key, _strings(data, key)) for modality, (key, _) in PARTS.items() if modality in modalities}
    return Question({m: found if m == "text" else [_decoded(v, key, i) for i, v in enumerate(found)] for m, (key, found) in lists.items()})


def _strings(data: dict[str, Any], key: str) -> list[str]:
    values = data.get(key) or []
    if not isinstance(values, list):
        raise Refused(422, f"{key} is {_kind(values)}; expected a list")
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise Refused(422, f"{key}[{i}] is {_kind(value)}; expected text")
    return values


def _decoded(value: str, key: str, position: int) -> bytes:
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError) as error:
        raise Refused(500, f"{key}[{position}] is no base64: {error}") from error


def _kind(value: Any) -> str:
    """The JSON type of a value, in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
