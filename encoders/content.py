"""What a model is, whatever its path: a digest of its files, or the commit of a hub model."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from encoders.fetched import NAMES, fetched, is_url
from encoders.models import is_folder, is_part
from schemas.errors import JobError
from schemas.models import ModelSpec

CHUNK = 1 << 20


def content_of(model: ModelSpec | None) -> dict[str, str]:
    """For each model that `model` names, what it consists of: `files <digest>`, or `hub <name> <commit>`.

    The same files give the same digest wherever they lie, in a bucket too. A hub model whose commit cannot be told (no hub
    is reached, and none was fetched before) counts by its name and revision. Raises JobError where a folder cannot be read.
    """
    if model is None:
        return {}
    named = {key: getattr(model, key) for key in NAMES if getattr(model, key)}
    return {key: _content(str(name), model.revision or "main") for key, name in named.items()}


def _content(name: str, revision: str) -> str:
    if is_url(name):
        name = str(fetched(name))
    if not is_folder(name):
        return f"hub {name} {_commit(name, revision)}"
    path = Path(name).expanduser()
    try:
        files = tuple(
            (str(f.relative_to(path) if path.is_dir() else f.name), str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in _files(path)
        )
        return f"files {_digest(files)}"
    except OSError as error:
        raise JobError(f"the model {name!r} cannot be read: {error.strerror} ({error.filename})") from error


def _files(path: Path) -> Iterator[Path]:
    """The files that a model consists of, in the order of their names."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and is_part(file.relative_to(path)):
            yield file


@cache
def _digest(files: tuple[tuple[str, str, int, int], ...]) -> str:
    """A digest of names and bytes; read once a process, as long as sizes and times stay."""
    total = hashlib.blake2b(digest_size=16)
    for name, path, size, _ in files:
        total.update(f"{name}\0{size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(CHUNK):
                total.update(block)
    return total.hexdigest()


def _commit(name: str, revision: str) -> str:
    """The commit of a hub model as its cache has it; the revision where there is none."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return revision
    for file in ("config.json", "modules.json"):
        found = try_to_load_from_cache(name if "/" in name else f"sentence-transformers/{name}", file, revision=revision)
        if isinstance(found, str):
            return Path(found).parent.name
    return revision
