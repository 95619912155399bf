"""Report of a module, and the verb `mfdnn torch`."""

import doctest
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch_networks
from matplotlib import pyplot

import mfdnn.pytorch as mp
from mfdnn import cli

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

FACTORIES = """
import torch

def make():
    nn = torch.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

def with_batch():
    return make(), (torch.randn(10, 3, 4, 4), torch.arange(10) % 3)

class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.embedding(x)).mT, x

def number():
    return 3

def fails():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A file of the user's, in the folder where the command runs."""
    (tmp_path / "my_models.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    pyplot.close("all")


def run(capsys, *argv):
    code = cli.main(["torch", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def problem(torch):
    torch.manual_seed(0)
    module = torch_networks.resnet(torch, (4, 6), 1, 3, stem="small")
    return module, (torch.randn(12, 3, 8, 8), torch.arange(12) % 3)


def test_page_and_picture(torch, tmp_path):
    module, batch = problem(torch)
    loss, sgd = torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    path = tmp_path / "report.html"
    page = mp.report(module, batch, loss, sgd, path)
    html = path.read_text()
    assert "data:image/png;base64," in html and "any softmax" in html
    answer = mp.learning_rate(module, batch, loss, sgd)
    assert page.answer.stable == answer.stable and page.answer.critical == answer.critical
    assert page.spectrum.largest == pytest.approx(2 * 1.9 / page.answer.stable, rel=1e-3)
    assert len(page.answer.along["rate"]) > 25 and np.all(np.diff(page.answer.along["rate"]) >= 0)
    figure = page.figure()
    figure.canvas.draw()
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "rate of one step of SGD",
        "eigenvalue of the Gauss-Newton matrix of the loss",
        "share of the first fall of the loss, step of SGD (%)",
        *["weight layer"] * 3,
    ]
    pyplot.close(figure)
    text = str(page)
    assert text.startswith("module ") and "share of each layer" in text and "4.conv1" in text
    json.dumps(page.to_dict())
    page.save(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10000


def test_layers_beside_their_theory(torch):
    nn = torch.nn
    torch.manual_seed(0)
    layers = [part for _ in range(9) for part in (nn.Linear(100, 100), nn.Tanh())]
    module = nn.Sequential(nn.Linear(30, 100), nn.Tanh(), *layers, nn.Linear(100, 5))
    batch = torch.randn(20, 30), torch.arange(20) % 5
    loss, sgd = torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=0.1)
    page = mp.report(module, batch, loss, sgd)
    text = " ".join(str(page).split())
    assert page.layers.names == page.theory.names == ("0", *map(str, range(2, 21, 2)))
    inner = slice(0, -1)  # the last one has five units
    np.testing.assert_allclose(page.layers.variance[inner], page.theory.variance[inner], rtol=0.3)
    np.testing.assert_allclose(page.layers.correlation, page.theory.correlation, atol=0.1)
    np.testing.assert_allclose(page.layers.gradient, page.theory.gradient, rtol=0.6)
    for words in (
        "The outputs are nearly the same for every input",
        "Gradients vanish: squared, those at `0` are",
        "as PyTorch's default initialisation (11 of 11 layers); gradients keep their size at 1.76",
        "behind each weight layer, this module (theory of fresh draws)",
    ):
        assert words in text
    figure = page.figure()
    below = {ax.get_ylabel(): ax for ax in figure.axes}
    assert len(below["correlation of two inputs"].lines) == 2  # points and line
    np.testing.assert_array_equal(below["variance"].lines[0].get_ydata(), page.layers.variance)
    pyplot.close(figure)
    mp.initialise_(module, "critical", batch[0], rng=0)
    again = str(mp.report(module, batch, loss, sgd))
    assert "Gradients vanish" not in again and "nearly the same" not in again


def test_layers_without_theory_are_shown_alone(torch):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(8, 20), nn.Softmax(1), nn.Linear(20, 3))
    batch, sgd = (torch.randn(10, 8), torch.arange(10) % 3), torch.optim.SGD(module.parameters(), lr=0.1)
    page = mp.report(module, batch, torch.nn.CrossEntropyLoss(), sgd)
    assert page.theory is None and page.layers.names == ("0", "2") and "`1` (softmax)" in page.answer.no_theory
    assert "theory       None: `1` (softmax)" in str(page)
    pyplot.close(page.figure())


def test_class_weights_and_outputs_of_any_shape_have_spectra(torch):
    module, batch = problem(torch)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0, 0.2]))
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    page = mp.report(module, batch, loss, sgd)
    assert page.spectrum.largest == pytest.approx(2 / page.answer.stable, rel=1e-3)
    torch.manual_seed(0)
    words = torch_networks.causal_transformer(torch, 5, 6, 4)
    batch = torch.randint(5, (6, 4)), torch.randint(5, (6, 4))
    page = mp.report(words, batch, torch.nn.CrossEntropyLoss(), torch.optim.SGD(words.parameters(), lr=0.1))
    assert page.spectrum.largest == pytest.approx(2 / page.answer.stable, rel=1e-3)


