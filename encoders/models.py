"""Loading: a model by folder or hub name, with faults that say what was expected."""

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from encoders.batching import DEVICE, TOKENS, Budget
from schemas.errors import JobError
from schemas.models import ModelSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

IGNORED = {".git", ".cache", "__pycache__"}  # folders that come and go beside a model
DOCUMENTS = (".md", ".txt.bak", ".png", ".gitattributes")
EXTRA = 'the model libraries are missing: pip install "warpbeam[models]"'


def is_folder(name: str) -> bool:
    """Whether `name` is meant as a folder: it exists, or it is written as a path and not as a hub name."""
    return name.startswith(("/", ".", "~")) or Path(name).exists()


def is_part(relative: PurePath) -> bool:
    """Whether a file of a model's folder belongs to the model: not what comes and goes beside it, and no document."""
    return not IGNORED & set(relative.parts) and not relative.name.lower().endswith(DOCUMENTS)


def check_model(name: str, wanted: tuple[str, ...] = ("modules.json", "config.json")) -> None:
    """Raise JobError where `name` is a folder that holds none of the files a model has."""
    folder = Path(name).expanduser()
    if not is_folder(name):
        return
    if not folder.is_dir():
        raise JobError(
            f"the model {name!r} is no folder; give a folder with a saved model, or a hub name such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if not any((folder / file).exists() for file in wanted):
        raise JobError(f"the folder {name!r} is no model: it has none of {', '.join(wanted)}")


def model_options(spec: ModelSpec) -> dict[str, Any]:
    """The options that sentence-transformers gets for `spec`. A checkpoint is loaded in the asked dtype, not its own; int8 is made of float32."""
    if spec.dtype not in ("float32", "int8") and not _has_gpu(spec):
        raise JobError(f"model.dtype {spec.dtype} on a CPU is some hundred times slower than float32: leave it out, or use a GPU")
    return {
        "device": spec.device,
        "revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
        "truncate_dim": spec.dimensions,
        "model_kwargs": {"dtype": "float32" if spec.dtype == "int8" else spec.dtype},
    }


def budget_of(spec: ModelSpec, tokens: int = TOKENS) -> Budget:
    """The budget of a batch: the job's, else `tokens`, and on a GPU what is found by measuring."""
    return Budget(tokens, most=DEVICE if _has_gpu(spec) else 0, given=spec.batch_tokens)


def _has_gpu(spec: ModelSpec) -> bool:
    import torch

    return spec.device != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())


def load_sentence_transformer(name: str, spec: ModelSpec) -> "SentenceTransformer":
    """The sentence-transformers model `name`, ready to encode. Raises JobError where it cannot be had."""
    check_model(name)
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise JobError(f"{EXTRA} ({error})") from error
    logging.disable_progress_bar()  # one bar is enough, and it is ours
    try:
        return SentenceTransformer(str(Path(name).expanduser()) if is_folder(name) else name, **model_options(spec)).eval()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise JobError(f"the model {name!r} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
