"""Whole processes: what a user waits for."""

import subprocess
import sys

from baselines import seconds


def python(*command):
    run = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return run.stdout


def test_import(timed, row):
    time = timed(lambda: python("-c", "import mfdnn"), rounds=7)
    plain = seconds(lambda: python("-c", "import numba, scipy"), repeats=7)
    code = """
import sys, mfdnn
from mfdnn import _compiled
kernels = [kernel for kernel in vars(_compiled).values() if hasattr(kernel, "signatures")]
print([name for name in ("matplotlib.pyplot", "scipy.stats") if name in sys.modules],
      sum(len(kernel.signatures) for kernel in kernels))
"""
    loaded = python("-c", code).strip()
    row(
        "import mfdnn, whole process",
        "< 0.6 s, compiles nothing, no pyplot, no scipy.stats",
        f"{time:.2f} s; numba and scipy alone {plain:.2f} s",
        time < 0.6 and loaded == "[] 0",
    )


def test_learning_rate_in_a_second_process(timed, row):
    time = timed(lambda: python("-m", "mfdnn.cli", "learning-rate", "784-1000-1000-10"))
    row("mfdnn learning-rate 784-1000-1000-10, second process", "< 2 s", f"{time:.2f} s", time < 2)
