"""The house rules: who may import whom, how long things are, and that every public thing says what it gives."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("schemas", "encoders", "pipelines", "jobs")  # each may import itself and those before it
STAGES = ("read", "chunk", "ids", "unchanged", "media", "vectorize", "write")
KNOWS_ALL = "pipelines/load.py"
FACE = "warpbeam.py"
LATE = ("torch", "transformers", "sentence_transformers", "weaviate")  # heavy: imported where they are used
BANNED_NAMES = ("utils", "helpers", "common")
FILE_LINES, FUNCTION_LINES, NINE_OF_TEN, HALF = 300, 40, 25, 10

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Import(NamedTuple):
    """A module that a file imports, and whether it does so as soon as it is imported itself."""

    module: str
    at_top: bool


def source_files() -> list[Path]:
    return sorted([p for layer in LAYERS for p in (ROOT / layer).rglob("*.py")] + [ROOT / FACE])


FILES = source_files()
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
NAMES = sorted(TREES)


def imports(name: str) -> list[Import]:
    """Every import of a file, also those inside functions and below TYPE_CHECKING."""
    return [Import(module, at_top) for node, at_top in walk(TREES[name], True) for module in modules(name, node)]


def walk(node: ast.AST, at_top: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Each node below `node`, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        runs = at_top and not isinstance(child, (*FUNCTIONS, ast.Lambda))
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from ((inner, False) for part in child.body for inner in ast.walk(part))
            yield from (found for part in child.orelse for found in [(part, runs), *walk(part, runs)])
            continue
        yield child, runs
        yield from walk(child, runs)


def modules(name: str, node: ast.AST) -> Iterator[str]:
    """The modules that one import statement names: `from a import b` may mean the module a or a.b, so both are given."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = name.removesuffix(".py").split("/")[: -node.level] if node.level else []
        module = ".".join([*package, *([node.module] if node.module else [])])
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def top(module: str) -> str:
    return module.partition(".")[0]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer_of(name: str) -> int:
    """How high a file stands; the public face stands above all."""
    return len(LAYERS) if name == FACE else LAYERS.index(name.partition("/")[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_imports_only_itself_and_what_is_below(name: str) -> None:
    higher = {m for m, _ in imports(name) if top(m) in LAYERS and LAYERS.index(top(m)) > layer_of(name)}
    assert not higher, f"{name} imports {sorted(higher)}; imports go down: {' -> '.join(reversed(LAYERS))}"


@pytest.mark.parametrize("name", NAMES)
def test_nobody_imports_the_public_face(name: str) -> None:
    assert not [m for m, _ in imports(name) if top(m) == "warpbeam"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(stage: str) -> None:
    name = f"pipelines/{stage}.py"
    if name not in TREES:
        pytest.skip(f"{name} is not built yet")
    forbidden = [f"pipelines.{other}" for other in (*STAGES, "load") if other != stage]
    found = {m for m, _ in imports(name) if any(within(m, f) for f in forbidden)}
    assert not found, f"{name} imports {sorted(found)}; only {KNOWS_ALL} knows several stages"


def test_load_knows_every_stage() -> None:
    known = {m for m, _ in imports(KNOWS_ALL)}
    missing = [s for s in STAGES if f"pipelines/{s}.py" in TREES and f"pipelines.{s}" not in known]
    assert not missing, f"{KNOWS_ALL} does not import {missing}"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("pipelines/")])
def test_only_load_imports_several_stages(name: str) -> None:
    if name == KNOWS_ALL:
        return
    found = {s for s in STAGES if any(within(m, f"pipelines.{s}") for m, _ in imports(name))} - {Path(name).stem}
    assert not found, f"{name} imports the stages {sorted(found)}; what several stages need has a file of its own"


@pytest.mark.parametrize(("kind", "other"), [("sources", "targets"), ("targets", "sources")])
def test_sources_and_targets_do_not_know_each_other(kind: str, other: str) -> None:
    found = {(n, m) for n in NAMES if n.startswith(f"pipelines/{kind}/") for m, _ in imports(n) if within(m, f"pipelines.{other}")}
    assert not found


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("schemas/", "encoders/"))])
def test_no_beam_below_the_pipelines(name: str) -> None:
    found = {m for m, _ in imports(name) if top(m) == "apache_beam"}
    assert not found, f"{name} imports {sorted(found)}"


