"""int8 through OpenVINO: a model is quantised once a machine, always by the same texts, and kept beside the fetched models.

So all workers of a machine, and later runs, compute with the same numbers; the vectors do not depend on what a job loads.
What is lost is measured on the job's own rows (`jobs/examine/loss.py`).
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.backends.calibration import calibration_texts
from encoders.backends.openvino import INSTALL, OpenVino, compiled, converted, quiet_import, said, unfit_for_openvino
from encoders.backends.unpadded import OnTokens, own_prompt, tokens_differ
from encoders.content import content_of
from encoders.fetched import FOLDER, local_folder
from schemas.errors import JobError, WorldError
from schemas.file_lock import locked
from schemas.models import ModelSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

RECIPE = b"1"  # changes where a model would be quantised in another way
LONGEST = 256  # tokens of a text that calibrates: more tell nothing new
NAME = "model.xml"
CPU = Path("/proc/cpuinfo")
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def quantised(model: "SentenceTransformer", spec: ModelSpec) -> tuple[OnTokens, str]:
    """`model` in int8, and how it runs. Raises JobError where it cannot be, WorldError where it cannot be kept."""
    if reason := unfit_for_openvino(model) or _unfit(model) or _slow(CPU):
        raise JobError(f"dtype int8: {reason}")
    folder = local_folder() / f"int8-{_identity(spec)}"
    try:
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not (folder / NAME).is_file():
                _quantise(model, folder)
            return OpenVino(model, compiled(folder / NAME)), "OpenVINO, int8"
    except OSError as error:
        raise WorldError(f"the int8 model cannot be kept in {folder.parent}: {error}; {FOLDER} names another folder") from error
    except JobError:
        raise
    except Exception as error:  # whatever a family, or another version of a library, does not take
        raise JobError(f"dtype int8: this model cannot be quantised: {said(error)}") from error


def _unfit(model: "SentenceTransformer") -> str:
    fast = OnTokens(model)
    ids, _ = fast.tokenise([""])
    return tokens_differ(fast) if ids[0] else "an empty text has no token in this model"


def _slow(cpu: Path) -> str:
    """Why int8 is a mistake on this CPU; empty where it is none, or cannot be told. Without such instructions sums overflow, too."""
    try:
        flags = next((line.split() for line in cpu.read_text().splitlines() if line.startswith("flags")), None)
    except OSError:
        return ""
    if flags is None or DOT_PRODUCTS & set(flags):
        return ""
    return f"this CPU has none of {', '.join(sorted(DOT_PRODUCTS))}, so that int8 is slower than float32 here; leave dtype out"


def _identity(spec: ModelSpec) -> str:
    """What decides the quantised model: the files of the model, and how it is quantised."""
    texts = "\0".join(calibration_texts()).encode()
    return hashlib.blake2b(repr(content_of(spec)).encode() + RECIPE + texts, digest_size=8).hexdigest()


def _quantise(model: "SentenceTransformer", folder: Path) -> None:
    """Quantise weights and activations after training, and save the model as `folder`, whole or not at all."""
    with quiet_import():
        try:
            import nncf
        except ImportError as error:
            raise JobError(f"dtype int8: NNCF is missing: {INSTALL} ({error})") from error
        import openvino

        with _quiet(nncf):
            texts = list(_calibration(model))
            made = nncf.quantize(converted(model), nncf.Dataset(texts), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix="new-"))
    try:
        openvino.save_model(made, str(new / NAME), compress_to_fp16=False)
        new.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _calibration(model: "SentenceTransformer") -> Iterator[dict[str, Any]]:
    """The transformer's inputs for one text at a time, without padding."""
    ids, _ = OnTokens(model).tokenise([own_prompt(model) + text for text in calibration_texts()])
    for text in ids:
        row = np.array([text[:LONGEST]], np.int64)
        yield {"input_ids": row, "attention_mask": np.ones_like(row)}


@contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """NNCF without its log and its bars, which go to the screen of whoever started us."""
    import rich

    screen = rich.get_console()
    before, screen.quiet = screen.quiet, True
    nncf.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        screen.quiet = before
