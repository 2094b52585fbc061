"""One model a process: threads that ask for the same spec get the same encoder, one at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from encoders import encoder_of
from encoders.base import Encoder
from schemas.job import VectorSpec

_encoders: dict[str, tuple[Encoder, threading.Lock]] = {}
_registry = threading.Lock()


def _identity(spec: VectorSpec) -> str:
    """What decides whether two vectors can share an encoder: everything but the fields they read."""
    return spec.model_dump_json(include={"model", "prompts", "long_text"}) + str(bool(spec.image_fields))


@contextmanager
def shared_encoder(spec: VectorSpec) -> Iterator[Encoder]:
    """The process's encoder for `spec`, for this thread alone while the block lasts."""
    with _registry:
        encoder, lock = _encoders.setdefault(_identity(spec), (encoder_of(spec), threading.Lock()))
    with lock:
        yield encoder
