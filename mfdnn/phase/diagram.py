"""Fixed points on a grid of variances."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.memory import require_memory
from .._support.results import GridResult
from .._support.validation import checked, finite_number, nonnegative_array
from ..activations import Activation, activation
from ..jobs.threads import Threads
from .critical import CriticalLine, critical_line
from .fixed_points import solve
from .variances import keep_probability, starting_variances

__all__ = ["PhaseDiagram", "phase_diagram"]


@dataclass(frozen=True, repr=False, eq=False)
class PhaseDiagram(GridResult):
    r"""Fixed points on a grid: the fields of `FixedPoint`, each of shape (n_w, n_b).

    Attributes
    ----------
    activation : str
        Its label.
    sigma_w2 : ndarray, shape (n_w,)
        Weight variances times fan-in: the first axis.
    sigma_b2 : ndarray, shape (n_b,)
        Bias variances: the second axis.
    q, c : ndarray, shape (n_w, n_b)
        :math:`q^*` and :math:`c^*` of pre-activations.
    chi_1 : ndarray, shape (n_w, n_b)
        Growth of squared gradients per layer.
    chi_c : ndarray, shape (n_w, n_b)
        Slope of the correlation map at :math:`c^*`.
    xi_q, xi_c, xi_grad : ndarray, shape (n_w, n_b)
        Depth scales in layers: inf at criticality, negative where the quantity grows.
    phase : ndarray of str, shape (n_w, n_b)
        "ordered", "critical", "chaotic" or "unbounded".
    status : ndarray of str, shape (n_w, n_b)
        "ok" or what is special, a key of `mfdnn.phase.STATUS`.
    q0 : float
        Variance of the first pre-activation from which the fixed points are reached.
    keep_rate : float
        Probability with which dropout keeps a unit; 1: no dropout.
    """

    AXES: ClassVar[tuple[str, ...]] = ("sigma_w2", "sigma_b2")

    activation: str
    sigma_w2: np.ndarray
    sigma_b2: np.ndarray
    q: np.ndarray
    c: np.ndarray
    chi_1: np.ndarray
    chi_c: np.ndarray
    xi_q: np.ndarray
    xi_c: np.ndarray
    xi_grad: np.ndarray
    phase: np.ndarray
    status: np.ndarray
    q0: float = 1.0
    keep_rate: float = 1.0
    _phi: Activation | None = None  # for plots; a file holds its label only

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_phi": None}  # a lambda does not pickle

    def edge(self, phi: str | Callable | Activation | None = None) -> CriticalLine | None:
        """The edge of chaos of its activation, or of `phi`: a `CriticalLine`.

        None where there is no edge, and without `phi` for a diagram of a callable that was read from a file, which
        holds but the label.
        """
        given = None if phi is None else activation(phi)
        try:
            act = given or activation(self._phi or self.activation)
            return critical_line(act, keep_rate=self.keep_rate)
        except ValueError:  # not a name, or an activation that has no edge
            return None

    def plot(self, field: str = "xi_c", ax: Any = None, **options: Any) -> Any:
        """Draw one field and the edge of chaos into `ax`: `mfdnn.plots.phase_diagram`."""
        from .. import plots

        return plots.phase_diagram(self, field, ax=ax, **options)


def phase_diagram(
    phi: str | Callable | Activation,
    sigma_w2: Any,
    sigma_b2: Any,
    executor: Any = None,
    progress: bool = False,
    q0: float = 1.0,
    keep_rate: float = 1.0,
) -> PhaseDiagram:
    r"""Fixed points on a grid of variances.

    Parameters
    ----------
    phi : str, callable or Activation
    sigma_w2, sigma_b2 : 1-D array
        Axes of the grid.
    executor : optional
        Anything with the ``map`` of `concurrent.futures.Executor`. Default: threads, one per core.
    progress : bool
        Show a progress bar on stderr (if it is a terminal).
    q0 : float
        Variance of the first pre-activation.
    keep_rate : float
        Probability with which dropout keeps a unit: see `mfdnn.fixed_point`.

    Returns
    -------
    PhaseDiagram
        Fields of shape ``(len(sigma_w2), len(sigma_b2))``; every point has a phase and a status, none is nan.

    Raises
    ------
    ValueError
        Axes that are empty, not one-dimensional, negative or not finite; `q0` or `keep_rate` as in `mfdnn.fixed_point`.
    TypeError
        An `executor` without ``map``.
    MemoryError
        The grid does not fit.

    Examples
    --------
    >>> import numpy as np, mfdnn
    >>> pd = mfdnn.phase_diagram("tanh", np.linspace(0.5, 3, 6), np.linspace(0, 0.3, 4))
    >>> pd.phase[:, 1].tolist()
    ['ordered', 'ordered', 'ordered', 'chaotic', 'chaotic', 'chaotic']
    """
    act = activation(phi)
    w2, b2 = (
        nonnegative_array(name, axis) for name, axis in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2))
    )
    for name, axis in (("sigma_w2", w2), ("sigma_b2", b2)):
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(
                f"`{name}` must be a non-empty 1-D axis, got shape {axis.shape}; pass for example np.linspace(0.5, 4)."
            )
    start, progress = finite_number("q0", q0), checked(progress=progress)
    starting_variances(w2[:1], b2[:1], start)
    if executor is not None and not callable(getattr(executor, "map", None)):
        raise TypeError(
            f"`executor` must have a method `map`, got {type(executor).__name__}; pass a concurrent.futures.Executor."
        )
    keep = keep_probability(keep_rate)
    require_memory(400.0 * w2.size * b2.size, f"a phase diagram of {w2.size} x {b2.size} points", "take fewer points")
    grid_w, grid_b = (g.ravel() for g in np.meshgrid(w2, b2, indexing="ij"))
    with Threads() if executor is None else nullcontext(executor) as pool:
        rows, phase, status = solve(act, grid_w, grid_b, np.full(grid_w.size, start), keep, pool.map, progress)
    shape = (w2.size, b2.size)
    arrays = [row.reshape(shape) for row in (*rows, phase, status)]
    return PhaseDiagram(act.label, w2, b2, *arrays, start, keep, _phi=act)  # type: ignore  # mypy cannot count them
