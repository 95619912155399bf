"""Inputs: moments within their standard errors, and every fault of a file named."""

import hashlib
import io
import json
import sys
from urllib.error import HTTPError, URLError

import numpy as np
import pytest

from mfdnn import datasets
from mfdnn._support import memory as _memory
from mfdnn.architectures import mlp
from mfdnn.datasets import digits, gaussian_inputs, load_inputs, openml
from mfdnn.fisher import fisher_statistics


@pytest.mark.parametrize(("q0", "c0"), [(1.0, 0.0), (2.5, 0.4), (0.3, 1.0), (1.5, -0.1)])
def test_gaussian_inputs_have_the_moments_asked_for(q0, c0):
    M = 200_000
    X = gaussian_inputs(4, M, q0=q0, c0=c0, rng=0)
    gram = X @ X.T / M
    expected = q0 * (c0 + (1 - c0) * np.eye(4))
    # A mean of M products of unit Gaussians has standard error at most sqrt(2/M); five of them.
    assert np.abs(gram - expected).max() < 5 * q0 * np.sqrt(2 / M)


def test_the_lowest_correlation_is_a_regular_simplex():
    X = gaussian_inputs(3, 1000, c0=-0.5, rng=0)
    assert np.abs(X.sum(axis=0)).max() < 1e-12  # rounding: three inputs at 120 degrees add up to zero


def test_the_lowest_correlation_of_many_inputs_survives_rounding():
    for n_samples in (4, 7, 50, 98):
        c0 = -1 / (n_samples - 1) * (1 + 1e-15)
        X = gaussian_inputs(n_samples, 20, c0=c0, rng=0)
        assert np.abs(X.sum(axis=0)).max() < 1e-6  # the root of a rounding error, at most
        fisher_statistics(mlp([20, 20, 1], "relu"), n_samples, c0=c0)  # agrees on what is possible


@pytest.mark.parametrize("c0", [-1.0, -0.5, 0.5, 1.0])
def test_one_input_has_no_correlation(c0):
    assert np.array_equal(gaussian_inputs(1, 50, 2.0, c0, rng=0), gaussian_inputs(1, 50, 2.0, rng=0))


def test_identical_inputs_at_correlation_one():
    X = gaussian_inputs(3, 50, c0=1.0, rng=0)
    assert np.all(X == X[0])


def test_gaussian_inputs_are_reproducible_and_not_constant():
    assert np.array_equal(gaussian_inputs(5, 4, rng=3), gaussian_inputs(5, 4, rng=3))
    assert not np.array_equal(gaussian_inputs(5, 4, rng=3), gaussian_inputs(5, 4, rng=4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q0": -1.0}, "`q0` is a variance"),
        ({"c0": 1.5}, r"`c0` must be in \[-0.25, 1\]"),
        ({"c0": -0.3}, r"`c0` must be in \[-0.25, 1\]"),
        ({"c0": np.nan}, "`c0` must be finite"),
    ],
)
def test_gaussian_inputs_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaussian_inputs(5, 3, **arguments)


def test_gaussian_inputs_predict_their_memory():
    with pytest.raises(MemoryError, match="lower `n_samples`"):
        gaussian_inputs(10**8, 10**8)


