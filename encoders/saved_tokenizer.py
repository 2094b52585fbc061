"""Tokenizers as they were saved: transformers 5 rebuilds some of them by class, where the containers' version reads the file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from encoders.batching import Lengths
from encoders.models import EXTRA, check_model
from encoders.timing import timed
from schemas.errors import JobError
from schemas.models import ModelSpec

UNLIMITED = 10**9  # what a tokenizer says that has no limit is larger


def load_tokenizer(name: str, spec: ModelSpec) -> Any:
    """The tokenizer of the folder or hub name, as saved. Raises JobError where it cannot be had."""
    check_model(name)
    try:
        from transformers import AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=spec.revision, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise JobError(f"the tokenizer of {name!r} cannot be loaded: {(str(error) or repr(error)).splitlines()[0]}") from error
    return as_saved(tokenizer, name, spec.revision)


def as_saved(tokenizer: Any, name: str, revision: str | None) -> Any:
    """`tokenizer` with the rules of its file `tokenizer.json`, if there is one.

    Normaliser, pre-tokenizer and post-processor of a T5, for one, would come from its class: runs of spaces, which the
    saved rules keep, would be lost. A BERT's normaliser is left, because both versions set it from the configuration.
    """
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    backend = getattr(tokenizer, "backend_tokenizer", None)
    path = cached_file(name, "tokenizer.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    if backend is None or path is None:
        return tokenizer
    saved = Tokenizer.from_file(path)
    if type(saved.normalizer).__name__ != "BertNormalizer":
        backend.normalizer = saved.normalizer
    backend.pre_tokenizer, backend.post_processor = saved.pre_tokenizer, saved.post_processor
    return tokenizer


def token_limit(tokenizer: Any) -> int | None:
    """The tokens that a tokenizer cuts at; None where it has no limit."""
    limit = tokenizer.model_max_length
    return int(limit) if limit and limit < UNLIMITED else None


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> Lengths:
    """The tokens (n,) of each text, special ones included, not truncated."""
    if not texts:
        return np.zeros(0, np.int64)
    with timed("tokenise"):
        found = tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False, verbose=False)["input_ids"]
    return np.array([len(ids) for ids in found], np.int64)
