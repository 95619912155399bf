"""How learning rates scale with the width of a network and the size of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.results import Result
from .._support.validation import listed, one_of, positive_integer
from ..mean_field import MeanField
from ..network import Network, require_network, scale_widths
from .updates.first import SAMPLES, first_step, on_inputs
from .updates.parameterisation import PARAMETERISATIONS, parameterised
from .updates.response import step_response
from .updates.rules import checked_update

__all__ = ["OVER", "ScalingExponents", "scaling_exponents"]

OVER = ("width", "samples")
AROUND = (0.5, 1.0, 2.0)  # sizes by default, in units of one's own
INFINITE = 2**56, 2**57  # widths at which one power of them is left
RESAMPLED = 400  # of the draws, for standard errors


@dataclass(frozen=True, repr=False, eq=False)
class ScalingExponents(Result):
    r"""How a critical learning rate scales: rate ~ size to the power `exponent`.

    Attributes
    ----------
    sizes : ndarray of int, shape (n,)
        Widths of the first hidden layer, with the others in proportion; or numbers of inputs.
    rates : ndarray, shape (n,)
        `FirstStep.directional` at them.
    slopes : ndarray, shape (n - 1,)
        d log rate/d log size between neighbours.
    exponent : float
        Of the power law through all `rates`, by least squares.
    limit_exponent : float
        Of infinite sizes.
    factor_of_two : float
        2 to the power `exponent`: what to multiply the rate with for twice the size.
    stable_rates : ndarray, shape (n,), or None
        :math:`2/\lambda_{max}` at them, for sgd and radam: what the former become where errors are along the outlier.
    stable_exponent : float or None
        The same for them.
    standard_error : dict
        Of `exponent`, for the draws of outputs behind it.
    optimizer, parameterisation, over : str
        As asked for.
    n_samples : int or None
        T; None where it is what varies.
    n_outputs : int
        C.
    caution : str
        What is known against the numbers; empty if nothing.
    """

    sizes: np.ndarray
    rates: np.ndarray
    slopes: np.ndarray
    exponent: float
    limit_exponent: float
    factor_of_two: float
    stable_rates: np.ndarray | None
    stable_exponent: float | None
    standard_error: dict[str, float]
    optimizer: str
    parameterisation: str
    over: str
    n_samples: int | None
    n_outputs: int
    caution: str

    def __repr__(self) -> str:
        of = f"{self.optimizer}, {self.parameterisation}, over {self.over}"
        return (
            f"ScalingExponents({of}: {self.exponent:.3f}, in the limit {self.limit_exponent:.3f}; twice the size, rate "
            f"times {self.factor_of_two:.3g})"
        )


def scaling_exponents(
    net: Network | MeanField,
    optimizer: str = "sgd",
    *,
    parameterisation: str = "standard",
    over: str = "width",
    sizes: Any = None,
) -> ScalingExponents:
    r"""How the critical rate of an optimiser's first step scales with width or batch.

    At several sizes the critical rate :math:`2 e \cdot D/|D|^2` of half the squared error (`first_step`), on the same
    inputs and of the same draws of outputs and labels, with :math:`\epsilon = 0`. In the limit of wide networks it is

    ==========================  ==============================  ==================  ===================
    optimiser                   standard                        ntk                 mup
    ==========================  ==============================  ==================  ===================
    sgd                         -1                              0                   0
    Adam's kin, L >= 3          -3/2                            -1                  0
    Adam's kin, L = 2           -1, slowly                      -1/2                0
    muon                        -1/2                            -1/2, slowly        0
    ==========================  ==============================  ==================  ===================

    and finite widths approach it: `exponent` is what holds at yours.

    Parameters
    ----------
    net : Network or MeanField
        Fully connected, with a hidden layer. Without inputs 100 Gaussian ones are drawn.
    optimizer : str
        As in `first_step`, at its default settings but for :math:`\epsilon`.
    parameterisation : {"standard", "ntk", "mup"}
        As in `first_step`.
    over : {"width", "samples"}
        What varies: all hidden widths in proportion, or the number of inputs. For the latter inputs are Gaussian, or
        the first of those given.
    sizes : sequence of int, optional
        Two or more, of the first hidden width, or of the number of inputs. Default: half of one's own, it, and twice.

    Returns
    -------
    ScalingExponents
        With `.exponent`, `.limit_exponent` and `.factor_of_two`.

    Raises
    ------
    ValueError
        Fewer than two `sizes`, some alike, more inputs than given, a network without hidden layers, and what
        `first_step` raises.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.MeanField(mfdnn.mlp([64, 256, 256, 256, 10], "relu", init="he"), n_samples=32)
    >>> found = mfdnn.scaling_exponents(net, "adam")
    >>> f"twice the width: rate over {1 / found.factor_of_two:.1f}, and over {2**-found.limit_exponent:.1f} when wide"
    'twice the width: rate over 2.6, and over 2.8 when wide'
    >>> abs(mfdnn.scaling_exponents(net, "adam", parameterisation="mup").exponent) < 0.1
    True

    Notes
    -----
    Sampled networks have the same exponents at given errors: from M = 256 to 1024 within 0.05, below within 0.16
    (docs/optimisers.md). Over samples the rate is constant once errors have a common component, as a function of the
    inputs has; random labels alone would make it fall. No rule for mini-batches follows from it: their noise is another
    effect.

    Cost: that of one `first_step` a size, and two more for the limit.

    References
    ----------
    Yang et al. 2022, "Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
    arXiv:2203.03466 (muP).
    """
    update = checked_update(optimizer, eps=0.0)
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    one_of("over", over, OVER)
    network = net.network if isinstance(net, MeanField) else require_network("net", net)
    hidden = network.widths[1:-1]
    if over == "width" and not hidden:
        raise ValueError("`net` must have a hidden layer, whose width varies, got none; take over='samples'.")
    own = hidden[0] if over == "width" else net.n_samples if isinstance(net, MeanField) else SAMPLES
    found = _sizes(sizes, own)
    if over == "width":
        wide = on_inputs(net, None, None, None, None, np.random.default_rng(0))
        cases = [MeanField(scale_widths(network, size / own), inputs=wide.inputs) for size in (*found, *INFINITE)]
    else:
        X = _inputs(net, max(found))
        cases = [MeanField(network, inputs=X[:size]) for size in found]
    steps = [first_step(case, optimizer, eps=0.0, parameterisation=parameterisation) for case in cases]
    draws = np.array([step._directional for step in steps])
    at, logs = np.log(found), np.log(np.median(draws, axis=1))
    limit = float(logs[-1] - logs[-2]) / np.log(2) if over == "width" else 0.0
    draws, logs = draws[: len(found)], logs[: len(found)]
    exponent = _slope(at, logs)
    stable = None
    if update.family == "gradient":
        stable = np.array([_stable_rate(case, update, parameterisation) for case in cases[: len(found)]])
    return ScalingExponents(
        sizes=np.array(found),
        rates=np.median(draws, axis=1),
        slopes=np.diff(logs) / np.diff(at),
        exponent=exponent,
        limit_exponent=limit,
        factor_of_two=2.0**exponent,
        stable_rates=stable,
        stable_exponent=None if stable is None else _slope(at, np.log(stable)),
        standard_error={"exponent": _error_of_slope(at, draws, together=over == "width")},
        optimizer=update.optimiser.name,
        parameterisation=parameterisation,
        over=over,
        n_samples=cases[0].n_samples if over == "width" else None,
        n_outputs=network.n_outputs,
        caution=steps[len(found) // 2].caution,
    )


def _sizes(sizes: Any, own: int) -> list[int]:
    """Sizes in ascending order, all different."""
    if sizes is None:
        found = [max(1, round(factor * own)) for factor in AROUND]
    else:
        found = [positive_integer("sizes", size) for size in listed("sizes", sizes, "two sizes or more")]
    found = sorted(found)
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"`sizes` must be two or more different ones, got {found}; pass for example [128, 256, 512].")
    return found


def _inputs(net: Network | MeanField, n: int) -> np.ndarray:
    """So many inputs: the first of those given, or Gaussian ones."""
    if isinstance(net, MeanField) and net.inputs is not None:
        if n > len(net.inputs):
            raise ValueError(f"`sizes` must be at most {len(net.inputs)}, the number of inputs, got {n}; give more.")
        return net.inputs
    data = net.data if isinstance(net, MeanField) else {}
    network = net.network if isinstance(net, MeanField) else net
    drawn = {**data, "n_samples": n}
    found = on_inputs(network, **{"q0": None, "c0": None, **drawn}, inputs=None, rng=np.random.default_rng(0)).inputs
    assert found is not None
    return found


def _stable_rate(wide: MeanField, update: Any, parameterisation: str) -> float:
    """2 over the largest eigenvalue of what an update of the gradient makes of errors."""
    wide = parameterised(wide, parameterisation)
    response = step_response(wide, update, parameterisation)
    with single_blas_thread():
        D = response.rows(np.eye(wide.n_samples), 1, np.random.default_rng(0)).D.sum(axis=0)
        return float(2 / np.linalg.eigvalsh((D + D.T) / 2)[-1])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0])


def _error_of_slope(x: np.ndarray, draws: np.ndarray, together: bool) -> float:
    """Of the slope of medians over draws (n, draws), by resampling them.

    The same ones at every size if `together`.
    """
    n_sizes, n = draws.shape
    chosen = np.random.default_rng(0).integers(n, size=(RESAMPLED, 1 if together else n_sizes, n))
    chosen = np.broadcast_to(chosen, (RESAMPLED, n_sizes, n))
    medians = np.median(np.take_along_axis(draws[None], chosen, axis=2), axis=2)
    away = x - x.mean()
    return float(np.std(np.log(medians) @ away / (away @ away), ddof=1))
