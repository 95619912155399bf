"""PyTorch is an extra: nothing else loads it, and where it is missing a sentence says what to install."""

import subprocess
import sys


def said_by(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_package_loads_no_torch():
    assert said_by("import sys, mfdnn; mfdnn.mlp([3, 4, 2]); print('torch' in sys.modules)") == "False"


def test_where_it_is_missing_a_sentence_says_which_extra_to_install():
    code = """
import sys
sys.modules["torch"] = None  # as if it were not there
import mfdnn.pytorch as mp
try:
    mp.operator(None)
except ImportError as error:
    print(error)
"""
    assert said_by(code) == (
        "`mfdnn.pytorch` needs PyTorch, which is not installed; pip install 'meanfield-dnn[torch]' brings it."
    )
