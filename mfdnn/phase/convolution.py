"""Modes of a deep circular convolution: how far each Fourier mode goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.results import Result
from .._support.validation import listed, one_of, positive_integer, variance
from ..activations import Activation
from .fixed_points import depth_scale, fixed_point

__all__ = ["ConvolutionModes", "convolution_modes"]

WEIGHTS = ("gaussian", "delta_orthogonal")


@dataclass(frozen=True, repr=False, eq=False)
class ConvolutionModes(Result):
    r"""Depth scales of the Fourier modes of a circular convolution.

    Attributes
    ----------
    factors : ndarray, shape of the sites
        :math:`|\lambda_f|`: what a layer leaves of mode f of a deviation, beside the fully connected factor. 1 for the
        uniform mode, the first entry; frequencies go as in `numpy.fft.fftfreq`.
    xi : ndarray, shape of the sites
        Depth scale of products of two inputs, :math:`-1/\log(\chi_c |\lambda_f|)` layers: that of a fully connected
        network for the uniform mode. 0 for a mode that one layer takes away, inf at criticality.
    chi_c, c : float
        Of `mfdnn.fixed_point`.
    phase : str
        "ordered", "critical", "chaotic" or "unbounded".
    """

    factors: np.ndarray
    xi: np.ndarray
    chi_c: float
    c: float
    phase: str

    def __repr__(self) -> str:
        sites = "x".join(map(str, self.factors.shape))
        return f"ConvolutionModes({sites} modes, phase={self.phase!r}, xi {self.xi.min():.4g} to {self.xi.flat[0]:.4g})"


def convolution_modes(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    sites: int | Sequence[int],
    kernel: int | Sequence[int] = 3,
    weights: str = "gaussian",
) -> ConvolutionModes:
    r"""How many layers each Fourier mode survives in a circular convolution.

    A convolution averages products of two inputs, or of two sites, over its taps along the diagonal: a deviation
    :math:`\epsilon(p)` from the fixed point becomes :math:`\chi \frac1k \sum_\beta \epsilon(p + \beta)`, so that mode f
    is multiplied by

    .. math:: \chi_c \lambda_f, \qquad \lambda_f = \frac1k \sum_\beta e^{2\pi i f \beta/n}.

    Delta-orthogonal weights have one tap alone, and :math:`\lambda_f = 1`: no mode is lost before the uniform one.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
        Variances: of a weight times fan_in, taps counted, and of a bias.
    sites : int or sequence of int
        Sites on the ring, or along each axis.
    kernel : int or sequence of int
        Taps along each axis; a number stands for the same along all.
    weights : {"gaussian", "delta_orthogonal"}

    Returns
    -------
    ConvolutionModes

    Raises
    ------
    TypeError, ValueError
        Numbers that are not positive, negative variances, a list of kernels of another length, unknown `weights`;
        what `fixed_point` raises.

    Examples
    --------
    >>> from mfdnn import phase
    >>> modes = phase.convolution_modes("tanh", 1.5, 0.05, sites=8)
    >>> modes.xi[:5].round(2)
    array([15.79,  3.56,  0.86,  0.49,  0.86])

    References
    ----------
    Xiao, Bahri, Sohl-Dickstein, Schoenholz & Pennington 2018, "Dynamical isometry and a mean field theory of CNNs",
    arXiv:1806.05393.
    """
    sizes = _sizes("sites", sites)
    taps = _sizes("kernel", kernel)
    if len(taps) == 1:
        taps *= len(sizes)
    if len(taps) != len(sizes):
        raise ValueError(
            f"`kernel` must be a number, or one for each of {len(sizes)} axes of `sites`, got {len(taps)}; pass that."
        )
    delta = one_of("weights", weights, WEIGHTS) == "delta_orthogonal"
    sigma_w2, sigma_b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    fp = fixed_point(phi, sigma_w2, sigma_b2)
    factors = np.ones(())
    for n, k in zip(sizes, taps, strict=True):
        waves = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(1 if delta else k)) / n)
        own = np.abs(waves.mean(axis=1))
        own[own < 1e-14] = 0.0  # the sum of all roots of unity, but for rounding
        factors = np.multiply.outer(factors, own)
    return ConvolutionModes(
        factors=factors,
        xi=depth_scale(fp.chi_c * factors),
        chi_c=fp.chi_c,
        c=fp.c,
        phase=fp.phase,
    )


def _sizes(name: str, value: Any) -> list[int]:
    """A positive number, or one for each axis."""
    if isinstance(value, list | tuple | np.ndarray):
        found = [positive_integer(name, size) for size in listed(name, list(value), "a number for each axis")]
        if not found:
            raise ValueError(f"`{name}` must not be empty; pass a number, or one for each axis.")
        return found
    return [positive_integer(name, value, maximum=10**6)]
