"""One model a process: threads that ask for the same spec get the same encoder, as many at a time as it takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from encoders import encoder_of, family
from encoders.base import Encoder
from encoders.threads import limit_torch
from schemas.job import VectorSpec

WITHOUT_LIBRARIES = ("fake", "remote", "nvidia")
_encoders: dict[str, tuple[Encoder, threading.Semaphore]] = {}
_registry = threading.Lock()


def _identity(spec: VectorSpec) -> str:
    """What decides whether two vectors can share an encoder: everything but the fields they read."""
    module = (spec.module.name, sorted(spec.module.settings.items(), key=str)) if spec.module else bool(spec.image_fields)
    return spec.model_dump_json(include={"model", "prompts", "long_text"}) + str(module)


def _import_libraries(spec: VectorSpec) -> None:
    """Import the model libraries here, in one thread: transformers imports its parts late, and two threads at once find them half made."""
    if family(spec) not in WITHOUT_LIBRARIES:
        with suppress(ImportError):  # the encoder says what is missing
            import_module("sentence_transformers")
            import_module("transformers.models.auto")


@contextmanager
def shared_encoder(spec: VectorSpec) -> Iterator[Encoder]:
    """The process's encoder for `spec`; while the block lasts, at most `callers` threads have it."""
    identity = _identity(spec)
    with _registry:
        if identity not in _encoders:
            _import_libraries(spec)
            limit_torch()
            encoder = encoder_of(spec)
            _encoders[identity] = encoder, threading.Semaphore(encoder.callers)
        encoder, turns = _encoders[identity]
    with turns:
        yield encoder
