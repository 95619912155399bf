"""The figures of the papers, and some of the package's own: one module a paper.

Each figure is a function that computes and draws it.

>>> from mfdnn import papers
>>> list(papers.FIGURES)[:2]
['poole2016-fig1', 'poole2016-fig2']
>>> papers.draw("poole2016-fig1", "poole.pdf")  # doctest: +SKIP

The docstring of each function says which settings are the paper's and which are ours. Every line and point is
computed when the figure is drawn. ``fast=True`` takes small networks, for a quick look and for tests.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._support.validation import one_of

__all__ = ["FIGURES", "PaperFigure", "draw", "summary"]

SUFFIXES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class PaperFigure:
    """One figure; calling it computes and draws it.

    The module of its paper is imported only then.

    Attributes
    ----------
    module, function : str
        Where it is drawn: a module of this package, and a function in it.
    summary : str
        What it shows, in one line.
    """

    module: str
    function: str
    summary: str

    def __call__(self, fast: bool = False, rng: Any = 0, progress: bool = False) -> Any:
        """Compute and draw.

        Parameters
        ----------
        fast : bool
            Small networks and few of them.
        rng
            Anything `numpy.random.default_rng` takes.
        progress : bool
            Show progress bars on stderr, if that is a terminal.

        Returns
        -------
        matplotlib.figure.Figure
        """
        module = importlib.import_module(f".{self.module}", __name__)
        return getattr(module, self.function)(fast=fast, rng=rng, progress=progress)


FIGURES: dict[str, PaperFigure] = {
    "poole2016-fig1": PaperFigure("poole2016", "figure1", "variance map, its trajectories, q*, speed of convergence"),
    "poole2016-fig2": PaperFigure("poole2016", "figure2", "correlation map, its trajectories, c*, chi_1"),
    "poole2016-fig3": PaperFigure("poole2016", "figure3", "a circle on its way through the layers"),
    "schoenholz2017-depth-scales": PaperFigure(
        "schoenholz2017", "depth_scales", "depth scales against weight variance"
    ),
    "schoenholz2017-simulation": PaperFigure(
        "schoenholz2017", "simulation", "decay of variance, correlation and gradients: theory and simulation"
    ),
    "karakida2019-fig1": PaperFigure(
        "karakida2019", "figure1", "mean, second moment and maximum of Fisher eigenvalues against width"
    ),
    "karakida2019-fig2": PaperFigure(
        "karakida2019_training", "figure2", "training loss over width and learning rate, with 2/lambda_max"
    ),
    "karakida2019-normalization": PaperFigure(
        "karakida2019_normalization",
        "largest_against_width",
        "largest Fisher eigenvalue against width under mean subtraction, batch norm and layer norm",
    ),
    "karakida2021-spectra": PaperFigure(
        "karakida2021", "spectra", "histograms of Fisher eigenvalues for linear outputs and for a softmax"
    ),
    "karakida2021-softmax": PaperFigure(
        "karakida2021",
        "softmax_statistics_and_spectra",
        "mean, second moment, maximum and spectrum of Fisher eigenvalues behind a softmax",
    ),
    "karakida2021-ntk": PaperFigure(
        "karakida2021",
        "ntk_spectra",
        "spectra of the neural tangent kernel, without and with mean subtraction",
    ),
    "karakida2021-feature": PaperFigure(
        "karakida2021", "feature_metric", "spectra of the feature-space metric, linear outputs and a softmax"
    ),
    "lambda-max-law": PaperFigure(
        "lambda_max_law",
        "figure",
        "largest Fisher eigenvalue over random networks: predicted law and simulation",
    ),
    "spread-any-layer": PaperFigure(
        "any_layer", "figure", "share of networks below the predicted 95 % quantile, of ten architectures"
    ),
    "lambda-max-depth-width": PaperFigure(
        "lambda_max_map",
        "figure",
        "spread of the largest Fisher eigenvalue over depth and width, and the width a spread needs",
    ),
    "hessian-residual": PaperFigure(
        "hessian_residual", "figure", "what the Fisher information leaves out of the Hessian, against width"
    ),
    "karakida2019-normalization-rates": PaperFigure(
        "normalization_training",
        "figure",
        "training loss over width and learning rate, without and with normalisation of the outputs",
    ),
    "karakida2021-training": PaperFigure(
        "karakida2021_training",
        "figure",
        "largest eigenvalues of F and F_cross while a classifier is trained",
    ),
    "jacot2018-fig1": PaperFigure("jacot2018", "figure1", "tangent kernel on a circle, before and after training"),
    "jacot2018-fig2": PaperFigure("jacot2018", "figure2", "networks trained at four points, and their Gaussian limit"),
    "jacot2018-fig3": PaperFigure("jacot2018", "figure3", "training along the second component of the kernel"),
    "lee2019-outputs": PaperFigure("lee2019", "outputs", "loss and outputs of an ensemble in training, and their law"),
    "lee2019-width": PaperFigure(
        "lee2019", "across_widths", "change of kernel and parameters, and distance from linear training, against width"
    ),
    "lee2019-linearised": PaperFigure(
        "lee2019", "two_layers", "a two-layer network trained with momentum, and its linearisation"
    ),
    "xiao2020-conditioning": PaperFigure(
        "xiao2020", "conditioning", "condition number and mean prediction of tangent kernels against depth"
    ),
    "xiao2020-trainability": PaperFigure(
        "xiao2020", "trainability", "training and test loss of kernels over weight variance and depth"
    ),
    "du2019-training": PaperFigure(
        "du2019", "figure", "two-layer networks by width: training loss, activation patterns, movement of weights"
    ),
    "arora2019-labels": PaperFigure(
        "arora2019", "figure", "true against random labels: training, labels in modes, generalisation"
    ),
    "required-widths": PaperFigure(
        "required_widths", "figure", "widths that theorems on two-layer networks demand, and widths that are needed"
    ),
    "pennington2017-densities": PaperFigure(
        "pennington2017", "densities", "singular values of the Jacobian over depth, without and with isometry"
    ),
    "pennington2017-largest": PaperFigure(
        "pennington2017", "largest", "largest singular value of the Jacobian, and the variance, against depth"
    ),
    "pennington2018-universality": PaperFigure(
        "pennington2018", "universality", "spectra of deep isometric networks, and the limits of their class"
    ),
    "hayase2021-spectra": PaperFigure(
        "hayase2021", "spectra", "Fisher information of one sample over depth, orthogonal and Gaussian weights"
    ),
    "hayase2021-online": PaperFigure(
        "hayase2021", "online", "loss of online training over depth and learning rate, with the limit of one sample"
    ),
    "isometric-training": PaperFigure(
        "isometric_training", "figure", "training of deep networks on digits, with and without dynamical isometry"
    ),
    "coordinate-check": PaperFigure(
        "coordinate_check", "figure", "how far layers move in a few steps over width: standard, NTK and muP"
    ),
    "convolutions": PaperFigure(
        "convolutions", "figure", "largest Fisher eigenvalue and rate over the size of images; modes of convolutions"
    ),
    "first-step-width": PaperFigure(
        "first_step", "figure", "critical rates of the first step of four optimisers over width: theory and networks"
    ),
    "normalised-images": PaperFigure(
        "normalised_images",
        "figure",
        "batch norm in networks of images: largest Fisher eigenvalue over channels, rate over residual blocks",
    ),
    "lewkowycz2020-catapult": PaperFigure(
        "lewkowycz2020", "figure", "training above 2/lambda_max: the solved model, trajectories, zones"
    ),
}


def summary(name: str) -> str:
    """What the figure shows, in one line.

    Raises
    ------
    ValueError
        Unknown name.

    Examples
    --------
    >>> from mfdnn import papers
    >>> papers.summary("poole2016-fig2")
    'correlation map, its trajectories, c*, chi_1'
    """
    return FIGURES[one_of("name", name, FIGURES)].summary


def draw(
    name: str, path: str | os.PathLike, fast: bool = False, rng: Any = 0, progress: bool = False
) -> None:
    """Compute a figure and write it to a file.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    path : path
        Ends in .png, .pdf or .svg.
    fast, rng, progress
        As for every figure (`PaperFigure`).

    Raises
    ------
    ValueError
        Unknown name or suffix (before anything is computed).
    """
    figure_of = FIGURES[one_of("name", name, FIGURES)]
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"`path` must end in {', '.join(SUFFIXES)}, got {os.fspath(path)!r}; change the suffix."
        )
    from matplotlib import pyplot

    figure = figure_of(fast=fast, rng=rng, progress=progress)
    try:
        figure.savefig(path, dpi=150)
    finally:
        pyplot.close(figure)
