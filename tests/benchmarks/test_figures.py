"""The benchmarks' arithmetic, table and charts; what they measure is theirs to measure."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures import in_own_process, outside, ratio, spread, worst_cosine
from benchmarks.peers.matrix import flop_a_token
from benchmarks.plots import Bar, chart, speed
from benchmarks.speed_table import cells, lines
from benchmarks.texts import parsed

TIMES = st.integers(-20, 20).map(float)


@settings(max_examples=100, deadline=None)
@given(st.tuples(TIMES, TIMES).map(sorted), st.lists(st.tuples(TIMES, TIMES)))
def test_time_outside_intervals_is_what_a_count_of_seconds_gives(span: list[float], intervals: list[tuple[float, float]]) -> None:
    start, end = span
    seconds = np.arange(start, end) + 0.5
    free = [s for s in seconds if not any(a <= s < b for a, b in intervals)]
    assert outside((start, end), intervals) == len(free)


def test_ratio_is_the_median_over_rounds_and_not_of_medians() -> None:
    assert ratio([1.0, 2.0, 4.0], [3.0, 4.0, 4.0]) == 2.0
    assert ratio([], [1.0]) is None
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_a_process_of_its_own_gives_its_last_line_and_fails_with_its_words(tmp_path: Path) -> None:
    script = tmp_path / "one.py"
    script.write_text("import json, os, sys\nprint('much')\nif '--bad' in sys.argv:\n    sys.exit('no such model')\n")
    with script.open("a") as file:
        file.write("print(json.dumps({'here': os.getcwd(), 'asked': sys.argv[1:]}))\n")
    assert in_own_process(str(script), "--one", "a", cwd=tmp_path) == {"here": str(tmp_path), "asked": ["--one", "a"]}
    with pytest.raises(SystemExit, match="no such model"):
        in_own_process(str(script), "--bad")


def test_worst_cosine_finds_the_one_row_that_is_off() -> None:
    good = np.eye(4, dtype=np.float32)
    turned = good.copy()
    turned[2] = [0, 1, 1, 0]
    assert worst_cosine(3 * good, good) == pytest.approx(1.0)
    assert worst_cosine(turned, good) == pytest.approx(np.sqrt(0.5))
    turned[1] = np.nan
    assert worst_cosine(turned, good) == -1.0
    with pytest.raises(ValueError, match=r"\(4, 4\) against \(3, 4\)"):
        worst_cosine(good, good[:3])


def test_a_token_of_minilm_costs_its_matrix_products() -> None:
    assert flop_a_token({"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}) == 21_233_664


def test_a_packages_description_may_have_several_lines() -> None:
    assert parsed("Package: a\nDescription-en: short\n long one\n .\nSection: x") == {
        "Package": "a",
        "Description": "short\nlong one\n.",
        "Section": "x",
    }


def result() -> dict[str, Any]:
    """Two rows, the limit, and one that failed."""

    def row(name: str, steady: list[float], failed: str = "", **figures: Any) -> dict[str, Any]:
        whole = [s + 1 for s in steady]
        return {
            "name": name,
            "variant": None,
            "failed": failed,
            "seconds": {"steady": steady, "whole": whole},
            "figures": {"precision": "float32"} | figures,
        }

    rows = {
        "warpbeam-flat": row("warpbeam run, flat index", [1.0, 2.0, 3.0], tokens=200, padded=220, worst_cosine=0.999999),
        "encode": row("SentenceTransformer.encode", [4.0, 4.0, 9.0], tokens=200, padded=300, worst_cosine=1.0),
        "daft": row("Daft", [], "exit code 1: no memory"),
        "matrix": row("matrix products", [2.0, 2.0, 2.0], gflop=8.0, flop_a_token=2e7),
    }
    machine = {"processor": "one", "cores": 2, "load_at_start": 0.0}
    return {"set": "docstrings", "texts": 100, "rows": rows, "machine": machine}


def test_a_line_has_rates_padding_and_the_share_of_the_limit() -> None:
    ours, base, failed, limit = lines(result())
    assert (ours["texts_per_s"], ours["tokens_per_s"], ours["times_encode"]) == (50, 100, 3.0)
    assert ours["padding"] == pytest.approx(0.1)
    assert limit["gflops"] == 4.0
    assert ours["share"] == pytest.approx(100 * 2e7 / 1e9 / 4.0)
    assert base["times_encode"] == 1.0
    assert cells(failed) == ["Daft", "failed: exit code 1: no memory"]
    assert [len(cells(found)) for found in (ours, base, limit)] == [10, 10, 10]


def test_a_chart_is_well_formed_and_has_a_bar_for_each_row_with_texts() -> None:
    root = ET.fromstring(speed(result()))
    colours = [r.get("fill") for r in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(colours) == 1 + 2
    assert "a &lt;b&gt; &amp; c" in chart("a <b> & c", "", [Bar("x", 1, 1, 1, "#000000")])
