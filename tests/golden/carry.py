"""Packs the golden vectors of text2vec-transformers out of the project's shared folder: python -m tests.golden.carry FOLDER.

Every case is kept. Left out are what can be computed from the vectors (length, norm, sha256) and the weights, which
`models.py` draws again. The sentences of NLTK 3.9.1 on further texts (`sentences` of a file given as second argument)
were made by that release with the same parameters: texts on which other splitters differ, and others.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WEIGHTS = (".safetensors", ".onnx")
DERIVED = ("dim", "norm", "sha256", "method")
NAMES = ("bert-", "dpr-", "st-bert-", "t5-", "st-t5-")


def pack(name: str, content: Any) -> None:
    """Write tests/golden/<name>.json.gz, the same bytes each time."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    (HERE / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def unpack(name: str) -> Any:
    """The content of tests/golden/<name>.json.gz."""
    return json.loads(gzip.decompress((HERE / f"{name}.json.gz").read_bytes()))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _group(path: Path) -> dict[str, Any]:
    group = _read(path)
    cases = [{k: v for k, v in case.items() if k not in DERIVED} for case in group["cases"]]
    return {k: group[k] for k in ("mode", "model", "build_env", "run_env")} | {"cases": cases}


def _model(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix not in WEIGHTS]
    return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in files}


def _weights(models: dict[str, Any]) -> dict[str, Any]:
    sha = "sha256_of_all_float_tensors_in_sorted_key_order"
    kept = {name: w for name, w in models["weights"].items() if name.startswith(NAMES)}
    return {name: {"seed": w["seed"], "scale": w["scale"], "sha256": w[sha], "keys": w["keys"]} for name, w in kept.items()}


def main(shared: Path, sentences: Path | None = None) -> None:
    """Pack requests and answers, the models' small files, and the sentences."""
    pack("text2vec", {_read(p)["group"]: _group(p) for p in sorted(shared.glob("t2v-*.json"))})
    models = [p for p in sorted((shared / "models").iterdir()) if p.name.startswith(NAMES) and "onnx" not in p.name]
    pack("text2vec_models", {"files": {p.name: _model(p) for p in models}, "weights": _weights(_read(shared / "models.json"))})
    if sentences:
        pack("sentences", {"golden": _read(shared / "sentences.json"), "nltk 3.9.1": _read(sentences)})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
