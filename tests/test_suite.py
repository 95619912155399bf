"""The suite itself."""

import ast
import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def test_no_test_module_computes_while_it_is_imported(kernels_called_at_import):
    """Each worker imports all of them, whichever tests it gets: what is computed there is computed by every one."""
    assert not kernels_called_at_import


def test_doctests_show_no_last_digits():
    """Processors differ in them."""
    texts = [page.read_text() for page in (*ROOT.glob("docs/*.md"), ROOT / "README.md")]
    for path in ROOT.glob("mfdnn/**/*.py"):
        found = ast.walk(ast.parse(path.read_text()))
        texts += [ast.get_docstring(node) or "" for node in found if isinstance(node, DOCUMENTED)]
    examples = [example for text in texts for example in doctest.DocTestParser().get_examples(text)]
    assert len(examples) > 100
    # More than twelve digits, and what 0.3, 1.0 or 0.0 may turn into: 0.30000000000000004 and 1e-17.
    assert [example.want for example in examples if re.search(r"\d\.\d{13}|[1-9]e-1[6-9]\b", example.want)] == []


@pytest.mark.slow
def test_every_process_collects_the_same_tests():
    """The workers of a run compare their lists; the order of a set differs with the seed of hashes."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", ""]
    lists = []
    for seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:]
        lists.append([line for line in done.stdout.splitlines() if "::" in line])
    assert lists[0] == lists[1] and len(lists[0]) > 1000
