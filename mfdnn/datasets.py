"""Inputs: Gaussian vectors, handwritten digits, images, files.

Exchangeable Gaussian vectors, scikit-learn's digits, sets from openml.org, a file of the user's own.

They come before everything that takes them: nothing here knows of networks.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np

from ._support.files import Layout, read_matrix
from ._support.memory import require_memory
from ._support.validation import (
    checked,
    did_you_mean,
    finite_array,
    finite_number,
    input_matrix,
    positive_integer,
    text,
    variance,
)

__all__ = ["OPENML", "digits", "gaussian_inputs", "load_inputs", "openml"]

OPENML = {  # names and versions at openml.org
    "mnist": ("mnist_784", 1),
    "fashion_mnist": ("Fashion-MNIST", 1),
    "kuzushiji_mnist": ("Kuzushiji-MNIST", 1),
    "cifar10": ("CIFAR_10", 1),
}


def gaussian_inputs(
    n_samples: int, n_features: int, q0: float = 1.0, c0: float = 0.0, *, rng: Any = None
) -> np.ndarray:
    r"""Exchangeable Gaussian inputs, the setting of the mean-field papers.

    .. math:: x_t = \sqrt{q_0}\,(\sqrt{c_0}\,\xi + \sqrt{1 - c_0}\,\zeta_t),

    with standard Gaussian vectors :math:`\xi` (shared) and :math:`\zeta_t`, so that
    :math:`E[x_t \cdot x_t]/M_0 = q_0` and :math:`E[x_s \cdot x_t]/M_0 = q_0 c_0`. For negative `c0` the mean
    of the :math:`\zeta_t` is shrunk instead, to the same effect.

    Parameters
    ----------
    n_samples, n_features : int
        T and M_0.
    q0 : float
        Mean squared input.
    c0 : float
        Correlation of two inputs, in [-1/(T - 1), 1]. One input has none, and ignores it.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes.

    Returns
    -------
    array (T, M_0)

    Raises
    ------
    ValueError
        Sizes below 1, negative `q0`, `c0` that no T inputs can have among them.

    Notes
    -----
    The numbers hold on average; of one draw they are off by about :math:`\sqrt{2/M_0}`.

    Examples
    --------
    >>> from mfdnn.datasets import gaussian_inputs
    >>> X = gaussian_inputs(2, 100_000, q0=4.0, c0=0.5, rng=0)
    >>> (X @ X.T / 100_000).round(1)
    array([[4., 2.],
           [2., 4.]])
    """
    shape = (positive_integer("n_samples", n_samples), positive_integer("n_features", n_features))
    rng = checked(rng=rng)
    q0, c0 = variance("q0", q0), finite_number("c0", c0)
    lowest = lowest_correlation(n_samples)
    if not lowest <= c0 <= 1:
        raise ValueError(
            f"`c0` must be in [{lowest:.4g}, 1], got {c0:g}; it is the correlation of any two of the "
            f"{n_samples} inputs."
        )
    require_memory(16 * shape[0] * shape[1], f"inputs of shape {shape}", "lower `n_samples` or `n_features`")
    generator = np.random.default_rng(rng)
    X = generator.standard_normal(shape)
    if n_samples == 1:
        c0 = 0.0
    X *= np.sqrt(q0 * (1 - c0))
    if c0 > 0:
        X += np.sqrt(q0 * c0) * generator.standard_normal(shape[1])
    elif c0 < 0:
        left = max(1 + (n_samples - 1) * c0, 0.0)  # of the mean; below 0 by rounding alone
        X -= (1 - np.sqrt(left / (1 - c0))) * X.mean(axis=0)
    return X


def lowest_correlation(n_samples: int) -> float:
    """Lowest correlation that all pairs of T inputs can have.

    It is -1/(T - 1), attained by a regular simplex, with a little room for rounding.
    """
    return -1.0 if n_samples == 1 else -(1.0 + 1e-12) / (n_samples - 1)


def digits(
    n_samples: int | None = None, *, rng: Any = None, standardise: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    r"""Handwritten digits, 8 x 8 pixels: 1797 images that come with scikit-learn.

    Scaled as a whole so that the mean squared input is 1, the :math:`q_0 = 1` of the theory.

    Parameters
    ----------
    n_samples : int, optional
        How many, drawn without replacement. Default: all of them, in their order.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes; for the choice.
    standardise : bool
        Subtract every pixel's mean and divide by its standard deviation first (over all 1797 images; three
        pixels are always blank and stay zero). Images become nearly uncorrelated on average.

    Returns
    -------
    X : array (T, 64)
        One image a row, mean square 1 over all 1797 images.
    y : array (T,) of int
        The digits, 0 to 9.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    ValueError
        More than 1797 samples.

    References
    ----------
    UCI machine learning repository, "Optical recognition of handwritten digits" (test set), as distributed
    by scikit-learn.

    Examples
    --------
    >>> from mfdnn.datasets import digits
    >>> X, y = digits(100, rng=0)
    >>> X.shape, y.shape
    ((100, 64), (100,))
    """
    rng, standardise = checked(rng=rng, standardise=standardise)
    X, y = _of_sklearn("digits").load_digits(return_X_y=True)
    return _chosen(_scaled(X, standardise), y, n_samples, rng)


def openml(
    name: str = "mnist",
    n_samples: int | None = None,
    *,
    rng: Any = None,
    standardise: bool = False,
    version: int = 1,
    data_home: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""MNIST and sets like it, from openml.org.

    scikit-learn fetches them, and keeps them on disk after the first time. Scaled as a whole so that the mean squared
    input is 1, the :math:`q_0 = 1` of the theory.

    Parameters
    ----------
    name : str
        One of `OPENML` ("mnist", "fashion_mnist", "kuzushiji_mnist", "cifar10"), or the name at openml.org of
        another set of numeric features and classes.
    n_samples, rng, standardise
        As for `digits`; features are standardised over the whole set.
    version : int
        Of a set that is not in `OPENML`.
    data_home : path, optional
        Where scikit-learn keeps its data; default: ``~/scikit_learn_data``.

    Returns
    -------
    X : array (T, M_0)
        Mean square 1 over the whole set: 784 pixels of MNIST's 70 000 images.
    y : array (T,) of int
        Classes, numbered from 0 in the order of their names.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    OSError
        The set is not on disk and cannot be fetched.
    ValueError
        No set of that name and version, or one that is not of finite numbers; more samples than it has.

    Notes
    -----
    The first time MNIST is 15 MB to fetch; reading it takes some seconds with pandas installed, a minute without.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition". Xiao, Rasul
    & Vollgraf 2017, "Fashion-MNIST", arXiv:1708.07747.

    Examples
    --------
    >>> from mfdnn.datasets import openml
    >>> X, y = openml("mnist", 1000, rng=0)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (1000, 784)
    """
    (rng, standardise), name = checked(rng=rng, standardise=standardise), text("name", name)
    fetch_openml = _of_sklearn("openml").fetch_openml
    known, number = OPENML.get(name, (name, positive_integer("version", version)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attempts that fail, before the one that is reported
            found = fetch_openml(
                known,
                version=number,
                as_frame=False,
                parser="pandas" if find_spec("pandas") else "liac-arff",
                data_home=None if data_home is None else os.fspath(data_home),
                n_retries=1,
            )
    except OSError as error:
        raise OSError(
            f"`openml` cannot fetch {known!r} ({error}); connect to the network, copy the folder scikit_learn_data "
            "from a machine that has the set, or take mfdnn.datasets.digits, which needs neither."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"`name` must be one of {', '.join(OPENML)}, or a set at openml.org, got {name!r}, version {number} "
            f"({error}); or take mfdnn.datasets.digits."
        ) from error
    X = finite_array("name", found.data, "a set of numeric features")
    y = np.unique(found.target, return_inverse=True)[1]
    return _chosen(_scaled(X, standardise), y, n_samples, rng)


def _of_sklearn(function: str) -> Any:
    """The data sets of scikit-learn, for the function of that name."""
    try:
        import sklearn.datasets
    except ImportError:
        raise ImportError(
            f"`{function}` needs scikit-learn, which is not installed; run `pip install -e '.[data]'` in the checkout."
        ) from None
    return sklearn.datasets


def _scaled(X: np.ndarray, standardise: bool) -> np.ndarray:
    """The features scaled as a whole to mean square 1.

    If wanted, each is given mean 0 and variance 1 before that.
    """
    if standardise:
        spread = X.std(axis=0)
        X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return X / np.sqrt(np.mean(X**2))


def _chosen(X: np.ndarray, y: np.ndarray, n_samples: int | None, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """`n_samples` of the samples, drawn without replacement; None: all."""
    if n_samples is None:
        return X, y
    if positive_integer("n_samples", n_samples) > len(X):
        raise ValueError(f"`n_samples` must be at most {len(X)}, the number of images, got {n_samples}.")
    chosen = np.random.default_rng(rng).choice(len(X), n_samples, replace=False)
    return X[chosen], y[chosen]


def load_inputs(
    spec: str | os.PathLike,
    n_samples: int | None = None,
    n_features: int | None = None,
    *,
    rng: Any = None,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    header: bool | None = None,
    index: bool | None = None,
    array: str | None = None,
) -> np.ndarray:
    """Inputs by name or from a file, as the command line takes them.

    Parameters
    ----------
    spec : str or path
        ``"gaussian"``, ``"digits"``, a name of `OPENML`, or a file with a numeric (T, M_0) matrix: ``.npy``; ``.npz``;
        a table in text, ``.csv``, ``.tsv`` or ``.txt``, each also with ``.gz``, ``.bz2`` or ``.xz`` behind it.
    n_samples : int, optional
        How many rows: the first ones of a file, a random choice of images. Default: all (Gaussian: 1000).
    n_features : int, optional
        M_0 of the network. Needed for Gaussian inputs; must fit otherwise.
    rng : int, numpy.random.Generator, ... , optional
        Anything `numpy.random.default_rng` takes; for Gaussian inputs and the choice of images.
    delimiter : str, optional
        Of a table: what separates cells, one character; ``" "``: any blanks. Default: a tab, semicolon, bar, comma or
        blanks, whichever comes first in this order in the second line.
    decimal : str
        Of a table: ``"."`` or ``","``.
    encoding : str, optional
        Of a table. Default: what its byte order mark says, utf-8 without one.
    header : bool, optional
        Of a table: whether its first line is names. Default: it is if no cell of it is a number, or if it counts
        0, 1, ..., M_0 - 1; a count that may also be a row is refused.
    index : bool, optional
        Of a table: whether its first column numbers or names the rows, and is left out. Default: it does not, and a
        column that looks so is refused.
    array : str, optional
        Name of an array of an ``.npz`` file. Default: the only one, or the one called X, x, inputs or data.

    Returns
    -------
    array (T, M_0) of float64

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        No such file; not such a file, or a damaged one; not a matrix of finite numbers (booleans, dates and integers
        beyond 2**53 are none); a cell that is no number, or a table that can be read in two ways; too few rows; wrong
        width.
    MemoryError
        More numbers than fit into memory, found before they are read.
    ImportError, OSError
        Images without scikit-learn; those of openml.org without a connection, the first time.

    Notes
    -----
    Lines that start with ``#`` are comments. Of a table rows beyond the first `n_samples` may not be looked at.

    Examples
    --------
    >>> from mfdnn.datasets import load_inputs
    >>> load_inputs("gaussian", 5, 3, rng=0).shape
    (5, 3)
    """
    if not isinstance(spec, str | os.PathLike):
        raise TypeError(f"`spec` must be a name or a path, not {type(spec).__name__}; pass arrays as `inputs`.")
    layout = Layout(delimiter, decimal, encoding, header, index)
    if (spec in ("gaussian", "digits") or spec in OPENML) and (array is not None or layout != Layout()):
        raise ValueError(
            f"`delimiter`, `decimal`, `encoding`, `header`, `index` and `array` describe files, which {spec!r} is not; "
            "leave them out."
        )
    if spec == "gaussian":
        if n_features is None:
            raise ValueError("`n_features` must be given for Gaussian inputs; pass the network's inputs.")
        return gaussian_inputs(1000 if n_samples is None else n_samples, n_features, rng=rng)
    if spec == "digits":
        return input_matrix("inputs", digits(n_samples, rng=rng)[0], n_features)
    if spec in OPENML:
        return input_matrix("inputs", openml(str(spec), n_samples, rng=rng)[0], n_features)
    name = os.fspath(spec)
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"`inputs` must be 'gaussian', 'digits', {', '.join(map(repr, OPENML))}, or a .npy, .npz or .csv file; "
            f"there is no file {name!r}{did_you_mean(name, ['gaussian', 'digits', *OPENML])}."
        )
    if n_samples is not None:
        n_samples = positive_integer("n_samples", n_samples)
    X = read_matrix(name, layout, array, n_samples)
    if n_samples is not None and n_samples > len(X):
        raise ValueError(f"`n_samples` is {n_samples}, but {name!r} holds {len(X)} rows; ask for at most that.")
    input_matrix("inputs", X[:1], n_features)  # its width: all else was checked, and a copy may be large
    return X[:n_samples]
