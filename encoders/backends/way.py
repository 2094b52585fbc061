"""Which way a text model computes: what the job says, else the fastest here with equal vectors.

On a GPU, torch with batches in flight. On a CPU without padding, torch is as fast as OpenVINO in float32. A family that
cannot do without padding is about twice as fast through OpenVINO as in the library (docs/decisions/0012-openvino.md), so
it goes there where OpenVINO is installed.
"""

from typing import TYPE_CHECKING

from encoders.backends.device import on_device
from encoders.backends.openvino import through_openvino
from encoders.backends.quantised import quantised
from encoders.backends.unpadded import OnTokens, unfit, unpadded
from schemas.errors import JobError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def way_of(model: "SentenceTransformer", spec: ModelSpec) -> tuple[OnTokens | None, str]:
    """What computes `model`, None for the library itself, and how it does. Raises JobError for a way that cannot be had."""
    if spec.dtype == "int8":
        return quantised(model, spec)
    if spec.backend == "openvino":
        return _asked_for_openvino(model)
    if model.device.type != "cpu":
        return on_device(model)
    fast, how = unpadded(model)
    if fast is not None or spec.backend == "torch" or unfit(model):
        return fast, how
    other, why = through_openvino(model)
    return (other, why) if other else (None, f"{how}; {why}")


def _asked_for_openvino(model: "SentenceTransformer") -> tuple[OnTokens, str]:
    fast, how = through_openvino(model)
    if fast is None:
        raise JobError(f"backend openvino: {how}; without `backend` the fastest way that can be had is taken")
    return fast, how
