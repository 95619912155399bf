"""The notebooks: stripped of outputs, valid, and they run; what their text claims is asserted in their cells."""

import json
import sys
from pathlib import Path

import pytest
from slow import slow

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT = (
    300  # seconds; a notebook takes about 20 on two cores, so this is for hangs and not a stopwatch
)
INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel sets unless told otherwise

# The suite turns warnings into errors; those of the machinery that runs a kernel are not this package's.
pytestmark = pytest.mark.filterwarnings(
    r"ignore::DeprecationWarning:(zmq|jupyter_client|jupyter_core|nbclient|tornado|asyncio)(\..*)?"
)
SLOW = ("06", "07", "08")  # half a minute each
OF_TORCH = ("11",)  # run by `make test-torch`
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def with_marks(path):
    if path.name[:2] in OF_TORCH:
        return pytest.param(path, id=path.stem, marks=pytest.mark.torch)
    return (slow if path.name[:2] in SLOW else pytest.param)(path, id=path.stem)


each_run = pytest.mark.parametrize("path", [with_marks(path) for path in NOTEBOOKS])


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel `python3` of the interpreter that runs the tests, away from anything the user has installed."""
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv(
        "MPLBACKEND", INLINE
    )  # the suite itself draws with Agg, which shows no figure in a cell
    return "python3"


def test_there_are_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS[:5]] == ["01", "02", "03", "04", "05"]


@each_notebook
def test_is_valid_and_stripped(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [], f"cell {cell.id} has outputs; clear them before committing"
            assert cell.execution_count is None, f"cell {cell.id} has a number; clear the outputs"
            assert cell.metadata == {}
    assert notebook.cells[0].source.startswith("# ")
    assert "## References" in notebook.cells[-1].source


@each_run
def test_runs(path, kernel, tmp_path, request):
    if path.name[:2] in OF_TORCH:
        request.getfixturevalue("torch")  # or it is skipped
    notebook = nbformat.read(path, as_version=4)
    folder = tmp_path / "work"
    folder.mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=CELL_TIMEOUT, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = [line for output in outputs if output.get("name") == "stderr" for line in output.text.splitlines()]
    # That something takes long is true of the machine.
    complaints = [line for line in said if "Warning" in line and "(Ctrl-C stops it)" not in line]
    assert complaints == []
