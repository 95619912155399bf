"""Rows of the table: every benchmark says what its bar is, what came out and whether that meets it."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # naive.py: the definitions by brute force


@pytest.fixture
def row(benchmark):
    """`row(what, bar, measured, met)` adds a row; `met` is None where there is no bar."""
    rows = benchmark.extra_info["rows"] = []

    def add(what: str, bar: str, measured: str, met: bool | None = None) -> None:
        rows.append([what, bar, measured, None if met is None else bool(met)])

    return add


@pytest.fixture
def timed(benchmark):
    """`timed(function, rounds, setup)`: median seconds of several rounds after one that warms up."""

    def run(function, rounds=3, setup=None):
        benchmark.pedantic(function, setup=setup, rounds=rounds, warmup_rounds=1, iterations=1)
        return benchmark.stats.stats.median

    return run
