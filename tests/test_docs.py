"""What the documents say is so: keys, commands, options, jobs, make targets and links."""

import json
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer.main
import yaml
from pydantic import BaseModel

import schemas.job
import schemas.models
from jobs.cli import app
from schemas.columns import ROW, UUID, Rejection
from schemas.job import Job
from schemas.models import ModelSpec, Part

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
JOB_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_KEYS = {("Job", "base"), ("TargetSpec", "base"), ("VectorSpec", "module")}  # set by the loader, never written in a job


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def all_pages() -> str:
    return "\n".join(map(text_of, PAGES))


def models() -> list[type[BaseModel]]:
    specs = vars(schemas.models) | vars(schemas.job)
    found = [m for m in specs.values() if isinstance(m, type) and issubclass(m, Part) and m is not Part]
    return sorted(found, key=lambda m: m.__name__)


def keys() -> list[tuple[str, str]]:
    return [(m.__name__, key) for m in models() for key in m.model_fields if (m.__name__, key) not in NOT_KEYS]


@pytest.mark.parametrize(("model", "key"), keys())
def test_every_key_of_the_job_file_is_explained(model: str, key: str) -> None:
    """In the section of its model, as the first cell of a table's row."""
    sections = re.split(r"^(?=## )", text_of(ROOT / "docs" / "job-file.md"), flags=re.MULTILINE)
    section = next((s for s in sections if f"`{model}`" in s.splitlines()[0]), None)
    assert section is not None, f"docs/job-file.md has no section with `{model}` in its heading"
    assert re.search(rf"^\| `{re.escape(key)}` \|", section, re.MULTILINE), f"docs/job-file.md does not explain {key!r} of {model}"


def options() -> Iterator[tuple[str, str, str]]:
    """(command, what a person types, help text) of every option, and of every command itself."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield name, f"warpbeam {name}", command.help or ""
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield name, parameter.opts[0], parameter.help or ""


@pytest.mark.parametrize(("command", "words", "help_text"), list(options()))
def test_every_command_and_option_is_named_and_has_help(command: str, words: str, help_text: str) -> None:
    assert help_text.strip(), f"{words} of {command} has no help text"
    assert re.search(rf"{re.escape(words)}(?![\w-])", all_pages()), f"no document names {words} of {command}"


def test_help_names_every_command() -> None:
    """The documents name no command that is not there."""
    named = set(re.findall(r"^warpbeam ([a-z]+)", "\n".join(b for p in PAGES for k, b in fences(p) if k in ("", "sh")), re.MULTILINE))
    assert named <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def fences(path: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, content)."""
    return FENCE.findall(text_of(path))


def shown_jobs() -> list[tuple[str, str]]:
    """(page and number, YAML) of every block that is a whole job."""
    found = [(f"{p.relative_to(ROOT)}#{i}", body) for p in JOB_PAGES for i, (kind, body) in enumerate(fences(p)) if kind == "yaml"]
    return [(where, body) for where, body in found if "source:" in body and "target:" in body]


@pytest.mark.parametrize(("where", "body"), shown_jobs(), ids=lambda value: value if "#" in value and "\n" not in value else "yaml")
def test_every_shown_job_is_a_job(where: str, body: str) -> None:
    job = Job.model_validate(yaml.safe_load(body))
    assert job.vectors, where


