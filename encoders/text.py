"""Text models: sentence-transformers, with the model's own pooling, normalisation, prompts and dimensions."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from encoders.backends.unpadded import OnTokens
from encoders.backends.way import way_of
from encoders.base import Encoding, Groups, LoadedLate, Progress, Role, Vectors
from encoders.batching import TOKENS, Budget, Lengths, Positions, run_padded
from encoders.models import budget_of, load_sentence_transformer
from encoders.timing import timed, timed_calls
from schemas.errors import JobError, RowError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class TextEncoder(LoadedLate):
    """One sentence-transformers model for texts."""

    made_of = ("spec", "prompts", "long_text")
    modalities = frozenset({"text"})
    callers = 2  # while the last batches of a window are computed, the next one is tokenised and begins

    def __init__(self, spec: ModelSpec, prompts: dict[str, str], long_text: str = "truncate") -> None:
        """Keep what is needed to load the model; nothing is loaded yet."""
        self.spec, self.prompts, self.long_text = spec, prompts, long_text
        self._model: SentenceTransformer | None = None
        self._loading = threading.Lock()
        self._tokenising = threading.RLock()  # tokenisers keep what a call asks for
        self._computing = threading.Lock()
        self._way: OnTokens | None = None  # None: the library's own
        self._backend, self.budget = "", Budget()  # until the model is there
        self.workers: int | None = None  # batches side by side on a CPU; None: as many as torch has threads

    @property
    def model(self) -> "SentenceTransformer":
        """The model, loaded once. Raises JobError where `spec` names none."""
        with self._loading:
            if self._model is None:
                model = load_sentence_transformer(str(self.spec.name), self.spec)
                self._way, self._backend = way_of(model, self.spec)
                self.budget = budget_of(self.spec, self._way.most if self._way else TOKENS)
                model.preprocess = timed_calls("tokenise", model.preprocess)
                self._model = model
            return self._model

    @property
    def backend(self) -> str:
        """How the forward pass runs, or why not in the fastest way; loads the model."""
        _ = self.model
        return self._backend

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int | None:
        """The tokens that the model sees of a text, special ones included; None where there is no limit."""
        limit = self.model.max_seq_length
        return int(limit) if limit and limit < 10**9 else None

    def prompt(self, role: Role) -> str:
        """What is put before a text: the job's prompt, else the model's own."""
        if role in self.prompts:
            return self.prompts[role]
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        own = next((self.model.prompts[n] for n in names if n in self.model.prompts), None)
        return str(own if own is not None else self.model.prompts.get(self.model.default_prompt_name or "", ""))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included, not truncated."""
        tokenizer = self.model.tokenizer
        if not texts or not getattr(tokenizer, "is_fast", False):
            return [1 + len(t) // 4 for t in texts]  # no tokenizer to ask: the order is what matters
        with self._tokenising, timed("tokenise"):
            ids = tokenizer(list(texts), truncation=False, return_attention_mask=False, return_token_type_ids=False, verbose=False)[
                "input_ids"
            ]
        return [len(i) for i in ids]

    def encode(
        self,
        values: Sequence[str],
        modality: str = "text",
        role: Role = "document",
        progress: Progress | None = None,
        groups: Groups | None = None,
    ) -> Encoding:
        """Vectors (n, dim) float32 for texts; what happens to a text over the model's limit is `long_text`'s to say."""
        texts = self._tokenised(values, role)
        over = [] if self.max_tokens is None else [int(i) for i in np.flatnonzero(texts.lengths > self.max_tokens)]
        if over and self.long_text == "mean":
            return self._encode_windows(values, over, role, progress)
        result = self._encode_cut(texts, progress)
        if self.long_text == "fail":
            result.errors = {
                i: RowError("text_too_long", f"{texts.lengths[i]} tokens, but the model takes {self.max_tokens}") for i in over
            }
            result.vectors[over] = np.nan
        else:
            result.truncated = over
        return result

    def _tokenised(self, values: Sequence[str], role: Role) -> "_Texts":
        """The texts with their lengths, tokenised once where the forward pass takes tokens."""
        prompt = self.prompt(role)
        prompted = [prompt + v for v in values] if prompt else values
        _ = self.model
        if self._way:
            with self._tokenising:
                ids, lengths = self._way.tokenise(prompted)
                self._way.prompt_length(prompt)  # while the tokenizer is ours
            if not len(lengths) or lengths.min():  # a text without any token is left to the library
                return _Texts(values, role, prompt, lengths, ids)
        return _Texts(values, role, prompt, np.array(self.count_tokens(prompted), np.int64))

    def _encode_cut(self, texts: "_Texts", progress: Progress | None) -> Encoding:
        """Encode each value once, cut where it is too long."""
        seen = texts.lengths if self.max_tokens is None else np.minimum(texts.lengths, self.max_tokens)
        vectors: Vectors = np.empty((len(seen), self.dim), np.float32)
        if texts.ids is not None:
            assert self._way is not None
            run, forward = self._way.runner(self.workers), partial(self._encode_tokens, texts)
            padded = run(seen, forward, vectors, progress, self.budget, turn=self._computing)
            return Encoding(vectors, tokens=int(seen.sum()), padded=padded if self._way.pads else int(seen.sum()))
        with self._computing, self._tokenising:
            padded = run_padded(seen, partial(self._encode_padded, texts), vectors, progress, self.budget)
        return Encoding(vectors, tokens=int(seen.sum()), padded=padded)

    def _encode_padded(self, texts: "_Texts", positions: Positions) -> Vectors:
        """One batch as sentence-transformers encodes it."""
        encode = self.model.encode_query if texts.role == "query" else self.model.encode_document
        batch = [texts.values[i] for i in positions]
        return np.asarray(encode(batch, prompt=texts.prompt, batch_size=len(batch), show_progress_bar=False), np.float32)

    def _encode_tokens(self, texts: "_Texts", positions: Positions) -> Vectors:
        """One batch by its token ids."""
        assert self._way is not None and texts.ids is not None
        return self._way.forward([texts.ids[i] for i in positions], texts.prompt)[:, : self.dim]

    def _encode_windows(self, values: Sequence[str], over: list[int], role: Role, progress: Progress | None) -> Encoding:
        """Encode long texts window by window; their vector is the windows' mean, as long as one window's vector is."""
        with self._tokenising:
            pieces = {i: self.windows(values[i], role) for i in over}
        texts = [w for i, v in enumerate(values) for w in pieces.get(i, [v])]
        owner = np.repeat(np.arange(len(values)), [len(pieces.get(i, [""])) for i in range(len(values))])
        result = self._encode_cut(self._tokenised(texts, role), progress)
        result.vectors = mean_of_windows(result.vectors, owner, len(values))
        return result

    def windows(self, text: str, role: Role = "document") -> list[str]:
        """`text` cut into pieces that, each with the prompt, fit the model."""
        tokenizer = self.model.tokenizer
        room = (self.max_tokens or 0) - len(tokenizer(self.prompt(role))["input_ids"])
        offsets = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if room < 1:
            raise JobError(f"prompts: this prompt leaves no room for text within the model's {self.max_tokens} tokens")
        return [text[offsets[a][0] : offsets[min(a + room, len(offsets)) - 1][1]] for a in range(0, len(offsets), room)]


class _Texts(NamedTuple):
    """Texts, how long they are (n,) in tokens with their prompt, and their token ids as the model sees them, where there are any."""

    values: Sequence[str]
    role: Role
    prompt: str
    lengths: Lengths
    ids: list[list[int]] | None = None


def mean_of_windows(vectors: Vectors, owner: "np.ndarray[Any, np.dtype[np.int64]]", n: int) -> Vectors:
    """The mean of each owner's vectors (n, dim) float32, scaled to the mean of their lengths, so that unit vectors stay unit."""
    counts = np.bincount(owner, minlength=n)[:, None].astype(np.float32)
    total = np.zeros((n, vectors.shape[1]), np.float32)
    np.add.at(total, owner, vectors)
    lengths = np.bincount(owner, np.linalg.norm(vectors, axis=1), n)[:, None] / counts
    mean = total / counts
    norms = np.linalg.norm(mean, axis=1, keepdims=True)
    single = counts == 1
    return np.where(single | (norms == 0), mean, mean * (lengths / np.maximum(norms, 1e-30))).astype(np.float32)