@pytest.mark.parametrize("name", NAMES)
def test_model_libraries_are_imported_where_they_are_used(name: str) -> None:
    found = {m for m, at_top in imports(name) if at_top and top(m) in LATE}
    assert not found, f"{name} imports {sorted(found)} at its top; a launching machine needs no model library"


def test_there_is_no_circle() -> None:
    """Modules that import one another at their top cannot be understood, or imported, one at a time."""
    known = {module_of(n): n for n in NAMES}
    graph = {m: {i for i, at_top in imports(n) if at_top and i in known and i != m} for m, n in known.items()}
    while leaves := [m for m, needs in graph.items() if not needs & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph, f"these modules import one another in a circle, or wait for one that does: {sorted(graph)}"


def functions(name: str) -> Iterator[tuple[str, Function]]:
    yield from ((f"{name}:{node.lineno} {node.name}", node) for node in ast.walk(TREES[name]) if isinstance(node, FUNCTIONS))


def body_lines(node: Function) -> int:
    """The lines of a function's body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


SIZES = {where: body_lines(node) for name in NAMES for where, node in functions(name)}


def longest(limit: int) -> str:
    found = sorted(((n, where) for where, n in SIZES.items() if n >= limit), reverse=True)
    return "; ".join(f"{where}: {n} lines" for n, where in found[:15])


def test_half_of_all_functions_are_short() -> None:
    short = sum(n < HALF for n in SIZES.values())
    assert short / len(SIZES) >= 0.5, f"{short} of {len(SIZES)} functions have fewer than {HALF} lines"


def test_nine_of_ten_functions_fit_a_glance() -> None:
    fit = sum(n < NINE_OF_TEN for n in SIZES.values())
    assert fit / len(SIZES) >= 0.9, (
        f"{fit} of {len(SIZES)} functions have fewer than {NINE_OF_TEN} lines; the longest: {longest(NINE_OF_TEN)}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_function_is_long_without_saying_why(name: str) -> None:
    long = [(where, node) for where, node in functions(name) if SIZES[where] > FUNCTION_LINES]
    silent = [f"{where}: {SIZES[where]} lines" for where, node in long if "long" not in (ast.get_docstring(node) or "").lower()]
    assert not silent, f"over {FUNCTION_LINES} lines, and the docstring does not say why it is so long: {silent}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_is_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES, f"{path.relative_to(ROOT)} has {lines} lines; split it, {FILE_LINES} is the most"


def public(node: ast.AST, where: str) -> Iterator[tuple[str, ast.AST]]:
    """The public functions, classes and methods below `node`; what stands inside a function is private."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)) and not (child.name.startswith("_") and not child.name.endswith("__")):
            yield f"{where}:{child.lineno} {child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, where)


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_says_what_it_gives(name: str) -> None:
    assert ast.get_docstring(TREES[name]), f"{name} has no docstring"
    silent = [where for where, node in public(TREES[name], name) if not ast.get_docstring(node)]
    assert not silent, f"without a docstring: {silent}"


def test_nothing_is_named_after_its_lack_of_a_place() -> None:
    folders = ("schemas", "encoders", "pipelines", "jobs", "tests", "examples", "benchmarks", "docs")
    paths = [p for folder in folders for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts]
    found = [p.relative_to(ROOT).as_posix() for p in [*paths, *ROOT.glob("*.py")] if p.stem.lower() in BANNED_NAMES]
    assert not found, f"{found}: what has no home yet lives where it is used"


def test_every_job_module_can_be_imported_first():
    """No circle of imports hides behind the order in which the rest happens to be imported."""
    script = (
        "import importlib, os, sys\n"
        "import apache_beam, grpc, httpx, numpy, pyarrow.parquet, pydantic, rich.progress, typer, weaviate  # once, so that each of ours takes moments\n"
        "for name in sys.argv[1:]:\n"
        "    if (child := os.fork()) == 0:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "        except Exception as error:\n"
        "            print(name, error, flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    names = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in NAMES if name.startswith("jobs/")]
    done = subprocess.run([sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stdout.splitlines() if not line.startswith("WARNING")], done.stdout