def test_jobs_are_shown() -> None:
    """The README shows at least one job; else the test above would test nothing."""
    assert [where for where, _ in shown_jobs() if where.startswith("README.md")]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_piece_of_yaml_is_yaml_with_known_keys(path: Path) -> None:
    """A piece of a job is checked by its keys at the top: what it shows must be a key of Job."""
    for kind, body in fences(path):
        if kind == "yaml":
            piece = yaml.safe_load(body)
            assert isinstance(piece, dict), f"{path}: no mapping: {body}"
            assert piece.keys() <= Job.model_fields.keys() - {"base"}, f"{path}: unknown keys in {sorted(piece)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    text = text_of(path)
    quoted = re.findall(r"`make ([a-z]+)[^`]*`", text)
    typed = [t for _, body in fences(path) for t in re.findall(r"^make ([a-z]+)", body, re.MULTILINE)]
    assert {*quoted, *typed} <= targets, f"{path.name} names {sorted({*quoted, *typed} - targets)}; the Makefile has {sorted(targets)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    text = FENCE.sub("", text_of(path))
    targets = [link.partition("#") for link in LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]
    for target, _, anchor in targets:
        place = (path.parent / target) if target else path
        assert place.exists(), f"{path.relative_to(ROOT)} links to {target}, which is not there"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{path.relative_to(ROOT)} links to {target}#{anchor}; there is no such heading"


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def example(title: str) -> dict[str, Any]:
    """What the Python block in one section of docs/adding.md defines."""
    section = text_of(ROOT / "docs" / "adding.md").split(f"## {title}\n")[1]
    code = next(body for kind, body in FENCE.findall(section) if kind == "python")
    names: dict[str, Any] = {"__name__": f"adding_{title.replace(' ', '_').lower()}"}
    exec(compile(code, f"docs/adding.md, {title}", "exec"), names)
    return names


def test_the_example_of_an_encoder_keeps_the_contract() -> None:
    encoder = example("An encoder")["LettersEncoder"](ModelSpec(fake=1), {})
    encoding = encoder.encode(["abba", "12", "c"], "text")
    assert encoding.vectors.shape == (3, encoder.dim)
    assert encoding.vectors.dtype == np.float32
    assert list(encoding.vectors[0, :3]) == [2, 2, 0]
    assert encoding.errors.keys() == {1}
    assert np.isnan(encoding.vectors[1]).all()
    assert encoder.encode([], "text").vectors.shape == (0, encoder.dim)


def test_the_example_of_a_source_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\xff\nthree\n")
    source = pickle.loads(pickle.dumps(example_source(tmp_path)))
    (shard,) = source.shards()
    batch, rejection = sorted(source.read(shard, ["line"]), key=lambda item: isinstance(item, Rejection))
    assert batch.to_pydict() == {"line": ["one", "three"], ROW: [0, 2]}
    assert (rejection.code, rejection.row) == ("malformed", 1)
    assert source.schema().names == ["line", "number"]
    (short,) = source.read(replace(shard, limit=1), ["number"])
    assert short.to_pydict() == {"number": [1], ROW: [0]}


def example_source(folder: Path) -> Any:
    """The source, in a module of its own, since pickle looks classes up by their module."""
    module = ModuleType("adding_a_source")
    vars(module).update(example("A source"))
    sys.modules[module.__name__] = module
    return vars(module)["LinesSource"](str(folder), {})


def test_the_example_of_a_target_keeps_the_contract(tmp_path: Path) -> None:
    target = example("A target")["LinesTarget"](str(tmp_path / "out"))
    assert target.collection() is None
    target.create({"class": "Word", "properties": [{"name": "word", "dataType": ["text"]}]})
    batch = pa.RecordBatch.from_pydict({UUID: pa.array([bytes(16)], pa.binary(16)), "word": ["yarn"]})
    for _ in range(2):
        target.write(batch)
    assert [(b.num_rows, reasons) for b, reasons in target.results(wait=True)] == [(1, {}), (1, {})]
    (file,) = (tmp_path / "out").iterdir()
    assert json.loads(file.read_text()) == {"word": "yarn"}


def test_every_decision_is_one_page_of_three_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert pages
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:04}-"), f"{page.name}: decisions are numbered without gaps"
        text = text_of(page)
        assert len(text.splitlines()) < 40, f"{page.name} has more than 40 lines"
        assert [h for h in ("## Context", "## Decision", "## Consequence") if h not in text] == [], page.name