def test_memory_that_a_container_has_taken_is_not_free(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "_CONTAINER", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory.available_memory() > 1e6
    (tmp_path / "memory.max").write_text("1000000\n")
    assert _memory.available_memory() == 1e6
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 200000\nactive_file 0\n")
    assert _memory.available_memory() == 5e5
    (tmp_path / "memory.current").write_text("1300000\n")
    assert _memory.available_memory() == 0.0


@pytest.mark.parametrize("standardise", [False, True])
def test_digits_have_mean_square_one(standardise):
    pytest.importorskip("sklearn")
    X, y = digits(standardise=standardise)
    assert X.shape == (1797, 64)
    assert sorted(set(y)) == list(range(10))
    assert np.mean(X**2) == pytest.approx(1.0, abs=1e-13)
    # Raw pixels are non-negative, so that two images overlap; standardised pixels have mean zero.
    assert (np.abs(X.mean(axis=0)).max() < 1e-13) == standardise


def test_digits_are_chosen_without_replacement_and_with_their_labels():
    pytest.importorskip("sklearn")
    X, y = digits()
    few, labels = digits(50, rng=1)
    found = [np.flatnonzero(np.all(X == row, axis=1))[0] for row in few]
    assert len(set(found)) == 50
    assert np.array_equal(labels, y[found])
    assert np.array_equal(few, digits(50, rng=1)[0])
    with pytest.raises(ValueError, match="`n_samples` must be at most 1797"):
        digits(2000)


def test_digits_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[data\]'"):
        digits(10)


# -- openml.org ------------------------------------------------------------------------------------------------

ARFF = "@RELATION tiny\n" + "".join(f"@ATTRIBUTE pixel{i} NUMERIC\n" for i in range(4))
ARFF += "@ATTRIBUTE class {b,a,c}\n@DATA\n"
PIXELS = np.arange(24).reshape(6, 4) % 7
CLASSES = ["b", "a", "c", "a", "b", "c"]


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A set of six images, as openml.org serves it; returns where it is kept, and what was asked for."""
    openml_client = pytest.importorskip("sklearn.datasets._openml")
    rows = "".join(f"{','.join(map(str, row))},{name}\n" for row, name in zip(PIXELS, CLASSES, strict=True))
    arff = (ARFF + rows).encode()
    feature = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [
        {"index": str(i), "name": f"pixel{i}", "data_type": "numeric", "is_target": "false", **feature}
        for i in range(4)
    ]
    features.append(
        {"index": "4", "name": "class", "data_type": "nominal", "is_target": "true", **feature}
        | {"nominal_value": ["b", "a", "c"]}
    )
    description = {"id": "7", "name": "tiny", "version": "1", "format": "ARFF", "status": "active"}
    description |= {"description": "tiny", "md5_checksum": hashlib.md5(arff).hexdigest(), "file_id": "9"}
    description |= {"url": "https://www.openml.org/data/v1/download/9/tiny.arff"}
    qualities = [{"name": "NumberOfInstances", "value": "6.0"}]
    pages = {  # the last part of an address that tells them apart
        "download": arff,
        "features": json.dumps({"data_features": {"feature": features}}).encode(),
        "qualities": json.dumps({"data_qualities": {"quality": qualities}}).encode(),
        "list": json.dumps({"data": {"dataset": [{"did": "7", "name": "tiny", "version": 1}]}}).encode(),
        "data": json.dumps({"data_set_description": description}).encode(),
    }
    asked = []

    class Page(io.BytesIO):
        def info(self):
            return {}

    def urlopen(request, *args, **kwargs):
        asked.append(request.full_url)
        if "/list/" in request.full_url and "tiny" not in request.full_url:
            raise HTTPError(request.full_url, 412, "no such set", None, None)
        return Page(next(page for part, page in pages.items() if f"/{part}/" in request.full_url))

    monkeypatch.setattr(openml_client, "urlopen", urlopen)
    return tmp_path, asked


def test_openml_sets_are_fetched_once_scaled_and_their_classes_numbered(served):
    home, asked = served
    X, y = openml("tiny", data_home=home)
    np.testing.assert_allclose(X, PIXELS / np.sqrt(np.mean(PIXELS**2)), rtol=1e-13)
    assert y.tolist() == [1, 0, 2, 0, 1, 2]  # a, b, c
    n_asked = len(asked)
    few, labels = openml("tiny", 3, rng=0, data_home=home, standardise=True)
    assert len(asked) == n_asked  # from the disk
    whole, all_labels = openml("tiny", data_home=home, standardise=True)
    chosen = np.random.default_rng(0).choice(6, 3, replace=False)
    assert np.array_equal(few, whole[chosen]) and np.array_equal(labels, all_labels[chosen])
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-14)
    with pytest.raises(ValueError, match="`n_samples` must be at most 6"):
        openml("tiny", 7, data_home=home)


def test_load_inputs_takes_sets_of_openml(served, monkeypatch):
    home, _ = served
    monkeypatch.setitem(datasets.OPENML, "mnist", ("tiny", 1))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
    assert np.array_equal(load_inputs("mnist", 5, 4, rng=1), openml("mnist", 5, rng=1)[0])


def test_openml_says_what_to_do_without_a_network(served, monkeypatch):
    home, _ = served

    def urlopen(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
    with pytest.raises(
        OSError, match=r"cannot fetch 'mnist_784' .*not known.*mfdnn\.datasets\.digits, which needs"
    ):
        openml("mnist", data_home=home)


def test_openml_sets_that_are_not_there_are_named(served):
    home, _ = served
    with pytest.raises(ValueError, match=r"one of mnist, .* or a set at openml\.org, got 'mnits', version 1"):
        openml("mnits", data_home=home)


def test_openml_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[data\]'"):
        openml("mnist")


def test_load_inputs_by_name():
    assert np.array_equal(load_inputs("gaussian", 7, 3, rng=1), gaussian_inputs(7, 3, rng=1))
    assert load_inputs("gaussian", None, 2).shape == (1000, 2)
    with pytest.raises(ValueError, match="`n_features` must be given"):
        load_inputs("gaussian", 5)


def test_load_inputs_digits():
    pytest.importorskip("sklearn")
    assert np.array_equal(load_inputs("digits", 7, 64, rng=1), digits(7, rng=1)[0])
    with pytest.raises(ValueError, match="64 features but the network takes 10"):
        load_inputs("digits", 7, 10)


def test_load_inputs_from_a_file(tmp_path):
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "x.npy", X)
    loaded = load_inputs(tmp_path / "x.npy")
    assert loaded.dtype == np.float64
    assert np.array_equal(loaded, X)
    assert np.array_equal(load_inputs(str(tmp_path / "x.npy"), 2, 3), X[:2])
    with pytest.raises(ValueError, match="holds 4 rows; ask for at most that"):
        load_inputs(tmp_path / "x.npy", 5)
    with pytest.raises(ValueError, match="3 features but the network takes 7"):
        load_inputs(tmp_path / "x.npy", None, 7)


def _file(name, content):
    def write(folder):
        path = folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, dict):
            np.savez(path, **content)
        else:
            np.save(path, content, allow_pickle=True)
        return path

    return write


BAD = np.zeros((5, 3))
BAD[2, 1] = np.nan
BAD[4, 0] = np.inf


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (_file("a.npy", BAD), ValueError, "2 nan or infinite values, the first in row 2"),
        (_file("a.npy", np.zeros(3)), ValueError, r"shape \(3,\); reshape each input to a row"),
        (_file("a.npy", np.zeros((0, 3))), ValueError, r"shape \(0, 3\)"),
        (_file("a.npy", np.zeros((2, 3), complex)), TypeError, "complex128; convert"),
        (_file("a.npy", np.array([["a", "b"]])), TypeError, "<U1; convert"),
        (_file("a.npy", np.array([[{}, 1]], dtype=object)), ValueError, "must be a .npy file of numbers"),
        (_file("a.npy", b"1,2,3\n"), ValueError, "must be a .npy file of numbers"),
        (_file("a.npy", b""), ValueError, "must be a .npy file of numbers"),
        (_file("a.npz", {"a": np.ones((2, 2)), "b": np.ones(2)}), ValueError, "is an archive of a, b; call"),
        (
            lambda folder: folder / "none.npy",
            FileNotFoundError,
            "'gaussian', 'digits', 'mnist', .* or a .npy, .npz or .csv file",
        ),
        (lambda folder: "gausian", FileNotFoundError, "there is no file 'gausian'; did you mean gaussian"),
    ],
)
def test_load_inputs_names_the_fault(write, error, message, tmp_path):
    with pytest.raises(error, match=message):
        load_inputs(write(tmp_path))
