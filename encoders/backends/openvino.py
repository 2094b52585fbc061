"""The transformer of a sentence-transformers model through OpenVINO, on CPUs; pooling and what follows are the library's modules.

OpenVINO converts the torch module itself. Batches are padded to their longest text, which is little in batches of like
length. Each core has an inference stream of its own, so that batches that are computed side by side do not wait for one
another.
"""

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.backends.cores import cores
from encoders.backends.packing import padded_rows
from encoders.backends.unpadded import OnTokens, differs, encoded, unfit
from encoders.base import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

INSTALL = 'pip install "warpbeam[openvino]"'


class OpenVino(OnTokens):
    """A sentence-transformers model whose transformer OpenVINO computes; use one from `through_openvino`, which has compared it."""

    pads = True
    most = 1024  # larger batches are not faster, and have more padding

    def __init__(self, model: "SentenceTransformer", compiled: Any) -> None:
        """Keep `model`, and its transformer as OpenVINO has compiled it."""
        super().__init__(model)
        self.compiled, self._here = compiled, threading.local()
        self.forward([[self.tokenizer.pad_token_id or 0]])  # the first use of OpenVINO by two threads at once blocks both for ever

    def forward(self, ids: Sequence[Sequence[int]], prompt: str = "") -> Vectors:
        """Vectors (n, dim) float32 of texts by their token ids, `prompt` included; not cut to the job's `dimensions`."""
        import torch

        rows, mask = padded_rows(ids, self.tokenizer.pad_token_id or 0)
        features: dict[str, Any] = {"input_ids": rows, "attention_mask": mask, "token_embeddings": self._infer(rows, mask)}
        features = {k: torch.from_numpy(v) for k, v in features.items()} | {"modality": "text"} | self.prompt_length(prompt)
        with torch.inference_mode():
            for module in islice(self.model, 1, None):
                features = module(features)
            return np.array(
                features["sentence_embedding"].numpy(), np.float32
            )  # a copy: the next batch overwrites what pooling may point at

    def _infer(self, rows: Any, mask: Any) -> Vectors:
        """The tokens' vectors (n, length, dim) float32; they last until this thread's next batch."""
        request = getattr(self._here, "request", None)
        if request is None:
            request = self._here.request = self.compiled.create_infer_request()
        request.infer([rows, mask], share_inputs=True)
        found: Vectors = request.get_output_tensor(0).data
        return found


def through_openvino(model: "SentenceTransformer") -> tuple[OpenVino | None, str]:
    """`model` in float32 through OpenVINO, and how it runs; None, and the reason, where it cannot be."""
    if reason := unfit_for_openvino(model):
        return None, reason
    try:
        fast = OpenVino(model, compiled(converted(model)))
        reason = differs(fast, encoded(model))
    except Exception as error:  # whatever a family, or another version of a library, does not take
        reason = said(error)
    return (None, f"not through OpenVINO: {reason}") if reason else (fast, "OpenVINO, float32")


def said(error: Exception) -> str:
    """The class and the first line of an error of OpenVINO's or NNCF's."""
    return f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]


def unfit_for_openvino(model: "SentenceTransformer") -> str:
    """Why `model` is not even tried; empty where it is."""
    if reason := unfit(model):
        return f"not through OpenVINO: {reason}"
    if model.device.type != "cpu" or str(model[0].model.dtype) != "torch.float32":
        return f"OpenVINO takes float32 on a CPU, and this is {model[0].model.dtype} on {model.device}: set device: cpu"
    try:
        with quiet_import():
            import openvino  # noqa: F401
    except ImportError as error:
        return f"OpenVINO is missing: {INSTALL} ({error})"
    return ""


@contextmanager
def quiet_import() -> Iterator[None]:
    """Within it OpenVINO and NNCF tell nobody that they are used: they do without their telemetry package where it is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # stays: parts of both are imported later
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def converted(model: "SentenceTransformer") -> Any:
    """The transformer of `model` as OpenVINO's own: `input_ids` and `attention_mask` (n, length) in, tokens' vectors out."""
    import torch
    from transformers.utils import logging

    transformer = model[0]

    class Transformer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            features = {"input_ids": input_ids, "attention_mask": attention_mask, "modality": "text"}
            found: torch.Tensor = self.transformer(features)["token_embeddings"]
            return found

    example = {name: torch.ones(2, 9, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    before = logging.get_verbosity()
    with quiet_import(), torch.inference_mode():
        import openvino

        logging.set_verbosity_error()
        try:
            return openvino.convert_model(Transformer().eval(), example_input=example)
        finally:
            logging.set_verbosity(before)


def compiled(model: Any) -> Any:
    """`model`, or the saved one at this path, for the CPU: one stream a core, and arithmetic in float32 where nothing else is said.

    Without that hint a CPU that knows bfloat16 would compute with it.
    """
    with quiet_import():
        import openvino
    options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": cores(), "INFERENCE_NUM_THREADS": cores(), "ENABLE_CPU_PINNING": False}
    return openvino.Core().compile_model(str(model) if isinstance(model, Path) else model, "CPU", options)
