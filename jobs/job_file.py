"""The job file: YAML, environment variables and `--set` become a `Job`; every fault is named with its key."""

import copy
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from schemas.errors import JobError
from schemas.job import Job, VectorSpec
from schemas.models import ModelSpec
from schemas.objects import shorten

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRETS = (
    ("target", "weaviate", "api_key"),
    ("target", "weaviate", "headers"),
    ("source", "storage_options"),
    ("failures", "storage_options"),
    ("vectors", "*", "model", "nvidia", "api_key"),
    ("vectors", "*", "model", "inference_url", "token"),
)
SERVER = ("target", "weaviate")  # a value at, above or below it may hold a secret, and is never shown
FORMS: dict[Any, Any] = {
    "list[str]": dict,
    "dict[str,float]": list,
    "str": dict,
    "TenantSpec": str,
}  # a form that pydantic tries -> what it is not
Where = tuple[str | int, ...]


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """The job in the YAML file `path`, with `overrides` such as `target.tenant=acme`. Raises JobError with all faults."""
    job, faults = read_job(path, overrides)
    if faults or job is None:
        raise JobError(*faults)
    return job


def read_job(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Job | None, list[str]]:
    """The job and what is wrong with it; the job without its faulty keys, so that the rest can be checked, or None."""
    data = parse_yaml(Path(path))
    faults = [fault for override in overrides for fault in _override(data, override)]
    faults += _internal(data)
    try:
        data, missing = _filled(data)
    except RecursionError:
        raise JobError(f"the job file {path} is nested too deeply, or an alias contains itself") from None
    job, more = _validated({"name": Path(path).stem} | data | {"base": Path(path).parent.absolute()})
    return (job and resolved(job)), faults + missing + more


def _internal(data: dict[str, Any]) -> Iterator[str]:
    """Take out the keys that only Warpbeam itself sets."""
    vectors = data.get("vectors")
    named = vectors.items() if isinstance(vectors, dict) else ()
    for where, place, key in [
        ("", data, "base"),
        ("target.", data.get("target"), "base"),
        *((f"vectors.{n}.", v, "module") for n, v in named),
    ]:
        if isinstance(place, dict) and key in place:
            del place[key]
            yield f"{where}{key}: there is no such key here"


