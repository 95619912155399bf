r"""Arora et al. 2019: true labels are learned faster than random ones.

References
----------
Arora, Du, Hu, Li & Wang 2019, "Fine-grained analysis of optimization and generalization for overparameterized
two-layer neural networks", arXiv:1901.08584.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .. import plots
from .._support.blas import single_blas_thread
from ..datasets import digits
from ..kernels import TwoLayerTheory, two_layer_theory
from ..training.two_layer import draw, squared_residuals
from ._style import bar, entry, legend, letter, marked, paper_style, points, standard_error, ticks

__all__ = ["CLASSES", "N_SAMPLES", "figure", "images", "predictor_errors", "residuals"]

CLASSES = (4, 9)
N_SAMPLES, N_SAMPLES_FAST = 200, 40
WIDTH, N_STEPS = 4000, 300
WIDTH_FAST, N_STEPS_FAST = 200, 30
NOISE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
N_DRAWS, N_DRAWS_FAST = 10, 2
LABELS = {"true": ("blue", "o"), "random": ("vermillion", "s")}  # colour and marker
MEASURES = {  # colour and marker
    r"$\sqrt{2\, y^T H^{-1} y/n}$ (C)": ("black", "D"),
    r"$\min(|f - y|, 1)$ (C)": ("green", "^"),
    "misclassified (C)": ("purple", "v"),
}


def images(rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """All digits of two classes in random order, scaled to norm 1, and labels of +-1."""
    X, classes = digits(standardise=True)
    kept = np.random.default_rng(rng).permutation(np.flatnonzero(np.isin(classes, CLASSES)))
    X = X[kept] / np.linalg.norm(X[kept], axis=1, keepdims=True)
    return X, np.where(classes[kept] == CLASSES[0], 1.0, -1.0)


def residuals(theory: TwoLayerTheory, X: np.ndarray, width: int, n_steps: int, rng: Any) -> np.ndarray:
    """|y - u(k)| of a network that is trained (first row), and its prediction."""
    w, a = draw(width, X.shape[1], theory.kappa, rng)
    start = theory.activation(X @ w.T) @ a / np.sqrt(width)
    rate = theory.stable_rate / 2
    run = squared_residuals(w, a, X, theory.labels, theory.activation, rate, n_steps, both=False)
    measured = np.sqrt(list(run))
    return np.array([measured, theory.predicted_residual(rate, np.arange(n_steps + 1), start)])


def predictor_errors(gram: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Mean of min(|f - y|, 1) and share of wrong signs, beyond the first n inputs.

    f is what the first n teach an infinitely wide network of outputs 0 at the start.
    """
    f = gram[n:, :n] @ np.linalg.solve(gram[:n, :n], y[:n])
    return np.array([np.minimum(np.abs(f - y[n:]), 1).mean(), np.mean(f * y[n:] <= 0)])


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""True against random labels: training, eigenvectors, generalisation.

    After the paper's experiments, two classes of images with their labels and with random ones; their settings were not
    read in print (as far as is remembered: MNIST and CIFAR-10, m = 10000, a rate of 1e-3) and are ours. Digits 4 and 9
    of scikit-learn's, standardised and then scaled to norm 1, n = 200 of them for training;
    :math:`f(x) = m^{-1/2} \sum_r a_r \mathrm{relu}(w_r \cdot x)` with w trained, :math:`\eta = 1/\lambda_{max}` of the
    kernel H at infinite width, for the sum of half squared errors.

    A: :math:`|y - u(k)|` over its start, one network of m = 4000 (points) for each kind of labels, and the prediction
    :math:`|(I - \eta H)^k (y - u(0))|` (lines); random labels move the weights further, and come off it. B: why: share
    of :math:`|y|^2` in the leading eigenvectors of H. C: labels are replaced by random signs with this probability, of
    all images, means over ten draws with error bars of one standard error: the generalisation measure
    (`TwoLayerTheory.generalisation`), the leading term of a bound on the mean of a loss such as min(\|f - y\|, 1) over
    new images; that loss, of infinitely wide networks trained to the end from outputs 0, on the other 161 images; and
    their share of wrong signs. Above 1 the bound says nothing.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: 40 images, width 200, 30 steps, two draws of labels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n, n_draws = (N_SAMPLES_FAST, N_DRAWS_FAST) if fast else (N_SAMPLES, N_DRAWS)
    width, n_steps = (WIDTH_FAST, N_STEPS_FAST) if fast else (WIDTH, N_STEPS)
    order, signs, noise, *networks = np.random.default_rng(rng).spawn(5)
    X, y = images(order)
    drawing, (training, modes, errors) = pyplot.subplots(1, 3, figsize=(7.0, 3.1), layout="constrained")
    kinds = {"true": y[:n], "random": signs.choice([-1.0, 1.0], n)}
    shown = np.unique(np.geomspace(1, n_steps, 14).astype(int))
    with single_blas_thread():  # as in an ensemble
        for (name, (colour, marker)), network in zip(LABELS.items(), networks, strict=True):
            theory = two_layer_theory(X[:n], kinds[name])
            measured, predicted = residuals(theory, X[:n], width, n_steps, network)
            steps = np.arange(1, n_steps + 1)
            training.plot(steps, predicted[1:] / predicted[0], color=plots.COLOURS[colour], lw=1.5)
            style: dict[str, Any] = {"color": plots.COLOURS[colour], "ls": "none", "ms": 4.5, "mfc": "white"}
            training.plot(shown, measured[shown] / measured[0], marker=marker, **style)
            vectors = np.linalg.eigh(theory.gram)[1][:, ::-1]
            share = np.cumsum((vectors.T @ kinds[name]) ** 2) / n
            modes.plot(np.arange(1, n + 1), share, color=plots.COLOURS[colour], lw=1.5)
    theory, gram = two_layer_theory(X[:n], y[:n]), two_layer_theory(X, y).gram
    found = np.empty((3, len(NOISE), n_draws))
    for i, noisy_share in enumerate(bar(NOISE, progress, "noise")):
        for j in range(n_draws):
            noisy = np.where(noise.random(len(y)) < noisy_share, noise.choice([-1.0, 1.0], len(y)), y)
            found[:, i, j] = theory.generalisation(noisy[:n]), *predictor_errors(gram, noisy, n)
    for values, (colour, marker) in zip(found, MEASURES.values(), strict=True):
        mean = values.mean(axis=1)
        errors.plot(NOISE, mean, color=plots.COLOURS[colour], lw=1.0)
        points(errors, NOISE, mean, standard_error(values), plots.COLOURS[colour], marker)
    errors.axhline(1, color="0.6", lw=0.8, ls=":")
    training.set(xscale="log", yscale="log", ylim=(0.025, 1.1), xlabel="step", ylabel=r"$|y - u|$ / initial")
    modes.set(xscale="log", ylim=(0, 1.05), xlabel="eigenvectors", ylabel=r"share of $|y|^2$")
    errors.set(yscale="log", ylim=(0.006, 9), xlabel="share of random labels", ylabel="measure, error")
    ticks(training.yaxis, (0.03, 0.1, 0.3, 1))
    ticks(errors.yaxis, (0.01, 0.1, 1))
    letter(training, "A", "training")
    letter(modes, "B", "labels in modes")
    letter(errors, "C", "generalisation")
    handles = [entry(f"{name} labels", plots.COLOURS[colour], lw=1.5) for name, (colour, _) in LABELS.items()]
    handles += [marked(f"trained, {name} (A)", plots.COLOURS[c], m, ls="none") for name, (c, m) in LABELS.items()]
    handles += [marked(name, plots.COLOURS[c], m, lw=1.0) for name, (c, m) in MEASURES.items()]
    handles.append(entry("bound is void above (C)", "0.6", lw=0.8, ls=":"))
    legend(drawing, handles, 4)
    return drawing
