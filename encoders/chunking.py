"""Long texts cut by a model's own tokens, at paragraph and sentence borders where they fit."""

from collections.abc import Sequence
from typing import Any

from encoders.base import Encoder
from encoders.models import EXTRA
from schemas.errors import JobError


class Splitter:
    """Cuts texts into chunks of at most `tokens` tokens of `encoder`'s model, special ones not counted."""

    def __init__(self, encoder: Encoder, tokens: int, overlap: int) -> None:
        """Take the model's tokenizer. Raises JobError where the model has none, or takes fewer tokens than a chunk has."""
        try:
            from semantic_text_splitter import TextSplitter
        except ImportError as error:
            raise JobError(f"{EXTRA} ({error})") from error
        self._splitter = TextSplitter.from_huggingface_tokenizer(_tokenizer(encoder, tokens), tokens, overlap, trim=True)

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The chunks of each text, in order; at least one, also of an empty text."""
        return [self._splitter.chunks(text) or [text] for text in texts]


def _tokenizer(encoder: Encoder, tokens: int) -> Any:
    """The model's tokenizer without truncation, which would hide what comes after the limit."""
    from tokenizers import Tokenizer

    fast = getattr(getattr(encoder, "model", None), "tokenizer", None)
    backend = getattr(fast, "backend_tokenizer", None)
    if fast is None or backend is None:
        raise JobError("chunk.model: this model has no fast tokenizer to count tokens with; name a vector with a text model")
    limit, special = getattr(encoder, "max_tokens", None), fast.num_special_tokens_to_add()
    if limit and tokens + special > limit:
        raise JobError(
            f"chunk.tokens: {tokens} and {special} special tokens are more than the {limit} that the model takes; at most {limit - special}"
        )
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