def parse_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises JobError."""
    try:
        data = _yaml(path.read_text(encoding="utf-8"), f"the job file {path}")
    except OSError as error:
        raise JobError(f"the job file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise JobError(f"the job file {path} is no YAML: it is not UTF-8 ({error.reason} at byte {error.start})") from error
    if not isinstance(data, dict):
        raise JobError(f"the job file {path} must have the keys source, target and vectors; it is no mapping but {type(data).__name__}")
    return {str(key): value for key, value in data.items()}


def _yaml(text: str, name: str) -> Any:
    """What `text` says. Raises JobError, which shows the place and not the text: there may be a secret in it."""
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise JobError(
            f"{name} is no YAML: {error.problem}" + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")
        ) from None
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        raise JobError(
            f"{name} is no YAML: it has a value that is no number or date, a forbidden character, or is nested too deeply ({type(error).__name__})"
        ) from None


def _override(data: dict[str, Any], override: str) -> Iterator[str]:
    """Put `a.b=value` into `data`; the value is read as YAML."""
    key, sign, value = override.partition("=")
    shown = re.match(r"[\w.-]*", key)
    if not sign or not all(key.split(".")):
        yield f"--set {shown and shown.group()}: write key=value, as in --set target.tenant=acme"
        return
    try:
        content = _yaml(value, f"--set {key}: the value")
    except JobError as error:
        yield str(error)
        return
    *parents, last = key.split(".")
    place = data
    for name in parents:
        if not isinstance(place.get(name), dict):
            place[name] = {} if place.get(name) is None else {"url": place[name]}
        place = place[name]
    place[last] = content


def _filled(data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`data` with every ${NAME} that is no secret replaced from the environment, and the names that are missing there."""
    missing: list[str] = []

    def fill(value: Any, where: Where) -> Any:
        if isinstance(value, dict):
            return {k: fill(v, (*where, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [fill(v, (*where, i)) for i, v in enumerate(value)]
        if isinstance(value, str) and not _is_secret(where):
            return VARIABLE.sub(lambda m: _variable(m.group(1), where, missing), value)
        return value

    return fill(data, ()), missing


def _is_secret(where: Where) -> bool:
    """Whether the value at `where` stays a reference until it is used, and is never shown."""
    return any(len(where) >= len(secret) and _meets(where, secret) for secret in SECRETS)


def _meets(where: Where, place: Sequence[str]) -> bool:
    """Whether one of the two lies within the other; `*` is any key."""
    return all(p in ("*", w) for w, p in zip(where, place, strict=False))


def _variable(name: str, where: Where, missing: list[str]) -> str:
    if name not in os.environ:
        missing.append(f"{_path(where)}: the environment variable {name} is not set")
    return os.environ.get(name, "")


def _validated(data: dict[str, Any]) -> tuple[Job | None, list[str]]:
    """The job in `data`, and its faults; faulty keys are taken out until the rest is a job, or nothing is left of it."""
    faults: list[str] = []
    cut: list[Where] = []
    data = copy.deepcopy(data)
    for _ in range(8):
        try:
            return Job.model_validate(data), faults
        except ValidationError as error:
            found = error.errors(include_url=False)
            faults += [
                s
                for s in dict.fromkeys(_sentence(e) for e in found if not _follows(e["loc"], cut) and not _other_form(e))
                if s not in faults
            ]
            cut += [e["loc"] for e in found]
            if not all([_prune(data, where) for where in cut[-len(found) :]]):
                return None, faults
    return None, faults


def _prune(data: Any, where: Where) -> bool:
    """Take what `where` names out of `data`; False where nothing can be taken out."""
    found: list[tuple[Any, str | int]] = []
    place = data
    for name in where:
        if not (isinstance(place, dict) and name in place):
            break
        found.append((place, name))
        place = place[name]
    if not found or (len(found) == 1 and found[0][1] in ("source", "target", "vectors")):
        return False
    parent, name = found[-1]
    parent.pop(name, None)
    return True


def _follows(where: Where, cut: Sequence[Where]) -> bool:
    """Whether a fault at `where` is only there because something below it was taken out."""
    if not where:  # the one check across the job: chunk.model is a vector
        return any(c[:1] in (("vectors",), ("chunk",)) for c in cut)
    return any(c[: len(where)] == where for c in cut)


def _other_form(error: Any) -> bool:
    """Whether pydantic tried the form of a key that the job does not use: a list for a map, or a text for a mapping."""
    return isinstance(error["input"], FORMS.get(error["loc"][-1] if error["loc"] else "", ()))


def _sentence(error: Any) -> str:
    """One fault as a person reads it: the key's path, the value, and what would be right."""
    where, kind = error["loc"], error["type"]
    key = _path(where)
    if kind == "extra_forbidden":
        return f"{key}: there is no such key here{_close(where)}"
    if kind == "missing":
        return f"{key}: this key is missing"
    message = error["msg"].removeprefix("Value error, ")
    hidden = kind == "value_error" or any(_meets(where, place) for place in (SERVER, *SECRETS))
    shown = "" if hidden else f" {shorten(error['input'])}:"
    return f"{key or 'the job'}:{shown} {message[0].lower() + message[1:]}"


def _path(where: Iterable[str | int]) -> str:
    """`target.weaviate.url`; the names pydantic gives to the branches of a union are left out."""
    return ".".join(str(w) for w in where if not (isinstance(w, str) and ("[" in w or "-" in w or w in ("str", "TenantSpec", "ModelSpec"))))


def _close(where: Where) -> str:
    """The key that was probably meant."""
    known = {name: list(model.model_fields) for name, model in _models().items()}
    place = [str(w) for w in where[:-1]]
    names = known.get(".".join("*" if i == 1 and place[0] in ("vectors", "media") else w for i, w in enumerate(place)), [])
    close = difflib.get_close_matches(str(where[-1]), names, 1)
    return f"; did you mean {close[0]}?" if close else f"; the keys are {', '.join(n for n in names if n != 'base')}" if names else ""


def _models() -> dict[str, Any]:
    from schemas import job, models

    return {
        "": job.Job,
        "source": job.SourceSpec,
        "target": job.TargetSpec,
        "target.weaviate": job.WeaviateSpec,
        "chunk": job.ChunkSpec,
        "failures": job.FailuresSpec,
        "vectors.*": job.VectorSpec,
        "vectors.*.model": models.ModelSpec,
        "vectors.*.model.nvidia": models.NvidiaSpec,
        "vectors.*.model.inference_url": models.InferenceSpec,
        "media.*": job.MediaSpec,
    }


def resolved(job: Job) -> Job:
    """`job` with model folders and allowed media prefixes that are relative made absolute, from the job file's folder."""
    vectors = {name: _resolved_vector(job, spec) for name, spec in job.vectors.items()}
    media = {name: m.model_copy(update={"fetch": [job.resolve(p) for p in m.fetch]}) for name, m in job.media.items()}
    return job.model_copy(update={"vectors": vectors, "media": media})


def _resolved_vector(job: Job, spec: VectorSpec) -> VectorSpec:
    if spec.model is None:
        return spec
    names = {key: _model_path(job, getattr(spec.model, key)) for key in ("name", "text", "image", "passage", "query")}
    names |= {key: _model_path(job, getattr(spec.model, key), is_file=True) for key in ("imagebind", "vocabulary")}
    return spec.model_copy(update={"model": ModelSpec.model_validate(spec.model.model_dump() | names)})


def _model_path(job: Job, name: str | None, is_file: bool = False) -> str | None:
    """A folder below the job file's own; a hub name (unless `is_file`: no hub has it), or a URL or absolute path, as it is."""
    if name is None or name.startswith(("/", "~")) or "://" in name:
        return name
    inside = job.base / name
    return os.path.abspath(inside) if is_file or name.startswith(".") or inside.exists() else name
