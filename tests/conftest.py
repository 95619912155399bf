"""Settings of the whole suite: figures without a display, no stopwatch, workers, kernels without a compiler."""

import os
import subprocess
import sys
import time
from functools import wraps
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import numba
import pytest
from hypothesis import settings

# A first call may compile for seconds, so a deadline would measure Numba. The same examples are drawn in
# every run, so a failure is a change of the code and never of the dice.
settings.register_profile("mfdnn", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("interpreted", settings.get_profile("mfdnn"), max_examples=3)
settings.load_profile("interpreted" if numba.config.DISABLE_JIT else "mfdnn")

# Scripts, of which one needs mpmath, and a plugin.
collect_ignore = ["last_bits.py", "make_gaussian_reference.py", "make_public_values.py"]

# NUMBA_DISABLE_JIT=1 leaves kernels to the interpreter, so that coverage sees their lines (`make coverage`). It is a
# hundred times slower. So tables are built by array expressions, these files and tests are left out, and so is
# whatever else would take the interpreter long.
COMPILED = {
    "test_core",
    "test_gaussian",
    "test_gaussian_catalogue",
    "test_naive",
    "test_notebooks",
    "test_public_values",
    "test_reference_values",
    "test_theory_against_simulation",
    "test_without_a_writable_cache_kernels_are_compiled_in_memory",
}
SECONDS = 1.5  # of processor time a test may take
deadline = float("inf")

called_at_import = pytest.StashKey[list[str]]()


def limited(kernel, original):
    """The kernel, which skips the test that calls it when its time is over."""

    @wraps(kernel)
    def call(*args):
        if time.process_time() > deadline:
            pytest.skip(f"takes more than {SECONDS:g} s in the interpreter")
        return kernel(*args)

    call.original = original
    return call


def pytest_configure(config):
    if not numba.config.DISABLE_JIT:
        return
    import array_kernels

    from mfdnn import _compiled

    for name, kernel in list(vars(_compiled).items()):
        if hasattr(kernel, "__wrapped__"):
            setattr(_compiled, name, limited(getattr(array_kernels, name, kernel), kernel))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """As many as this process may use of the processors, not as many as the machine has cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs):
    """Before the first worker starts: a fresh clone has no compiled kernels, and its workers share one compilation."""
    if len(specs) > 1:  # else their threads fight for the cores; tests of threads set a number of their own
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            os.environ.setdefault(name, "1")
    if not numba.config.DISABLE_JIT:
        script = Path(__file__).parent / "every_kernel.py"
        subprocess.run([sys.executable, script], check=True, stdout=subprocess.DEVNULL)


def pytest_collection_finish(session):
    from every_kernel import kernels

    session.config.stash[called_at_import] = [name for name, kernel in kernels().items() if kernel.signatures]


@pytest.fixture
def kernels_called_at_import(pytestconfig):
    return pytestconfig.stash[called_at_import]


class Drawn(dict):
    """The figures of the papers in small, each drawn when a test first looks at it."""

    def __missing__(self, name):
        from matplotlib import pyplot

        from mfdnn import papers

        self[name] = papers.FIGURES[name](fast=True, rng=0)
        pyplot.close("all")
        return self[name]


@pytest.fixture(scope="session")
def drawn():
    return Drawn()


WITHOUT_TORCH = "left out of `make test`, which does not install PyTorch; run by `make test-torch`"


@pytest.fixture(scope="session")
def torch():
    """PyTorch, for tests with the marker of that name."""
    return pytest.importorskip("torch", reason=WITHOUT_TORCH)


def pytest_collection_modifyitems(config, items):
    examples = [item for item in items if any(of.name == "pytorch" for of in item.path.parents)]  # of that room
    for item in examples:
        item.add_marker("torch")
        item.add_marker(pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning"))
    if find_spec("torch") is None:
        config.hook.pytest_deselected(items=examples)
        items[:] = [item for item in items if item not in examples]
    if numba.config.DISABLE_JIT:

        def left_out(item):
            return COMPILED & {item.path.stem, item.name.split("[")[0]} or item.get_closest_marker("jit")

        config.hook.pytest_deselected(items=[item for item in items if left_out(item)])
        items[:] = [item for item in items if not left_out(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    global deadline
    deadline = time.process_time() + SECONDS
    try:
        return (yield)
    finally:
        deadline = float("inf")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around what names the place of the test
def pytest_runtest_makereport(item, call):
    """All that needs PyTorch is one line of the summary where there is none."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and WITHOUT_TORCH in report.longrepr[2]:
        report.longrepr = ("tests of PyTorch", None, report.longrepr[2])
    return report
