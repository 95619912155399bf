"""The command line: every verb, its help example, its files, its exit codes."""

import csv
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

import mfdnn
from mfdnn import cli
from mfdnn.cli.parser import build_parser
from mfdnn.cli.words import NAMES, NETWORK, OTHERS, TRIALS

SIZES = ("checkpoint", "n_samples", "n_networks", "n_trials", "n_steps")
SMALL = ["20-24-24-2", "--samples", "12"]
VERBS = [
    "report",
    "phase-diagram",
    "critical-line",
    "order-parameters",
    "fisher",
    "learning-rate",
    "kernel",
    "jacobian",
    "width",
    "compare",
    "figure",
]


def run(capsys, *argv):
    code = cli.main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_that_runs(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    example = re.search(r"example:\n  mfdnn (.*)$", text, re.M)[1]
    argv = shlex.split(example)  # as pasted
    code, out, err = run(capsys, *argv)
    assert (code, err.count("Traceback")) == (0, 0), err
    assert out
    if "-o" in argv:
        assert (tmp_path / argv[argv.index("-o") + 1]).stat().st_size > 1000


@pytest.mark.parametrize("verb", ["order-parameters", "fisher", "learning-rate"])
def test_json_is_what_python_returns(verb, capsys):
    code, out, _ = run(capsys, verb, *SMALL, "--json", "--init", "he")
    assert code == 0
    data = json.loads(out)
    net = mfdnn.mlp([20, 24, 24, 2], "relu", init="he")
    if verb == "order-parameters":
        assert data["q"] == mfdnn.order_parameters(net).q.tolist()
    elif verb == "fisher":
        assert data["largest"] == mfdnn.fisher_statistics(net, n_samples=12).largest
    else:
        assert data["value"] == float(mfdnn.max_learning_rate(net, n_samples=12))


def test_learning_rate_with_confidence(capsys):
    argv = ["learning-rate", "50-100-100-2", "--samples", "30", "--confidence", "0.9"]
    code, out, err = run(capsys, *argv)
    rate = mfdnn.max_learning_rate(mfdnn.mlp([50, 100, 100, 2], "relu"), n_samples=30, confidence=0.9)
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()[1:4]  # the number to use leads
    assert first == f"{rate.safe:.6g}  safe for 95 % of the networks drawn at these widths, gradient descent"
    assert second == f"{rate.value:.6g}  for 90 % of them"
    assert third.startswith(f"{rate.typical:.6g}  largest stable learning rate at infinite width")
    assert rate.table() in out
    code, out, _ = run(capsys, *argv, "--json", "--loss", "cross_entropy")
    data = json.loads(out)
    assert (data["confidence"], data["lambda_quantile"]) == (0.9, rate.lambda_quantile)
    assert data["initial"] > data["value"]


def test_infinite_numbers_are_valid_json(capsys):
    code, out, _ = run(
        capsys,
        "phase-diagram",
        "--activation",
        "relu",
        "--sigma-w2",
        "1,2,3",
        "--sigma-b2",
        "0,0.1",
        "--json",
    )
    assert code == 0
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["xi_c"][1][0] == "inf" and data["q"][2][1] == "inf"


def test_critical_line(capsys):
    code, out, _ = run(capsys, "critical-line", "--activation", "tanh", "--sigma-b2", "0,0.05")
    assert code == 0
    # The exact critical point of tanh at sigma_b^2 = 0.05, solved in 30 digits (tests/reference_values.json says how).
    assert out.splitlines()[2].split() == ["0.05", "1.7609546"]


def test_critical_line_without_options_is_a_table_to_read(capsys, tmp_path):
    for name in ("tanh", "gelu", "cos"):
        code, out, _ = run(capsys, "critical-line", "--activation", name, "-o", str(tmp_path / "line.png"))
        lines = out.splitlines()
        rows = np.array([line.split()[:3] for line in lines[1:-2]], dtype=float)
        assert code == 0 and 5 < len(rows) < 25 and "--sigma-b2" in lines[-1]
        assert rows[:, 2].max() <= 0.5
        np.testing.assert_allclose(mfdnn.critical_line(name, rows[:, 0]).sigma_w2, rows[:, 1], rtol=1e-6)  # 8 digits
    _, out, _ = run(capsys, "critical-line", "--activation", "relu")
    assert out.split() == ["sigma_b2", "sigma_w2", "0", "2"]
    _, out, _ = run(capsys, "critical-line", "--activation", "sigmoid")  # it begins beyond usual bias variances
    assert len(out.splitlines()) > 5


def test_learning_rate_as_a_table(capsys, tmp_path):
    argv = ["learning-rate", *SMALL, "--loss", "torch_mse", "--momentum", "0.5", "-o", str(tmp_path / "rates.csv")]
    code, _, err = run(capsys, *argv)
    assert code == 0, err
    with (tmp_path / "rates.csv").open() as file:
        rows = list(csv.DictReader(file))
    lr = mfdnn.max_learning_rate(mfdnn.mlp([20, 24, 24, 2]), 12, loss="torch_mse", momentum=0.5)
    assert [list(row.values())[:3] for row in rows[:2]] == [
        ["torch_mse", "heavy-ball momentum 0.5", "95 % of draws"],
        ["torch_mse", "heavy-ball momentum 0.5", "infinite width"],
    ]
    assert [float(row["rate"]) for row in rows[:2]] == [lr.safe, lr.typical]
    assert {row["loss"] for row in rows} == {*mfdnn.learning_rate.LOSSES}
    code, _, _ = run(capsys, *argv[:-1], str(tmp_path / "rates.npz"))
    with np.load(tmp_path / "rates.npz") as arrays:
        assert code == 0 and arrays["rate"].tolist() == lr.limits()["rate"].tolist()


def test_suffixes_in_capitals(capsys, tmp_path):
    argv = ["phase-diagram", "--sigma-w2", "1,2", "--sigma-b2", "0", "-o", str(tmp_path / "X.NPZ")]
    assert run(capsys, *argv)[0] == 0
    assert mfdnn.PhaseDiagram.load(tmp_path / "X.NPZ").q.shape == (2, 1)


def test_report_page_and_picture(capsys, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = run(capsys, "report", *SMALL, "--networks", "3", "-o", str(page))
    assert code == 0, err
    for word in (
        "Network",
        "Phase",
        "Depth scales",
        "Order parameters",
        "mean eigenvalue",
        "Learning rate",
        "torch_mse_sum",
    ):
        assert word in out
    text = page.read_text()
    assert "data:image/png;base64," in text and "sigma_w^2" in text
    assert "nan" not in out


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".csv", ".npz", ".json"])
def test_files_by_suffix(suffix, capsys, tmp_path):
    path = tmp_path / f"diagram{suffix}"
    code, _, err = run(
        capsys, "phase-diagram", "--sigma-w2", "1:3:4", "--sigma-b2", "0:0.2:3", "-o", str(path)
    )
    assert code == 0, err
    expected = mfdnn.phase_diagram("tanh", np.linspace(1, 3, 4), np.linspace(0, 0.2, 3))
    if suffix == ".npz":
        assert np.array_equal(mfdnn.PhaseDiagram.load(path).q, expected.q)
    elif suffix == ".csv":
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert [float(row["q"]) for row in rows] == expected.q.ravel().tolist()
    elif suffix == ".json":
        assert json.loads(path.read_text())["q"] == expected.q.tolist()
    else:
        magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
        assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fisher", "20-24-2", "--activation", "rellu"], ["`--activation`", "did you mean relu"]),
        (["fisher", "20-24-2", "--activation", "leaky_relu(slop=0.2)"], ["`slop`", "slope"]),
        (["fisher", "20-24-2", "--activation", "nowhere:phi"], ["nowhere", "module:function"]),
        (["fisher", "20-24-2", "--sigma-w2", "-1"], ["`--sigma-w2`", ">= 0"]),
        (["fisher", "20-24-2", "--sigma-w2", "-1e3"], ["`--sigma-w2`", ">= 0, got -1000"]),
        (["phase-diagram", "--sigma-w2", "-1:2:10"], ["`--sigma-w2` is a variance and must be >= 0, got -1"]),
        (["fisher", "20-24-2", "--sigma-w2", "2", "--init", "he"], ["`--init` and `--sigma-w2` exclude each other"]),
        (["fisher", "20-24-2", "--samples", "0"], ["`--samples`", ">= 1"]),
        (["fisher", "20"], ["`WIDTHS`", "at least"]),
        (["fisher", "20-0-2"], ["`WIDTHS`", ">= 1"]),
        (["fisher", "20-24-2", "--data", "nowhere.npy"], ["nowhere.npy"]),
        (["fisher", "20-24-2", "--data", "digits"], ["64 features", "20"]),
        (["fisher", "20-24-2", "-o", "nowhere/out.json"], ["`-o`", "nowhere"]),
        (["fisher", "20-24-2", "-o", "out.png"], ["`-o`", ".json"]),
        (["learning-rate", "20-24-2", "--loss", "mse"], ["`--loss`", "did you mean half_mse"]),
        (["learning-rate", "20-24-2", "--momentum", "1"], ["`--momentum`"]),
        (["learning-rate", "20-24-2", "--confidence", "95"], ["`--confidence`", "(0, 1)", "got 95"]),
        (["learning-rate", "20-24-2", "--networks", "3"], ["`--networks`", "8 or more"]),
        (["learning-rate", "20-24-2", "--networks", "9", "--optimizer", "adam"], ["`--networks`", "adam"]),
        (["critical-line", "--activation", "relu", "--sigma-b2", "0.1"], ["single point", "pass 0"]),
        (["figure", "poole"], ["`NAME`", "poole2016"]),
        (["figure", "-o", "x.png"], ["`-o`", "--list"]),
        (["learning-rate", "20-24-1", "--loss", "cross_entropy"], ["`--loss`", "two outputs"]),
        (["report", "20-24-2", "--networks", "1"], ["`--networks`"]),
        (["compare", "20-24-2", "--dtype", "float16"], ["`--dtype`", "float32"]),
        (["fisher", "20-24-2", "--data", "nowhere.npy", "--c0", "0"], ["`--c0`", "drop it"]),
        (["fisher", "20-24-2", "--norm", "batchnorm"], ["`--norm`", "did you mean batch_norm"]),
        (
            ["fisher", "20-24-2", "--norm", "batch_norm", "--norm-at", "first"],
            ["`--norm-at`", "hidden, after, last"],
        ),
        (["fisher", "20-24-2", "--norm-at", "last"], ["`--norm-at`", "needs --norm"]),
        (["fisher", "20-2", "--norm", "batch_norm"], ["`--norm-at`", "hidden layer", "last"]),
        (["fisher", "20-24-2", "--norm", "batch_norm", "--blocks", "2"], ["`--norm`", "--blocks"]),
        (
            ["report", "20-24-2", "--norm", "batch_norm", "--samples", "1"],
            ["`--samples`", "batch norm", "got 1"],
        ),
        (
            ["report", "20-24-2", "--norm", "batch_norm", "--samples", "2"],
            ["`--samples`", "batch norm", "got 2"],
        ),
        (
            ["compare", "20-24-2", "--norm", "batch_norm", "--samples", "2"],
            ["`--samples`", "batch norm", "got 2"],
        ),
        (
            ["report", "20-24-2", "--norm", "layer_norm", "--norm-at", "last"],
            ["`LayerNorm`", "three units", "got 2"],
        ),
        (["report", "20-24-1", "--loss", "cross_entropy"], ["`--loss`", "two outputs or more, got 1"]),
        (["fisher", "20-24-1", "--softmax"], ["`--softmax` needs two outputs or more, got 1"]),
        (["compare", "20-24-1", "--softmax"], ["`--softmax` needs two outputs or more, got 1"]),
        (["compare", "20-24-3", "--geometry", "--softmax"], ["`--geometry`", "drop it"]),
        (["report", "20-24-2", "--data", "nowhere.csv"], ["nowhere.csv", "no file"]),
        (["report", "20-24-2", "--data", "digits"], ["64 features", "20"]),
        (["learning-rate", "20-24-2", "--nesterov"], ["`--nesterov`", "`--momentum` is 0", "drop"]),
        (["report", "20-24-2", "--nesterov"], ["`--nesterov`", "`--momentum` is 0"]),
        (["fisher", "20-24-2", "--activation", "sys:exit"], ["`--activation`", "SystemExit"]),
        (["figure", "poole2016-fig1", "--format", "jpg"], ["`--format`", "did you mean png"]),
        (["figure", "poole2016-fig1", "--folder", "/dev/null/figures"], ["`--folder`", "cannot be made"]),
        (["critical-line", "--q", "-1:2:3"], ["`--q` must be > 0, got -1"]),
        (["width", "--data", "digits"], ["`--data` must have rows of norm 1", "give --normalise"]),
        (["width", "--data", "digits", "--features", "10"], ["`--features`", "drop it"]),
        (["width", "--labels", "last"], ["`--labels` must be one of random"]),
        (["width", "--data", "nowhere.csv"], ["no file 'nowhere.csv'"]),
        (["width", "--features", "0"], ["number of features must be an integer >= 1"]),
        (["width", "--header"], ["`--header`", "name the file by --data"]),
        (["width", "--samples", "5", "--trained", "all"], ["`--trained`", "weights, both"]),
        (["width", "--samples", "5", "--kappa", "0"], ["`--kappa` must be > 0"]),
        (["width", "--samples", "5", "--eta", "9"], ["`--eta` must lie in", "got 9"]),
        (["width", "--samples", "5", "--delta", "1"], ["`--delta` is a probability"]),
        (["width", "--samples", "5", "--trials", "0"], ["`--trials`", ">= 1"]),
        (["width", "--samples", "5", "--steps", "0"], ["`--steps`", ">= 1"]),
        (["width", "--samples", "5", "--max-width", "0"], ["`--max-width`", ">= 1"]),
        (["width", "--samples", "5", "--features", "1"], ["`--data` must have no parallel rows", "remove one"]),
        (["sweep", "nowhere.toml"], ["`SPEC` 'nowhere.toml'", "TOML"]),
    ],
)
def test_bad_usage_says_what_to_do(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.startswith(f"mfdnn {argv[0]}: ") and err.count("\n") == 1
    for word in words:
        assert word in err
    assert not NAMES.keys() & set(re.findall(r"`(\w+)`", err))  # no names of Python where there are options
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fisher", "20-24-24-24-2", "--sigma-w2", "1e160"], ["infinite at weight layer", "lower"]),
        (
            ["compare", *SMALL, "--sigma-w2", "1e35", "--dtype", "float32"],
            ["overflow float32", "`--dtype` float64"],
        ),
        # What has no theory is no bad usage.
        (
            ["learning-rate", "20-24-2", "--weights", "orthogonal", "--confidence", "0.9"],
            ["orthogonal weights", "mfdnn.ensemble"],
        ),
        (
            ["fisher", "20-24-6", "--norm", "layer_norm", "--norm-at", "last", "--softmax"],
            ["`--softmax`", "layer norm"],
        ),
        (
            ["learning-rate", "20-12-2", "--norm", "batch_norm", "--confidence", "0.9"],
            ["batch norm over 12 units", "mfdnn.ensemble"],
        ),
        (["critical-line", "--activation", "softplus"], ["'softplus' has no edge of chaos", "use another"]),
        (["critical-line", "--activation", "softplus", "--sigma-b2", "0.1"], ["no edge of chaos", "use another"]),
        (["critical-line", "--activation", "step"], ["'step' jumps", "no edge of chaos"]),
        # A ValueError that is no complaint of the package about its arguments.
        (["order-parameters", "20-24-2", "--activation", "breaks_for_cli_test:broken"], ["gave up"]),
    ],
)
def test_a_computation_that_fails_exits_with_1(argv, words, capsys, tmp_path, monkeypatch):
    (tmp_path / "breaks_for_cli_test.py").write_text(
        "import numpy as np\n\ncalls = []\n\ndef broken(x):\n    calls.append(0)\n"
        "    if len(calls) > 3:\n        raise ValueError('gave up')\n    return np.tanh(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert err.startswith(f"mfdnn {argv[0]}: ") and "Traceback" not in err
    for word in words:
        assert word in err


# What the parser refuses, which ends the program, and what it says.
NOT_PARSED = [
    ([], ["mfdnn: ", "VERB"]),
    (["fly"], ["`VERB` must be one of report, ", "got 'fly'"]),
    (["fishr", "20-24-2"], ["did you mean fisher"]),
    (["phase_diagram"], ["did you mean phase-diagram"]),
    (["fisher", "20-24-2", "--sigma_w2", "2"], ["mfdnn fisher: `--sigma_w2` is no option", "did you mean --sigma-w2"]),
    (["fisher", "--activaton", "tanh", "20-24-2"], ["did you mean --activation"]),
    (["fisher", "20-24-2", "-x"], ["`-x` is no option of fisher"]),
    (["fisher", "20", "24", "2"], ["`24 2` does not belong here", "784-1000-10"]),
    (["critical-line", "tanh"], ["`tanh` does not belong here"]),
    (["fisher", "20-x-2"], ["`WIDTHS` must be widths such as", "got '20-x-2'"]),
    (
        ["fisher", "28x28-100-10"],
        ["`WIDTHS` begins with 28x28", "pixels are written 784-100-10", "28 layers of 28 units 28-28x27-100-10"],
    ),
    (["fisher", "20-24x0-2"], ["`WIDTHS` must repeat a width", "24x0"]),
    (["fisher", "20-24x1000000000000-2"], ["`WIDTHS` must repeat a width"]),
    (["fisher", "20-24-2", "--samples", "many"], ["`--samples` must be a whole number", "got 'many'"]),
    (["fisher", "20-24-2", "--samples", "1e3"], ["`--samples` must be a whole number", "got '1e3'"]),
    (["fisher", "20-24-2", "--sigma-w2", "nan"], ["`--sigma-w2` must be a finite number", "got 'nan'"]),
    (["fisher", "20-24-2", "--q0", "1e400"], ["`--q0` must be a finite number"]),
    (["learning-rate", "20-24-2", "--confidence"], ["`--confidence` needs a value"]),
    (["compare", "20-24-2", "--seed", "-1"], ["`--seed` must be a whole number >= 0, got '-1'"]),
    (["phase-diagram", "--sigma-w2", "1:2"], ["`--sigma-w2` must be start:stop:points", "got '1:2'"]),
    (["phase-diagram", "--sigma-w2", "1:2:0"], ["`--sigma-w2` must have 1 to 1000000 points"]),
    (["phase-diagram", "--sigma-w2", "1:2:1000000000000"], ["must have 1 to 1000000 points"]),
    (["phase-diagram", "--sigma-w2", "1:inf:3"], ["`--sigma-w2` must be of finite numbers"]),
    (["critical-line", "--q", "1", "--sigma-b2", "2"], ["`--sigma-b2` does not go with --q"]),
    (["sweep"], ["SPEC"]),
]


@pytest.mark.parametrize(("argv", "words"), NOT_PARSED)
def test_what_is_not_parsed_gets_a_sentence(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err
    assert err.endswith(" --help`.\n")


def test_numbers_may_be_negative(capsys):
    _, out, _ = run(capsys, "fisher", *SMALL, "--c0", "-1e-3", "--json")
    assert json.loads(out)["largest"] == mfdnn.fisher_statistics(mfdnn.mlp([20, 24, 24, 2]), 12, c0=-1e-3).largest


@pytest.mark.parametrize("name", [*NETWORK, *OTHERS, *TRIALS, *SIZES, "X", "rng"])
def test_options_that_messages_name_exist(name):
    _, parsers = build_parser()
    option = NAMES[name].strip("`")
    assert any(option in parser.format_help() for parser in parsers.values())


def test_what_a_file_describes_keeps_its_names(capsys, tmp_path):
    network = mfdnn.mlp([20, 24, 2]).to_dict()
    network["layers"][0]["sigma_w2"] = -1.0
    (tmp_path / "net.json").write_text(json.dumps(network))
    code, _, err = run(capsys, "fisher", "--arch", str(tmp_path / "net.json"))
    assert code == 2 and "net.json: `sigma_w2` is a variance" in err


def test_large_inputs_are_to_be_standardised(capsys, tmp_path):
    X = np.random.default_rng(0).standard_normal((6, 20))
    for scale in (2e3, 1e200):
        np.save(tmp_path / "x.npy", scale * X)
        code, _, err = run(
            capsys, "order-parameters", "20-24-2", "--activation", "tanh", "--data", str(tmp_path / "x.npy")
        )
        assert code == 1 and "`--data`" in err and "standardise them" in err and "sigma-w2" not in err
    code, _, err = run(capsys, "fisher", "20-24-2", "--q0", "1e200")
    assert code == 1 and err.count("\n") == 1 and "lower `--q0`" in err


def test_what_does_not_fit_into_memory_fails_at_once(capsys):
    # 2.5e13 parameters take 182 TiB; the answer comes before anything is drawn.
    code, _, err = run(capsys, "compare", "5000000-5000000-10", "--networks", "2")
    assert code == 1
    assert "GiB" in err and "narrower" in err


def test_nan_in_data_is_found_before_the_work(capsys, tmp_path):
    X = np.ones((4, 20))
    X[2, 3] = np.nan
    np.save(tmp_path / "x.npy", X)
    code, _, err = run(capsys, "fisher", "20-24-2", "--data", str(tmp_path / "x.npy"), "--samples", "4")
    assert code == 2
    assert "nan" in err


def test_ctrl_c_exits_with_130(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mfdnn.phase.phase_diagram", interrupt)
    code, _, err = run(capsys, "phase-diagram")
    assert (code, err) == (130, "mfdnn: interrupted\n")


def test_own_activation_from_a_module(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine_for_cli_test.py").write_text(
        "import numpy as np\n\ndef bent(x):\n    return np.maximum(x, -0.5)\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, err = run(
        capsys, "order-parameters", "20-24-2", "--activation", "mine_for_cli_test:bent", "--json"
    )
    assert code == 0, err
    expected = mfdnn.order_parameters(mfdnn.mlp([20, 24, 2], mfdnn.activation("shifted_relu", shift=0.5)))
    np.testing.assert_allclose(
        json.loads(out)["q"], expected.q, rtol=1e-12
    )  # the same function, described twice


def test_single_precision(capsys):
    argv = ["compare", *SMALL, "--networks", "2", "--json"]
    (_, double, _), (_, single, _) = run(capsys, *argv), run(capsys, *argv, "--dtype", "float32")
    net = mfdnn.mlp([20, 24, 24, 2])
    expected = mfdnn.compare(net, 12, 2, rng=0, dtype="float32")
    assert json.loads(single)["rows"] == expected.to_dict()["rows"] != json.loads(double)["rows"]


def test_no_progress_bar_without_a_terminal(capsys):
    code, _, err = run(capsys, "compare", *SMALL, "--networks", "2")
    assert (code, err) == (0, "")


def test_console_script_and_module_agree():
    for command in (["-m", "mfdnn.cli"], ["-c", "import sys; from mfdnn.cli import main; sys.exit(main())"]):
        done = subprocess.run(
            [sys.executable, *command, "critical-line", "--sigma-b2", "0.05", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout)["sigma_b2"] == [0.05]
        assert done.stderr == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"mfdnn {mfdnn.__version__}\n"


def test_an_interrupted_comparison_resumes(capsys, tmp_path, monkeypatch):
    argv = ["compare", *SMALL, "--networks", "4", "--checkpoint", str(tmp_path / "done.npz"), "--json"]
    from mfdnn.ensembles import statistics

    measure, calls = statistics._measure, []

    def interrupted(seed, **keywords):
        calls.append(seed.spawn_key[-1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(seed, **keywords)

    monkeypatch.setattr(statistics, "n_cores", lambda: 1)  # one after the other, so that two are finished
    monkeypatch.setattr(statistics, "_measure", interrupted)
    assert run(capsys, *argv)[0] == 130
    assert (tmp_path / "done.npz").exists()
    code, resumed, _ = run(capsys, *argv)
    assert code == 0
    assert (calls.count(0), calls.count(1)) == (1, 1)  # what was finished is not computed again
    monkeypatch.undo()
    code, whole, _ = run(capsys, *argv[:-3], "--json")
    assert resumed == whole


def simulated(rows):
    return {row["quantity"]: (row["theory"], row["predicted"], row["simulation"]) for row in rows}


def test_normalisations_from_the_command_line(capsys):
    dense = [mfdnn.Dense(n, 2.0) for n in (24, 24, 6)]
    phi, norm = mfdnn.Pointwise("relu"), mfdnn.LayerNorm()
    places = {
        "hidden": [dense[0], norm, phi, dense[1], norm, phi, dense[2]],
        "after": [dense[0], phi, norm, dense[1], phi, norm, dense[2]],
        "last": [dense[0], phi, dense[1], phi, dense[2], norm],
    }
    for place, layers in places.items():
        at = [] if place == "hidden" else ["--norm-at", place]
        argv = ["20-24-24-6", "--samples", "12", "--norm", "layer_norm", *at, "--json"]
        net = mfdnn.Network(20, layers)
        _, out, _ = run(capsys, "fisher", *argv)
        assert json.loads(out)["largest"] == mfdnn.fisher_statistics(net, n_samples=12).largest
        _, out, _ = run(capsys, "order-parameters", *argv)
        assert json.loads(out)["q_tilde"] == mfdnn.order_parameters(net).q_tilde.tolist()
        _, out, _ = run(capsys, "learning-rate", *argv)
        assert json.loads(out)["value"] == float(mfdnn.max_learning_rate(net, n_samples=12))
        _, out, _ = run(capsys, "compare", *argv, "--networks", "2")
        assert simulated(json.loads(out)["rows"]) == simulated(
            mfdnn.compare(net, 12, 2, rng=0).to_dict()["rows"]
        )
    _, out, _ = run(capsys, "fisher", "20-24-24-1", "--norm", "mean_subtraction", "--norm-at", "last")
    assert "lower (c_1 = 0)" in out and "upper (c_2 = 0)" in out


def test_softmax_from_the_command_line(capsys, tmp_path):
    net = mfdnn.mlp([20, 24, 24, 3])
    argv = ["20-24-24-3", "--samples", "12", "--softmax"]
    _, out, _ = run(capsys, "fisher", *argv, "--json")
    assert json.loads(out)["largest"] == mfdnn.fisher_statistics(net, 12, output="softmax").largest
    code, out, _ = run(capsys, "fisher", *argv, "-o", str(tmp_path / "outliers.csv"))
    assert code == 0 and "it is the one to use before training" in out
    assert len((tmp_path / "outliers.csv").read_text().splitlines()) == 3  # C - 1 below the head
    _, out, _ = run(capsys, "compare", *argv, "--networks", "2", "--json")
    expected = mfdnn.compare(net, 12, 2, rng=0, output="softmax").to_dict()["rows"]
    assert simulated(json.loads(out)["rows"]) == simulated(expected)


def test_inputs_of_ones_own(capsys, tmp_path):
    X = np.random.default_rng(0).standard_normal((6, 20))
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", X=X, y=np.arange(6))
    np.savetxt(tmp_path / "x.csv", X, delimiter=",", header=",".join(f"f{i}" for i in range(20)), comments="")
    np.savetxt(tmp_path / "bare.csv", X, delimiter=",")
    expected = mfdnn.fisher_statistics(mfdnn.mlp([20, 24, 2]), inputs=X).largest
    for name in ("x.npy", "x.npz", "x.csv", "bare.csv"):
        code, out, err = run(capsys, "fisher", "20-24-2", "--data", str(tmp_path / name), "--json")
        assert code == 0, err  # fewer rows than the default number of samples
        assert json.loads(out)["largest"] == pytest.approx(expected, rel=1e-12)
    code, out, _ = run(capsys, "report", "20-24-2", "--data", str(tmp_path / "x.csv"), "--networks", "2")
    assert code == 0 and "6 given samples" in out
    code, _, err = run(capsys, "fisher", "7-24-2", "--data", str(tmp_path / "x.csv"))
    assert code == 2 and "20 features but the network takes 7" in err
    code, _, err = run(capsys, "fisher", "20-24-2", "--data", str(tmp_path / "x.npy"), "--samples", "7")
    assert code == 2 and "holds 6 rows" in err
    (tmp_path / "words.csv").write_text("a,b\n1,two\n")
    code, _, err = run(capsys, "fisher", "2-24-2", "--data", str(tmp_path / "words.csv"))
    assert code == 2 and "one input a line" in err
    for nothing in ("", "a,b\n", "a,b\n\n"):
        (tmp_path / "empty.csv").write_text(nothing)
        code, _, err = run(capsys, "fisher", "2-24-2", "--data", str(tmp_path / "empty.csv"))
        assert code == 2 and err.count("\n") == 1 and "has no line of them" in err
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    assert run(capsys, "fisher", "2-24-2", "--data", str(tmp_path / "ragged.csv"))[0] == 2


def test_compare_of_the_geometry(capsys):
    _, out, _ = run(
        capsys, "compare", "20-24-24-1", "--samples", "12", "--networks", "3", "--geometry", "--json"
    )
    quantities = {row["quantity"] for row in json.loads(out)["rows"]}
    assert {"feature_mean", "ntk_outlier_mean", "squared_fisher_rao_norm"} <= quantities


def test_singular_values_of_a_jacobian(capsys, tmp_path):
    argv = ["jacobian", "40-40x8", "--activation", "tanh"]
    init = mfdnn.isometric_init("tanh", 7, 0.1)
    net = mfdnn.mlp([40] * 9, "tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal")
    found = mfdnn.jacobian_spectrum(net, q0=init.q0)
    isometric = [*argv, "--isometric", "0.1"]
    code, out, _ = run(capsys, *isometric, "-o", str(tmp_path / "jacobian.csv"))
    assert code == 0 and f"{init.sigma_w2:.10g}" in out and f"{found.edges[1]:.8g}" in out
    with (tmp_path / "jacobian.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["density"]) for row in rows] == found.density.tolist()
    median = float(next(line.split()[1] for line in out.splitlines() if line.split()[:1] == ["0.5"]))
    assert found.cdf(median) == pytest.approx(0.5, abs=0.01)  # places are to 0.9 per cent
    _, out, _ = run(capsys, *isometric, "--networks", "2", "--json")
    values = np.array(json.loads(out)["singular_values"])
    # 80 values of relative variance 0.1; those of two networks repel each other and scatter less.
    assert values.size == 80 and np.mean(values**2) == pytest.approx(found.mean, rel=4 * 0.1**0.5 / 80**0.5)
    code, _, err = run(capsys, *isometric, "--weights", "gaussian")
    assert code == 2 and "leave out --weights" in err and err.count("\n") == 1
    code, _, err = run(capsys, "jacobian", "40-40-40", "--activation", "relu", "--isometric", "0.1")
    assert code == 1 and "phi(x + 0.25) - phi(0.25) can" in err
    code, _, err = run(capsys, "jacobian", "40-10", "--isometric", "0.1")
    assert code == 2 and "give WIDTHS with a hidden layer" in err


def test_kernel_of_a_data_file(capsys, tmp_path):
    X = np.random.default_rng(0).standard_normal((14, 20))
    X[9] = 2 * X[3]  # the same to relu without biases
    np.save(tmp_path / "x.npy", X)
    argv = ["kernel", "20-24-24-2", "--data", str(tmp_path / "x.npy")]
    net = mfdnn.mlp([20, 24, 24, 2])
    found = mfdnn.kernel_spectrum(net, inputs=X)
    _, out, _ = run(capsys, *argv, "--loss", "torch_mse", "--momentum", "0.9", "--weight-decay", "2", "--json")
    data = json.loads(out)
    assert data["eigenvalues"] == found.eigenvalues.tolist() and data["condition"] == found.condition
    limit = mfdnn.max_learning_rate(net, inputs=X, loss="torch_mse", momentum=0.9, weight_decay=2)
    assert data["max_learning_rate"] == pytest.approx(limit.value, rel=1e-10)
    code, out, _ = run(capsys, *argv, "--kernel", "nngp", "--k", "3", "-o", str(tmp_path / "kernel.csv"))
    gaussian = mfdnn.kernel_spectrum(net, inputs=X, kernel="nngp", k=3)
    assert code == 0 and "inputs (3, 9) are the same" in out and "rate  " not in out
    with (tmp_path / "kernel.csv").open() as file:
        assert [float(row["eigenvalue"]) for row in csv.DictReader(file)] == gaussian.eigenvalues.tolist()
    _, out, _ = run(capsys, *argv, "--subsets", "4,10", "--json")
    assert json.loads(out)["standard_error"] == mfdnn.kernel_spectrum(net, inputs=X, subsets=(4, 10)).standard_error
    for said in (["--kernel", "gp"], ["--parameterisation", "mu"], ["--k", "15"], ["--loss", "cross_entropy"]):
        code, _, err = run(capsys, *argv, *said)
        assert code == 2 and err.startswith(f"mfdnn kernel: `{said[0]}` must be") and err.count("\n") == 1
    code, _, err = run(capsys, *argv, "--subsets", "4,15")
    assert code == 2 and "`--subsets` must be of at most 14 inputs" in err


def test_learning_rate_leads_with_the_safe_one(capsys):
    _, out, _ = run(capsys, "learning-rate", *SMALL, "--init", "he")
    lr = mfdnn.max_learning_rate(mfdnn.mlp([20, 24, 24, 2], "relu", init="he"), n_samples=12)
    assert out.splitlines()[1].startswith(f"{lr.safe:.6g}  safe for 95 %") and lr.safe < lr.value
    assert f"monotone below {lr.value:.4g} at infinite width" in out
    _, out, _ = run(capsys, "learning-rate", *SMALL, "--init", "he", "--json")
    assert list(json.loads(out))[:3] == ["network", "safe", "value"]
    assert (json.loads(out)["safe"], json.loads(out)["value"]) == (lr.safe, lr.value)
    _, out, _ = run(capsys, "learning-rate", *SMALL, "--norm", "batch_norm", "--momentum", "0.9")
    assert out.splitlines()[1].startswith("no rate known to be safe for 95 %") and "stable below" in out


def test_learning_rate_of_networks_that_are_drawn(capsys):
    argv = ["learning-rate", "20-24-24-2", "--samples", "12", "--activation", "tanh", "--sigma-b2", "0"]
    _, out, _ = run(capsys, *argv)
    assert out.splitlines()[2] == "--networks 400 measures one."
    _, out, _ = run(capsys, *argv, "--networks", "12", "--seed", "3")
    net = mfdnn.mlp([20, 24, 24, 2], "tanh", sigma_b2=0.0)
    drawn = mfdnn.ensemble(net, 12, 12, rng=3)
    lr = mfdnn.max_learning_rate(net, 12, confidence=0.95, networks=drawn)
    line = f"{lr.value:.6g} +- {lr.standard_error['value']:.2g}  for 95 %, measured on 12 networks"
    assert out.splitlines()[2] == line
    assert "know it to 3%" in out


def test_learning_rate_of_other_optimisers_is_that_of_their_first_step(capsys, tmp_path):
    argv = ["learning-rate", *SMALL, "--init", "he", "--optimizer", "adamw", "--loss", "cross_entropy"]
    net = mfdnn.mlp([20, 24, 24, 2], "relu", init="he")
    lr = mfdnn.max_learning_rate(net, n_samples=12, loss="cross_entropy", optimizer="adamw")
    code, out, _ = run(capsys, *argv)
    lines = out.splitlines()
    assert code == 0 and lines[1].startswith(f"{lr.safe:.6g}  below the critical rates of 95 %")
    assert lines[2].startswith(f"{lr.value:.6g}  critical rate of the first step")
    assert f"moves outputs by {lr.value * lr.first_step.response:.4g}" in out and lr.caution in out
    _, out, _ = run(capsys, *argv, "--json", "--confidence", "0.9")
    data = json.loads(out)
    assert data["notion"] == "first step" and data["value"] == lr.first_step.quantile(0.1) and data["safe"] == lr.safe
    code, out, _ = run(capsys, *argv, "-o", str(tmp_path / "rates.csv"))
    assert code == 0 and "50 % of draws" in (tmp_path / "rates.csv").read_text()
    _, out, _ = run(capsys, "learning-rate", "20-24-24-2", "--optimizer", "lion", "--json")
    assert json.loads(out)["n_samples"] == 100
    for wrong, words in (("adamW", "`--optimizer` must be one of"), ("adam", "`--momentum` is no setting of")):
        code, _, err = run(capsys, "learning-rate", *SMALL, "--optimizer", wrong, "--momentum", "0.9")
        assert code == 2 and words in err
    code, _, err = run(capsys, "learning-rate", *SMALL, "--optimizer", "muon", "--norm", "layer_norm")
    assert code == 1 and "first step" in err


def test_width_is_what_python_returns(capsys, tmp_path):
    rows = np.random.default_rng(0).standard_normal((20, 6))
    np.savetxt(tmp_path / "table.csv", rows, delimiter=",", header="a,b,c,d,e,y", comments="")
    argv = ["width", "--data", str(tmp_path / "table.csv"), "--normalise", "--seed", "3", "--trials", "5"]
    X = rows[:, :5] / np.linalg.norm(rows[:, :5], axis=1, keepdims=True)
    expected = mfdnn.comparison.required_width_measured(X, rows[:, 5], n_trials=5, rng=3)
    code, out, err = run(capsys, *argv, "--labels", "last", "--json", "-o", str(tmp_path / "widths.csv"))
    assert code == 0, err
    data = json.loads(out)
    assert (data["width"], data["shares"]) == (expected.width, expected.shares.tolist())
    assert data["sources"] == expected.theory.sources and data["lambda_0"] == expected.theory.lambda_0
    with (tmp_path / "widths.csv").open() as file:
        table = {row["theorem"]: row for row in csv.DictReader(file)}
    assert float(table.pop("measured")["width"]) == expected.width
    assert {name: float(row["width"]) for name, row in table.items()} == expected.demanded
    assert table["Huang & Yau 2020"]["formula"] == "n^3"
    code, out, _ = run(capsys, *argv, "--labels", "last")
    assert code == 0 and str(expected) in out and "not read in print" in out
    code, first, _ = run(capsys, *argv, "--labels", "first", "--json")
    assert code == 0 and json.loads(first)["lambda_0"] != expected.theory.lambda_0


def test_width_of_inputs_that_are_made_here(capsys):
    argv = ["width", "--samples", "12", "--trials", "2", "--steps", "5", "--json"]
    code, out, err = run(capsys, *argv, "--features", "7", "--seed", "1")
    X = mfdnn.datasets.gaussian_inputs(12, 7, rng=1)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    assert code == 0, err
    assert json.loads(out)["lambda_0"] == mfdnn.two_layer_theory(X, np.ones(12)).lambda_0
    code, out, err = run(capsys, *argv, "--data", "digits", "--normalise", "--seed", "1")
    X, y = mfdnn.datasets.digits(12, rng=1)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    theory = mfdnn.two_layer_theory(X, np.where(y < 5, 1.0, -1.0))
    assert code == 0, err
    assert json.loads(out)["generalisation_measure"] == pytest.approx(theory.generalisation(), rel=1e-9)


def test_width_of_a_set_of_openml_has_its_classes(capsys, monkeypatch, tmp_path):
    X, y = mfdnn.datasets.gaussian_inputs(12, 7, rng=1), np.arange(12) % 10
    monkeypatch.setattr(mfdnn.datasets, "openml", lambda name, n_samples, rng: (X[:n_samples], y[:n_samples]))
    argv = ["width", "--data", "mnist", "--normalise", "--samples", "12", "--trials", "2", "--json"]
    argv += ["--checkpoint", str(tmp_path / "trials.npz")]
    code, out, err = run(capsys, *argv)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    expected = mfdnn.comparison.required_width_measured(unit, np.where(y < 5, 1.0, -1.0), n_trials=2, rng=0)
    assert code == 0, err
    assert json.loads(out)["shares"] == expected.shares.tolist()
    assert json.loads(out)["generalisation_measure"] == expected.theory.generalisation()
    assert run(capsys, *argv) == (0, out, err)  # from the checkpoint


def test_width_needs_to_know_the_labels(capsys, tmp_path):
    rows = np.random.default_rng(0).standard_normal((6, 3))
    for name, labels, words in (
        ("table", [], ["`--labels` must be given", "first or last", "random"]),
        ("table", ["--labels", "classes"], ["`--labels` must be one of first, last, random"]),
        ("narrow", ["--labels", "last"], ["`--data`", "beside the labels"]),
        ("zeros", ["--labels", "last", "--normalise"], ["`--data` must have no input of zeros, got row 2"]),
    ):
        shown = rows[:, :1] if name == "narrow" else rows * (np.arange(6) != 2)[:, None] if name == "zeros" else rows
        np.save(tmp_path / f"{name}.npy", shown)
        code, out, err = run(capsys, "width", "--data", str(tmp_path / f"{name}.npy"), *labels)
        assert (code, out) == (2, "") and err.count("\n") == 1
        for word in words:
            assert word in err
