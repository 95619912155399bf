"""The disk cache of compiled kernels: where it lies, what happens where it cannot lie, and that it is never stale.

Everything runs in processes of its own, on a copy of the package whose cache is empty. Permission bits do not stop
root, so a folder that cannot be written is a plain file of that name.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mfdnn

pytestmark = pytest.mark.jit

ASK = """
import json, sys
import mfdnn
import numpy as np
from mfdnn import _compiled

print("imported", flush=True)
sys.stdin.readline()
value = mfdnn.expect(lambda x: np.maximum(x, 0.0), 1.0, derivative=1)  # of its piecewise polynomial: a kernel
kernels = [kernel.stats for kernel in vars(_compiled).values() if hasattr(kernel, "stats")]
print(json.dumps({
    "package": mfdnn.__path__[0],
    "value": value,
    "folders": sorted({kernel.cache_path for kernel in kernels}, key=str),
    "loaded": sum(sum(kernel.cache_hits.values()) for kernel in kernels),
    "compiled": sum(sum(kernel.cache_misses.values()) for kernel in kernels),
}))
"""


class Install:
    """A copy of the package in `root`, used by a user whose home is `home`."""

    def __init__(self, root: Path):
        self.package = root / "site" / "mfdnn"
        self.home = root / "home"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(mfdnn.__file__).parent, self.package, ignore=ignored)
        dropped = ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES", "mfdnnNUMBA_CACHE", "XDG_CACHE_HOME")
        self.environment = {key: value for key, value in os.environ.items() if key not in dropped}
        self.environment |= {"HOME": str(self.home), "PYTHONPATH": str(self.package.parent)}

    def start(self, code: str = ASK) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment,
            cwd=self.package.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, processes: int = 1) -> list[dict]:
        """What so many processes answer that start to compute at the same moment."""
        running = [self.start() for _ in range(processes)]
        for process in running:
            assert process.stdout.readline() == "imported\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=300)[0]) for process in running]
        for answer in answers:
            assert answer["package"] == str(self.package)
            assert answer["value"] == pytest.approx(0.5, rel=1e-12)
        return answers

    def make_package_read_only(self) -> None:
        (self.package / "__pycache__").write_text("a file where a folder should be")


@pytest.fixture
def install(tmp_path):
    return Install(tmp_path)


def test_a_second_process_compiles_nothing(install):
    (first,), (second,) = install.ask(), install.ask()
    assert first["folders"] == second["folders"] == [str(install.package / "__pycache__")]
    assert first["compiled"] > 0
    assert second["loaded"] > 0 and second["compiled"] == 0


def test_in_a_read_only_package_the_cache_lies_with_the_user(install):
    install.make_package_read_only()
    (first,), (second,) = install.ask(), install.ask()
    (folder,) = first["folders"]
    assert install.home in Path(folder).parents
    assert second["loaded"] > 0 and second["compiled"] == 0


def test_where_nothing_can_be_written_kernels_live_in_memory(install):
    install.make_package_read_only()
    install.home.write_text("a file where a folder should be")
    (answer,) = install.ask()
    assert answer["folders"] == [None]
    assert not list(install.package.rglob("*.nb[ic]"))
    imported = subprocess.run(
        [sys.executable, "-c", "import mfdnn._compiled"],
        env=install.environment,
        cwd=install.package.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported.stderr.count("set NUMBA_CACHE_DIR to one that can") == 1


def test_two_cold_processes_fill_one_cache_at_once(install):
    first, second = install.ask(processes=2)
    assert first["compiled"] > 0 and second["compiled"] > 0  # both were cold: they did race
    (third,) = install.ask()
    assert third["compiled"] == 0


KERNELS = """

@jit
def changed(x):
    return x + 1.0


@jit
def unchanged(x):
    return 2.0 * changed(x)
"""


def test_an_upgrade_is_not_served_from_the_old_cache(install):
    """Not even to a kernel that is the same as before and calls one that changed."""
    source = install.package / "_compiled.py"

    def result() -> tuple[float, int]:
        code = "from mfdnn._compiled import unchanged as k; print(k(3.0), sum(k.stats.cache_hits.values()))"
        value, hits = install.start(code).communicate(timeout=300)[0].split()
        return float(value), int(hits)

    old = source.read_text() + KERNELS
    source.write_text(old)
    assert result() == (8.0, 0)
    assert result() == (8.0, 1)
    source.write_text(old.replace("return x + 1.0", "return x + 10.0"))
    assert result() == (26.0, 0)


def test_each_kernel_is_compiled_for_one_signature():
    """Two would be compiled twice; and two cold processes may give two signatures one file (Numba numbers them)."""
    script = Path(__file__).parent / "every_kernel.py"
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{}"
