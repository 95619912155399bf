"""Initialisations whose Jacobian is nearly an isometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from .._support.validation import finite_number, positive_integer
from ..activations import Activation, activation
from ..gaussian.quadrature import second_moment
from ..gaussian.tables import tables
from .laws import SlopeLaw, require_moments

__all__ = ["IsometricInit", "isometric_init"]

Q = np.logspace(-11, 4, 151)  # variances that are looked at
ROUNDING = 1e-12  # of a bias variance that is 0, over q
SHIFTS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, repr=False, eq=False)
class IsometricInit(Result):
    """Variances of an orthogonal initialisation at criticality.

    Attributes
    ----------
    sigma_w2, sigma_b2 : float
        Of weights (times the fan-in) and biases.
    q : float
        Variance of the pre-activations, in every layer.
    q0 : float
        Mean square of inputs for which the first layer has it too.
    """

    sigma_w2: float
    sigma_b2: float
    q: float
    q0: float


def isometric_init(phi: str | Callable | Activation, depth: int, variance: float) -> IsometricInit:
    r"""Orthogonal weights with a wanted variance of the Jacobian's spectrum.

    At :math:`\chi_1 = 1`. Of `depth` factors :math:`\phi' W`, whose squared singular values have the mean 1 and the
    variance

    .. math:: \sigma^2_{JJ^T} = L\,\Big(\frac{E[\phi'^4]}{E[\phi'^2]^2} - 1\Big)

    at the variance q of pre-activations: the smallest q with the wanted one is taken.

    Parameters
    ----------
    phi : str, callable or Activation
    depth : int
        L.
    variance : float
        :math:`\sigma^2_{JJ^T}` > 0.

    Returns
    -------
    IsometricInit

    Raises
    ------
    TypeError, ValueError
        `depth` below 1, `variance` not positive. `NoTheory`: no q has that variance, or none with a bias variance
        >= 0, as for relu, or its slopes have no second moment; the reason names what it can have, and a shift of it
        that does.

    References
    ----------
    Pennington, Schoenholz & Ganguli 2018, "The emergence of spectral universality in deep networks", arXiv:1802.09979.

    Examples
    --------
    >>> import mfdnn
    >>> init = mfdnn.isometric_init("tanh", depth=100, variance=0.05)
    >>> net = mfdnn.mlp([400] * 101, "tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal")
    >>> round(mfdnn.jacobian_moments(net, q0=init.q0).relative_variance, 4)  # of 99 activations
    0.0495
    """
    act, n_layers = activation(phi), positive_integer("depth", depth)
    wanted = finite_number("variance", variance)
    if wanted <= 0:
        raise ValueError(f"`variance` must be > 0, got {wanted:g}; pass the variance of squared singular values.")
    require_moments(act)
    found = _smallest(act, wanted / n_layers)
    if found is not None:
        return found
    reach = _reach(act)
    if reach is None:
        has, instead = "has none", ""
    else:
        low, high = (n_layers * end for end in reach)
        has = f"has {low:.3g}" + ("" if f"{low:.3g}" == f"{high:.3g}" else f" to {high:.3g}")
        instead = f"take a {'smaller' if wanted > high else 'larger'} `variance`"
    if reach is None or wanted <= high:
        shift = next((s for s in SHIFTS if _smallest(_shifted(act, s), wanted / n_layers) is not None), None)
        helps = f"phi(x + {shift:g}) - phi({shift:g}) can" if shift else ""
        instead = ", or ".join(filter(None, (helps, instead))) or "none of its shifts that were tried can either"
    raise NoTheory(
        f"{act.label!r} cannot have `variance` = {wanted:g} at depth {n_layers} with chi_1 = 1 and a bias variance >= "
        f"0: it {has}, at pre-activations of variance {Q[0]:.0e} to {Q[-1]:.0e}; {instead}."
    )


def _shifted(act: Activation, by: float) -> Activation:
    return Activation(
        f"{act.name}_shifted",
        lambda x: act(x + by) - act(np.full(1, by))[0],
        lambda x: act.slope(x + by),
        kinks=[kink - by for kink in act.kinks],
    )


def _excess(act: Activation, q: float) -> float:
    return SlopeLaw(act, q).excess


def _variances(act: Activation, q: float) -> tuple[float, float, float]:
    """sigma_w^2, sigma_b^2, which may be negative, and what layers see, at chi_1 = 1."""
    w2 = 1 / second_moment(act, q, 1)
    seen = second_moment(act, q, 0)
    return w2, q - w2 * seen, seen


def _places(act: Activation) -> np.ndarray:
    return Q[Q <= tables(act).q_max]


def _reach(act: Activation) -> tuple[float, float] | None:
    """The least and the greatest excess variance with a bias variance >= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [_excess(act, x) for x in _places(act) if _variances(act, x)[1] >= -ROUNDING * x]
    found = [x for x in found if np.isfinite(x)]
    return (max(min(found), 0.0), max(found)) if found else None


def _smallest(act: Activation, excess: float) -> IsometricInit | None:
    """At the smallest q of that excess variance a layer with a bias variance >= 0."""
    from scipy.optimize import brentq

    q = _places(act)
    found = np.array([_excess(act, x) for x in q]) - excess
    for i in np.flatnonzero(found[:-1] * found[1:] <= 0):
        ends = np.log(q[i : i + 2])
        log_q = brentq(lambda x: _excess(act, np.exp(x)) - excess, *ends, xtol=1e-15, rtol=1e-14)
        at = float(np.exp(log_q))
        w2, b2, seen = _variances(act, at)
        if b2 >= -ROUNDING * at:
            return IsometricInit(w2, max(b2, 0.0), at, seen)
    return None
