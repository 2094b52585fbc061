"""The forward pass of a sentence-transformers model on the CPU: tokenised once, without padding, one batch a core.

Taken only where it is the same model: when a model is loaded, some texts are encoded both ways, and unless all token
ids are equal and all vectors differ by less than rounding, everything is put back and the library's own `encode` runs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.backends import attention, linear
from encoders.backends.cores import run_on_cores
from encoders.backends.packing import Packed, pack
from encoders.backends.switch import CLOSE, difference, padding_place, switch
from encoders.base import Vectors
from encoders.batching import TOKENS, Lengths
from encoders.timing import timed

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
LONG = 320  # words of the longest text of the comparison: longer than any family's local attention
SAMPLES = (
    "",
    "a",
    "  Straße, ÉCOLE\nand\tCafé  ",
    "The warp beam holds all threads in parallel.",
    "thread over thread " * 9,
    "the weaver's [PAD] <pad> loom; " * (LONG // 5),
)


class OnTokens:
    """A sentence-transformers model that takes token ids, each text tokenised once; what computes them is a subclass's to say."""

    pads = False  # whether tokens are computed that are none
    most = TOKENS  # tokens a batch

    def __init__(self, model: "SentenceTransformer") -> None:
        """Keep `model`."""
        self.model, self.tokenizer = model, model.tokenizer
        self.special = int(self.tokenizer.num_special_tokens_to_add())
        self.prompts: dict[str, int] = {}  # tokens of each prompt that the mean leaves out

    def tokenise(self, texts: Sequence[str]) -> tuple[list[list[int]], Lengths]:
        """Token ids of `texts`, cut as the model cuts them, and how many (n,) there were before."""
        if not texts:
            return [], np.zeros(0, np.int64)
        with timed("tokenise"):
            found = self.tokenizer(list(texts), truncation="longest_first", return_attention_mask=False, return_token_type_ids=False)
        lengths = [len(e.ids) + sum(len(more.ids) - self.special for more in e.overflowing) for e in found.encodings]
        return found["input_ids"], np.array(lengths, np.int64)

    def forward(self, ids: Sequence[Sequence[int]], prompt: str = "") -> Vectors:
        """Vectors (n, dim) float32 of texts by their token ids, `prompt` included; not cut to the job's `dimensions`."""
        raise NotImplementedError

    def runner(self, workers: int | None) -> Callable[..., int]:
        """What takes lengths, `forward`, rows, progress, budget and `turn`, and runs all batches: `run_on_cores`, with so many cores."""
        return partial(run_on_cores, workers=workers)

    def prompt_length(self, prompt: str) -> dict[str, int]:
        """How many tokens are left out of the mean, in a model that leaves out its prompt."""
        if not prompt or getattr(self.model[1], "include_prompt", True):
            return {}
        if prompt not in self.prompts:
            self.prompts[prompt] = self.model.preprocess(["a"], prompt=prompt)["prompt_length"]
        return {"prompt_length": self.prompts[prompt]}


class Unpadded(OnTokens):
    """A sentence-transformers model that computes real tokens only; use one from `unpadded`, which has compared it."""

    def __init__(self, model: "SentenceTransformer") -> None:
        """Keep `model`, which has an attention without padding by now."""
        super().__init__(model)
        self.padding = padding_place(model[0].model)
        self.swapped: linear.Swapped = []

    def forward(self, ids: Sequence[Sequence[int]], prompt: str = "") -> Vectors:
        """Vectors (n, dim) float32 of texts by their token ids, `prompt` included; not cut to the job's `dimensions`."""
        import torch

        packed = pack(ids, self.padding)
        features = self._features(packed) | self.prompt_length(prompt)
        with torch.inference_mode(), attention.running(packed.runs):
            return np.asarray(self.model(features)["sentence_embedding"].numpy(), np.float32)

    def _features(self, packed: Packed) -> dict[str, Any]:
        """What sentence-transformers gives its modules for texts end to end."""
        import torch

        ids, places, starts = (torch.from_numpy(x) for x in (packed.ids, packed.places, packed.starts))
        return {"input_ids": ids[None], "position_ids": places[None], "cu_seq_lens_q": starts, "modality": "text"}


def unpadded(model: "SentenceTransformer") -> tuple[Unpadded | None, str]:
    """`model` without padding, and how it runs; None, and the reason, where it must run as it is."""
    if reason := unfit(model):
        return None, f"padded by the library: {reason}"
    wanted = encoded(model)
    swapped, how = switch(model[0].model, lambda: differs(Unpadded(model), wanted))
    if swapped is None:
        return None, f"padded by the library: {how}"
    fast = Unpadded(model)
    fast.swapped = swapped
    return fast, how


def unfit(model: "SentenceTransformer") -> str:
    """Why `model` is not of the plain shape; empty where it is."""
    kinds = [type(module).__name__ for module in model]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds) - set(MODULES):
        return f"its modules are {', '.join(kinds)}"
    if not getattr(model.tokenizer, "is_fast", False) or list(model[0].modality_config) != ["text"] or model[0].backend != "torch":
        return "it has no fast tokenizer, takes more than texts, or is no torch model"
    return ""


def encoded(model: "SentenceTransformer") -> Vectors:
    """What the library makes of SAMPLES, (n, dim) float32."""
    return np.asarray(model.encode(list(SAMPLES), batch_size=len(SAMPLES), show_progress_bar=False), np.float32)


def differs(fast: OnTokens, wanted: Vectors, close: float = CLOSE) -> str:
    """What differs between `fast` and the library's own `encode`; empty where nothing does."""
    return tokens_differ(fast) or difference(vectors_of_samples(fast)[:, : wanted.shape[1]], wanted, close)  # `truncate_dim` gives fewer


def tokens_differ(fast: OnTokens) -> str:
    """What to say where `fast` makes other tokens of SAMPLES than the library; empty where it does not."""
    for task, prompt in (("document", ""), ("query", "query: ")):
        ids, _ = fast.tokenise([prompt + text for text in SAMPLES])
        for text, mine in zip(SAMPLES, ids, strict=True):
            if fast.model.preprocess([text], prompt=prompt or None, task=task)["input_ids"][0].tolist() != mine:
                return f"its tokens differ for {text[:20]!r}"
    return ""


def vectors_of_samples(fast: OnTokens) -> Vectors:
    """What `fast` makes of SAMPLES, (n, dim) float32, computed in the order of their lengths."""
    ids, _ = fast.tokenise([own_prompt(fast.model) + text for text in SAMPLES])
    return fast.forward(sorted(ids, key=len), own_prompt(fast.model))[np.argsort(np.argsort([len(i) for i in ids], kind="stable"))]


def own_prompt(model: "SentenceTransformer") -> str:
    """The prompt that `model` puts before a text of no particular role."""
    return str(model.prompts.get(model.default_prompt_name or "", "") or "")