def test_without_a_gauss_newton_matrix_the_report_says_so(torch):
    module, (X, _) = problem(torch)
    batch = X, torch.randn(12, 3)
    page = mp.report(module, batch, torch.nn.L1Loss(), torch.optim.SGD(module.parameters(), lr=0.1))
    assert page.spectrum is None and "no curvature" in page.no_spectrum and "spectrum     None" in str(page)
    figure = page.figure()
    figure.canvas.draw()
    pyplot.close(figure)


def test_the_page_of_the_documentation_is_true(torch):
    page = Path(__file__).parent.parent / "docs" / "pytorch.md"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert found.attempted > 8 and found.failed == 0


def test_the_example_of_the_readme_runs(torch, tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    first, second = (code for code in blocks if "mp.report(" in code or "mp.compare(" in code)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    exec(compile(second, "README.md", "exec"), names)
    assert names["answer"].warmup_steps >= 1 and names["net"].names == ("0", "2", "4")
    assert (tmp_path / "report.html").stat().st_size > 10000


def test_suffixes(torch, tmp_path):
    module, batch = problem(torch)
    given = module, batch, torch.nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"`path` must end in .png, .pdf, .svg, .html"):
        mp.report(*given, tmp_path / "report.txt")
    with pytest.raises(TypeError, match="`path` must be a path"):
        mp.report(*given, 3)


def test_help_shows_an_example_that_runs(torch, capsys, models):
    with pytest.raises(SystemExit) as stop:
        cli.main(["torch", "--help"])
    assert stop.value.code == 0
    example = re.search(r"example:\n  mfdnn torch (.*)$", capsys.readouterr().out, re.M)[1]
    (models / "models.py").write_text(FACTORIES.replace("48", "3072"))
    code, out, err = run(capsys, *shlex.split(example))
    assert code == 0, err
    assert out.startswith("module ") and (models / "report.html").stat().st_size > 10000


def test_json_is_what_python_returns(torch, capsys, models):
    options = ["--optimizer", "sgd", "--lr", "0.2", "--momentum", "0.5", "--json"]
    code, out, _ = run(capsys, "my_models:with_batch", *options)
    assert code == 0
    torch.manual_seed(0)
    import my_models

    module, batch = my_models.with_batch()
    sgd = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.5)
    answer = mp.learning_rate(module, batch, torch.nn.CrossEntropyLoss(), sgd)
    data = json.loads(out)
    assert data["rate"] == float(answer) and data["stable"] == answer.stable and data["passes"] == answer.passes


def test_losses_optimisers_tokens_and_tables(torch, capsys, models):
    code, out, err = run(capsys, "my_models:make", "--input", "8x3x4x4", "--loss", "mse", "--optimizer", "SGD")
    assert code == 0 and "on MSELoss" in out, err
    options = ["--input", "6x5", "--tokens", "7", "--select", "0", "-o", "line.csv"]
    code, out, err = run(capsys, "my_models:Words", *options)
    assert code == 0 and "AdamW" in out, err
    assert (models / "line.csv").read_text().startswith("rate,loss\n0.0,")
    code, out, err = run(capsys, "my_models:make", "--input", "8x3x4x4", "--parts", "critical", "--loss", "HuberLoss")
    assert code == 0 and "first step" not in out and "HuberLoss" in out, err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["my_models"], "`FACTORY` must be package.module:function, got 'my_models'"),
        (["my_models:nothing"], "AttributeError: module 'my_models' has no attribute 'nothing'"),
        (["no_such_file:make"], "ModuleNotFoundError"),
        (["my_models:fails"], "RuntimeError: no weights here"),
        (["my_models:number"], "must return a torch.nn.Module, or a module and (X, Y), got a int"),
        (["my_models:make"], "`--input` must be given"),
        (["my_models:with_batch", "--input", "2x3"], "`--input` does not go with 'my_models:with_batch'"),
        (["my_models:make", "--input", "8x3x4x4", "--loss", "cros_entropy"], "did you mean cross_entropy"),
        (["my_models:make", "--input", "8x3x4x4", "--optimizer", "adamm"], "did you mean adam"),
        (["my_models:make", "--input", "8x3x4x4", "--momentum", "0.9"], "AdamW does not take --momentum 0.9"),
        (["my_models:make", "--input", "8x3x4x4", "--lr", "0"], "`--optimizer` has a rate of 0"),
        (["my_models:make", "--input", "8x3x4x4", "--parts", "critical,al"], "`--parts` must be one of"),
        (["my_models:make", "--input", "1x3x4x4"], "`--input` must hold at least two samples"),
        (["my_models:make", "--input", "8x3x4x4", "--parts", "stable", "-o", "a.png"], "`--parts` stable does not go"),
        (["my_models:make", "--input", "8x3x4x4", "--parts", "stable", "-o", "a.csv"], "add critical"),
        (["my_models:Words", "--input", "6x5", "--tokens", "7"], "select"),
        (["my_models:Words", "--input", "6x5", "--tokens", "0"], "`--tokens` must be >= 1"),
    ],
)
def test_bad_usage_says_what_to_do(torch, argv, words, capsys, models):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "") and err.startswith("mfdnn torch: ") and err.count("\n") == 1
    assert words in err


def test_shapes_are_told_apart_from_widths(torch, capsys, models):
    with pytest.raises(SystemExit) as stop:
        run(capsys, "my_models:make", "--input", "8-3")
    assert stop.value.code == 2 and "samples first, as 64x3x32x32" in capsys.readouterr().err
