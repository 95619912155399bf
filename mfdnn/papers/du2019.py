r"""Du et al. 2019: two-layer networks of growing width, trained by descent.

References
----------
Du, Zhai, Poczos & Singh 2019, "Gradient descent provably optimizes over-parameterized neural networks",
arXiv:1810.02054.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from .._support.blas import single_blas_thread
from ..datasets import gaussian_inputs
from ..kernels import TwoLayerTheory, two_layer_theory
from ..plots._style import sequence
from ..training.two_layer import draw, squared_residuals
from ._style import bar, entry, legend, letter, paper_style

__all__ = ["N_EPOCHS", "N_SAMPLES", "WIDTHS", "figure", "measure", "on_sphere"]

N_SAMPLES, N_SAMPLES_FAST = 1000, 40  # and the dimension of the inputs
N_EPOCHS, N_EPOCHS_FAST = 100, 20
WIDTHS, WIDTHS_FAST = (100, 300, 1000, 3000), (20, 80)
EARLY, EVERY = 10, 5  # weights are looked at in every epoch up to this one, and then in some


def on_sphere(n_samples: int, n_features: int, rng: Any) -> np.ndarray:
    """Inputs uniform on the unit sphere."""
    X = gaussian_inputs(n_samples, n_features, rng=rng)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def measure(theory: TwoLayerTheory, X: np.ndarray, width: int, n_epochs: int, rng: Any) -> dict[str, np.ndarray]:
    """One network: |u - y|^2 over its start, and how far the weights are from theirs.

    `flips`: share of pairs of an input and a unit whose pre-activation has another sign than at the start; `moved`: the
    largest distance of a weight vector. Both at `epochs`.
    """
    w, a = draw(width, X.shape[1], theory.kappa, rng)
    start, active = w.copy(), X @ w.T > 0
    rate = theory.stable_rate / 2
    squares, epochs, flips, moved = [], [], [], []
    run = squared_residuals(w, a, X, theory.labels, theory.activation, rate, n_epochs, both=False)
    for epoch, square in enumerate(run):  # which changes w
        squares.append(square)
        if epoch <= EARLY or epoch % EVERY == 0:
            epochs.append(epoch)
            flips.append(np.mean((X @ w.T > 0) != active))
            moved.append(np.linalg.norm(w - start, axis=1).max())
    found = {"epochs": epochs, "flips": flips, "moved": moved, "squares": np.array(squares) / squares[0]}
    return {name: np.asarray(values) for name, values in found.items()}


@paper_style
def figure(fast: bool = False, rng: Any = 0, progress: bool = False) -> Figure:
    r"""Training loss, activation patterns that change and weights that move, by width.

    The three panels of the paper's experiments, in its setting: n = 1000 inputs uniform on the unit sphere of 1000
    dimensions, normal labels, :math:`f(x) = m^{-1/2} \sum_r a_r \mathrm{relu}(w_r \cdot x)` with w trained and a fixed,
    100 epochs of full-batch descent at a fixed rate. The rate and the widths were not recovered and are ours:
    :math:`\eta = 1/\lambda_{max}` of the kernel at infinite width, for the sum of half squared errors, and m = 100 ...
    3000, one network each. A: :math:`|u(k) - y|^2` over its start; dashed: infinitely wide (`predicted_residual`),
    which wide networks approach; dotted: the bound :math:`(1 - \eta\lambda_0/2)^k`, which all of them keep. B: share of
    pairs of an input and a unit whose sign of :math:`w_r \cdot x_i` is no longer that of the start. C: largest distance
    of a weight vector from its start. Both get smaller with the width, as in the proof: grey in C, the
    narrowest network's last distance, falling as :math:`m^{-1/2}`.

    Parameters
    ----------
    fast, rng, progress
        As for every figure (`PaperFigure`); `fast`: 40 inputs of 40 dimensions, two widths, 20 epochs.

    Returns
    -------
    matplotlib.figure.Figure
    """
    n, n_epochs = (N_SAMPLES_FAST, N_EPOCHS_FAST) if fast else (N_SAMPLES, N_EPOCHS)
    widths: tuple[int, ...] = WIDTHS_FAST if fast else WIDTHS
    inputs, labels, *seeds = np.random.default_rng(rng).spawn(2 + len(widths))
    X = on_sphere(n, n, inputs)
    theory = two_layer_theory(X, labels.standard_normal(n))
    drawing, (loss, flips, moved) = pyplot.subplots(1, 3, figsize=(7.0, 3.0), layout="constrained")
    handles, last = [], 0.0
    with single_blas_thread():  # as in an ensemble
        for i, (width, seed) in enumerate(zip(bar(widths, progress, "widths"), seeds, strict=True)):
            found = measure(theory, X, width, n_epochs, seed)
            style: dict[str, Any] = {"color": sequence(i, len(widths), None), "lw": 1.5}
            loss.plot(found["squares"], **style)
            flips.plot(found["epochs"], found["flips"], **style)
            moved.plot(found["epochs"], found["moved"], **style)
            handles.append(entry(f"$m = {width}$", **style))
            if i == 0:
                last = found["moved"][-1]
            else:
                moved.axhline(last * np.sqrt(widths[0] / width), color="0.6", lw=0.8)
    epochs = np.arange(n_epochs + 1)
    wide = theory.predicted_residual(theory.stable_rate / 2, epochs, "average") ** 2
    loss.plot(epochs, wide / wide[0], color="black", ls="--", lw=1.2)
    loss.plot(epochs, theory.bound(epochs, theory.stable_rate / 2), color="black", ls=":", lw=1.4)
    for ax in (loss, flips, moved):
        ax.set_xlabel("epoch")
    loss.set(yscale="log", ylabel=r"$|u - y|^2$ / initial")
    flips.set(ylim=0, ylabel="share of signs changed")
    moved.set(ylim=0, ylabel=r"$\max_r |w_r - w_r(0)|$")
    letter(loss, "A", "training loss")
    letter(flips, "B", "activation patterns")
    letter(moved, "C", "weights")
    handles.append(entry(r"$m = \infty$ (A)", "black", ls="--", lw=1.2))
    handles.append(entry("bound of the theorem (A)", "black", ls=":", lw=1.4))
    handles.append(entry(rf"from $m = {widths[0]}$ by $m^{{-1/2}}$ (C)", "0.6", lw=0.8))
    legend(drawing, handles, 4)
    return drawing
