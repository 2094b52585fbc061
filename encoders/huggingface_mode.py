"""The container's huggingface mode: sentences through the bare transformer, pooled, and their mean as the text's vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from encoders.backends.bare import bare
from encoders.backends.cores import run_on_cores
from encoders.base import Encoding, Progress, Vectors
from encoders.batching import Lengths, Positions, run_padded
from encoders.distinct import distinct_values, share_progress
from encoders.models import budget_of, model_options
from encoders.punkt import sentence_tokenizer, sentences
from encoders.saved_tokenizer import count_tokens, load_tokenizer
from encoders.timing import timed
from schemas.errors import JobError, RowError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    import torch

TOKENS = 500  # of one sentence, whatever the model's own limit
GROUP = 25  # sentences that the container runs at a time
POOLINGS = ("masked_mean", "cls")
NO_SENTENCE = "'int' object has no attribute 'detach'"  # the container's words for a text without a sentence


@dataclass(frozen=True)
class Request:
    """What a request to the container says besides its text; None where a key is absent."""

    task_type: str | None = None
    pooling: str | None = None
    dimensions: int | None = None


class Mode(Protocol):
    """One model, loaded, in one mode of the container."""

    tokenizer: Any
    backend: str  # how its forward pass runs

    @property
    def max_tokens(self) -> int | None:
        """The tokens of a text that count; None where there is no limit, or one for each sentence."""
        ...

    def dim(self, dimensions: int | None) -> int:
        """The length of a vector where a request asks for `dimensions`."""
        ...

    def vectorize(self, texts: Sequence[str], request: Request, progress: Progress | None) -> Encoding:
        """What the container answers for each text."""
        ...


class HuggingFace:
    """One transformer without head; a DPR model gives its pooler's output instead of pooled tokens."""

    def __init__(self, name: str, spec: ModelSpec, direct: bool = False) -> None:
        """Load model and tokenizer. Raises JobError where they cannot be had."""
        self.direct, self.limit = direct, TOKENS
        if not direct:
            sentence_tokenizer()  # a package that is missing is said now, not by a worker at its first text
        self.tokenizer, self.model = load_transformer(name, spec)
        self.is_dpr = self.model.config.model_type == "dpr"
        self.budget = budget_of(spec)
        self.bare, self.backend = (None, "a DPR model") if self.is_dpr else bare(self.model, self._padded)

    @property
    def max_tokens(self) -> int | None:
        """The tokens of a text that count; None where each sentence has its own limit."""
        return self.limit if self.direct else None

    def dim(self, dimensions: int | None) -> int:
        """The model's own; the mode knows no `dimensions`."""
        config = self.model.config
        return int(getattr(config, "projection_dim", 0) or config.hidden_size) if self.is_dpr else int(config.hidden_size)

    def vectorize(self, texts: Sequence[str], request: Request, progress: Progress | None) -> Encoding:
        """Vectors (n, dim) float32, not normalised; each distinct sentence is computed once."""
        pieces = [[text] if self.direct else sentences(text) for text in texts]
        errors = {i: error for i, p in enumerate(pieces) if (error := self._refusal(p, request.pooling))}
        # of a DPR model, the container takes the pooler of each group's first sentence alone
        used = [[] if i in errors else p[:: GROUP if self.is_dpr else 1] for i, p in enumerate(pieces)]
        distinct, index = distinct_values(chain.from_iterable(used))
        step = share_progress(progress, len(distinct), len(texts))
        rows, lengths, padded = self._encode(distinct, request.pooling or POOLINGS[0], step)
        owner = np.repeat(np.arange(len(texts)), [len(u) for u in used])
        vectors = _sums(rows[index], owner, len(texts)) / np.array([max(1, len(p)) for p in pieces], np.float32)[:, None]
        vectors[list(errors)] = np.nan
        over = self._over(distinct, lengths)
        truncated = sorted({int(owner[i]) for i in np.flatnonzero(np.isin(index, over))})
        return Encoding(vectors, errors, truncated, int(lengths.sum()), padded)

    def _refusal(self, pieces: list[str], pooling: str | None) -> RowError | None:
        """What the container answers where it has no vector."""
        if not pieces:
            return RowError("no_sentence", NO_SENTENCE)
        if pooling and pooling not in POOLINGS and not self.is_dpr:
            return RowError("unknown_pooling", f"invalid pooling method '{pooling}'")
        return None

    def _encode(self, texts: list[str], pooling: str, progress: Progress | None) -> tuple[Vectors, Lengths, int]:
        """Pooled vectors (n, dim) float32, the tokens (n,) of each text, and how many tokens were computed in all."""
        with timed("tokenise"):
            encoded = dict(self.tokenizer(texts, truncation=True, max_length=self.limit)) if texts else {"input_ids": []}
        lengths = np.array([len(ids) for ids in encoded["input_ids"]], np.int64)
        rows: Vectors = np.empty((len(texts), self.dim(None)), np.float32)
        if self.bare and (not len(lengths) or lengths.min()):  # a text without any token is left to the padded way
            fast, ids = self.bare, encoded["input_ids"]
            run_on_cores(lengths, lambda b: fast.pooled([ids[i] for i in b], pooling), rows, progress, self.budget)
            return rows, lengths, int(lengths.sum())

        def forward(positions: Positions) -> Vectors:
            return self._run({k: [v[i] for i in positions] for k, v in encoded.items()}, pooling)

        return rows, lengths, run_padded(lengths, forward, rows, progress, self.budget)

    def _padded(self, ids: list[list[int]], pooling: str) -> Vectors:
        """Pooled vectors (n, dim) float32 of texts by their token ids."""
        return self._run({"input_ids": ids}, pooling)

    def _run(self, encoded: dict[str, Any], pooling: str) -> Vectors:
        """Pooled vectors (n, dim) float32 of one batch of tokenised texts."""
        import torch

        batch = self.tokenizer.pad(encoded, return_tensors="pt", verbose=False)
        with torch.inference_mode():
            pooled = self._pool(batch.to(self.model.device), pooling)
        return np.asarray(pooled.float().cpu().numpy())

    def _pool(self, batch: Any, pooling: str) -> "torch.Tensor":
        """One vector a row of `batch`, (b, dim)."""
        output = self.model(**batch)
        if self.is_dpr:
            return output.pooler_output
        if pooling == "cls":
            return output[0][:, 0]
        mask = batch["attention_mask"].unsqueeze(-1).to(output[0].dtype)
        return (output[0] * mask).sum(1) / mask.sum(1).clamp(min=1e-9)

    def _over(self, texts: list[str], lengths: Lengths) -> list[int]:
        """The texts that were cut; only those at the limit need to be looked at."""
        full = [int(i) for i in np.flatnonzero(lengths >= self.limit)]
        return [i for i, n in zip(full, count_tokens(self.tokenizer, [texts[i] for i in full]), strict=True) if n > self.limit]


