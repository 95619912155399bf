"""The face of the package: names load on first use, results stand in their rooms, the import loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

import mfdnn
from mfdnn._support.results import Result


def test_an_import_loads_nothing():
    heavy = ("numpy", "scipy", "numba", "matplotlib", "tqdm")
    code = f"import sys, mfdnn; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", dir(mfdnn))
def test_every_name_is_there(name):
    assert getattr(mfdnn, name) is not None


def test_the_list_of_names_holds_functions_and_layers_but_no_results():
    offered = {name: getattr(mfdnn, name) for name in mfdnn.__all__}
    assert {"fisher_statistics", "Dense", "Network", "MeanField", "Activation", "NoTheory"} <= set(offered)
    results = [name for name, value in offered.items() if isinstance(value, type) and issubclass(value, Result)]
    assert results == []
    assert mfdnn.PhaseDiagram.load and mfdnn.FisherStatistics  # reachable all the same


def test_no_function_is_named_like_a_room_or_a_file_beside_it():
    root = Path(mfdnn.__file__).parent
    modules = {path.stem for path in root.glob("*.py")} | {path.parent.name for path in root.glob("*/*.py")}
    assert not modules & {name for name in mfdnn.__all__ if callable(getattr(mfdnn, name))}


def test_unknown_names_are_an_error():
    with pytest.raises(AttributeError, match="fisher_statistic"):
        mfdnn.fisher_statistic  # noqa: B018


def test_threads_may_be_the_first_to_use_different_names():
    code = """
import mfdnn, threading
barrier, found = threading.Barrier(8), []
def use(name):
    barrier.wait()
    found.append(getattr(mfdnn, name))
names = "fisher_statistics ensemble fixed_point max_learning_rate outlier_distribution compare ntk mlp".split()
threads = [threading.Thread(target=use, args=(name,)) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("8\n", "")
