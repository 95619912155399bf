"""Kernels against depth: what can be trained, and what generalises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.errors import OutOfRange
from .._support.results import Result
from .._support.validation import finite_number, positive_integer, variance
from ..activations import Activation, activation
from ..datasets import lowest_correlation
from ..layers import ONLY_MOMENTS, Dense, Exchangeable, Pointwise, State, Tangents
from ..phase import fixed_point

__all__ = ["KernelDepth", "kernel_depth"]


@dataclass(frozen=True, repr=False, eq=False)
class KernelDepth(Result):
    r"""Kernels of exchangeable inputs against depth, in NTK parameterisation.

    Attributes
    ----------
    depth : ndarray of int, shape (L,)
        1, ..., L: weight layers.
    q, q_st : ndarray, shape (L,)
        NNGP kernel of an input with itself, and of two.
    theta, theta_st : ndarray, shape (L,)
        The same of the tangent kernel.
    condition : ndarray, shape (L,)
        Condition number of the tangent kernel of T inputs,
        :math:`(\Theta + (T - 1) \Theta_{st})/(\Theta - \Theta_{st})`; inf where it is singular to its accuracy.
    predictor : ndarray, shape (L,)
        What the mean prediction is at another input, after training, for labels that are 1:
        :math:`T \Theta_{st}/(\Theta + (T - 1) \Theta_{st})`.
    n_samples : int
        T.
    phase : str
        "ordered", "critical", "chaotic" or "unbounded".
    chi_1, chi_c : float
        Slopes of the correlation map at c = 1 and at c*.
    xi_condition : float
        Depth scale of the condition number, 1/|log chi_1|: in the ordered phase it grows like
        :math:`\chi_1^{-l}/l`, in the chaotic phase it falls to 1 like :math:`\chi_1^{-l}`. inf at criticality.
    xi_predictor : float
        Depth scale over which what the prediction knows of the inputs is lost, :math:`1/\log(\chi_1/\chi_c)` in the
        chaotic phase; inf elsewhere.
    ratio_limit : float or None
        Limit of :math:`\Theta_{st}/\Theta` at large depth: 1 in the ordered phase, 0 in the chaotic one; at
        criticality with q* > 0 it is 1/3 for smooth activations and 1/4 for those with a kink; None where none of
        these holds.
    condition_limit : float or None
        What follows for the condition number: inf, 1; (T + 2)/2 and (T + 3)/3 at criticality.
    """

    depth: np.ndarray
    q: np.ndarray
    q_st: np.ndarray
    theta: np.ndarray
    theta_st: np.ndarray
    condition: np.ndarray
    predictor: np.ndarray
    n_samples: int
    phase: str
    chi_1: float
    chi_c: float
    xi_condition: float
    xi_predictor: float
    ratio_limit: float | None
    condition_limit: float | None


def kernel_depth(
    phi: str | Callable | Activation,
    sigma_w2: float,
    sigma_b2: float,
    depth: int,
    n_samples: int = 100,
    *,
    q0: float = 1.0,
    c0: float = 0.0,
) -> KernelDepth:
    r"""Condition number and mean predictor of the tangent kernel of deep networks.

    Of fully connected networks of 1, ..., L equal layers, by the recursion

    .. math:: \Theta^{l+1} = K^{l+1} + \sigma_w^2 E[\phi'\phi']\,\Theta^l, \qquad
              K^{l+1} = \sigma_w^2 E[\phi\phi] + \sigma_b^2.

    In the ordered phase all entries become one: the kernel is singular, and training never ends. In the chaotic phase
    the diagonal outgrows the rest: training is easy, and its result knows nothing of other inputs. In between, and
    along the edge, networks learn and generalise.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : float
    depth : int
        L, how many weight layers.
    n_samples : int
        T.
    q0, c0 : float
        Mean square of the inputs, and correlation of two of them.

    Returns
    -------
    KernelDepth

    Raises
    ------
    ValueError
        Negative variances, `depth` or `n_samples` below 1, `c0` that no T inputs have; kernels that overflow at depth
        (an OverflowError too). `NoTheory`: an activation that jumps.

    Notes
    -----
    Accuracy that of the Gaussian integrals, 1e-10 a layer; about a millisecond a layer. A network of L layers in the
    chaotic phase generalises to some ten `xi_predictor`; one in the ordered phase trains to some `xi_condition`.

    References
    ----------
    Xiao, Pennington & Schoenholz 2020, "Disentangling trainability and generalization in deep neural networks",
    arXiv:1912.13053.

    Examples
    --------
    >>> import mfdnn
    >>> found = mfdnn.kernels.kernel_depth("relu", 2.0, 0.0, 1000, n_samples=10)
    >>> found.phase, found.ratio_limit, round(found.condition_limit, 4), float(found.condition[-1].round(2))
    ('critical', 0.25, 4.3333, 4.39)
    """
    act = activation(phi)
    w2, b2 = variance("sigma_w2", sigma_w2), variance("sigma_b2", sigma_b2)
    n_layers, n = positive_integer("depth", depth), positive_integer("n_samples", n_samples)
    q0, c0 = variance("q0", q0), finite_number("c0", c0)
    if not lowest_correlation(n) <= c0 <= 1:
        raise ValueError(
            f"`c0` must be in [{lowest_correlation(n):.4g}, 1], got {c0:g}; it is the correlation of any two of {n} "
            "inputs."
        )
    kernels = _kernels(act, w2, b2, n_layers, q0, c0)
    _, _, theta, theta_st = kernels
    apart = theta - theta_st
    condition = np.full(n_layers, np.inf)
    np.divide(theta + (n - 1) * theta_st, apart, out=condition, where=apart > 1e-12 * theta)
    fixed = fixed_point(act, w2, b2, q0 if q0 > 0 else 1.0)
    chi_1, chi_c = float(fixed.chi_1), float(fixed.chi_c)
    ratio = _limit(act, fixed)
    return KernelDepth(
        depth=np.arange(1, n_layers + 1),
        q=kernels[0],
        q_st=kernels[1],
        theta=theta,
        theta_st=theta_st,
        condition=condition,
        predictor=n * theta_st / (theta + (n - 1) * theta_st),
        n_samples=n,
        phase=fixed.phase,
        chi_1=chi_1,
        chi_c=chi_c,
        xi_condition=abs(float(fixed.xi_grad)),
        xi_predictor=1 / np.log(chi_1 / chi_c) if fixed.phase == "chaotic" and chi_c > 0 else np.inf,
        ratio_limit=ratio,
        condition_limit=None if ratio is None else (1 + (n - 1) * ratio) / (1 - ratio) if ratio < 1 else np.inf,
    )


def _kernels(act: Activation, w2: float, b2: float, n_layers: int, q0: float, c0: float) -> np.ndarray:
    """q, q_st, theta and theta_st, (4, L)."""
    dense, pointwise = Dense(1, w2, b2), Pointwise(act)
    moments = Exchangeable(np.array([[q0]]), np.array([[q0 * c0]]))
    state = State(moments, np.zeros(1), (1,), False, Tangents(ONLY_MOMENTS._replace(only="ntk")))
    found = np.empty((4, n_layers))
    with np.errstate(over="ignore", invalid="ignore"):
        for l in range(n_layers):
            state = dense.propagate(state if l == 0 else pointwise.propagate(state)).replace(records=())
            kernel = state.tangents[("only",)]
            found[:, l] = state.moments.at_one, state.moments.at_two, kernel.at_one, kernel.at_two
            if not np.all(np.isfinite(found[:, l])):
                raise OutOfRange(f"the kernels are infinite from layer {l + 1} on", "lower `sigma_w2` or the `depth`")
    return found


def _limit(act: Activation, fixed: Any) -> float | None:
    """Of theta_st/theta at large depth."""
    if fixed.phase in ("ordered", "chaotic") and fixed.status == "ok":
        return 1.0 if fixed.phase == "ordered" else 0.0
    linear = act.homogeneous is not None and act.homogeneous[0] == act.homogeneous[1]
    if fixed.phase != "critical" or fixed.status not in ("ok", "scale_invariant") or linear:
        return None
    # Correlations near 1 approach it like 1/l and 1/l^2: slopes of their map are 1 - 2/l and 1 - 3/l.
    return 1 / 4 if np.any(act.pieces.jumps[:, 1]) else 1 / 3