def _sums(rows: Vectors, owner: Positions, n: int) -> Vectors:
    """The sum (n, dim) of each owner's rows, which stand together; 0 where an owner has none."""
    sums = np.zeros((n, rows.shape[1]), np.float32)
    if len(owner):
        starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        sums[owner[starts]] = np.add.reduceat(rows, starts, axis=0)
    return sums


def load_transformer(name: str, spec: ModelSpec) -> tuple[Any, Any]:
    """Tokenizer and headless model, on their device, in the asked dtype. Raises JobError where they cannot be had."""
    tokenizer = load_tokenizer(name, spec)
    import torch
    import transformers

    dtype = model_options(spec)["model_kwargs"]["dtype"]
    options = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
        if config.model_type == "t5":
            raise JobError(f"the model {name!r} is a T5, which the container never runs so: set mode: sentence-transformers")
        model = getattr(transformers, _class_name(config)).from_pretrained(name, config=config, dtype=dtype, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise JobError(f"the model {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    return tokenizer, model.to(spec.device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()


def _class_name(config: Any) -> str:
    """Which class the container loads: of DPR, the half that the configuration names first."""
    if config.model_type != "dpr":
        return "AutoModel"
    first = (config.architectures or [""])[0]
    return "DPRQuestionEncoder" if first == "DPRQuestionEncoder" else "DPRContextEncoder"
