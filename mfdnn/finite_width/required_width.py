"""How wide a network must be for its largest eigenvalue to be known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.errors import NoTheory
from .._support.results import Result
from .._support.validation import finite_number
from ..mean_field import MeanField, as_mean_field
from ..network import Network, scale_widths
from .outliers import NoOutlier, law_of
from .outliers_result import OutlierDistribution

__all__ = ["RequiredWidth", "width_for_spread"]

MAX_FACTOR = 2**20  # widths beyond that times those given are not looked at


@dataclass(frozen=True, repr=False, eq=False)
class RequiredWidth(Result):
    """Widths at which the largest eigenvalue is certain enough.

    Attributes
    ----------
    factor : float
        By which the hidden widths are multiplied.
    widths : tuple of int
        The widths, inputs and outputs included.
    spread : float
        Standard deviation of the largest eigenvalue over its mean, there.
    distribution : OutlierDistribution
        The whole law, there.
    caution : str
        That of the law: what to know before the widths are relied on; mostly empty.
    """

    factor: float
    widths: tuple[int, ...]
    spread: float
    distribution: OutlierDistribution
    caution: str
    _network: Network

    @property
    def network(self) -> Network:
        """The network of these widths."""
        return self._network


def width_for_spread(
    net: Network | MeanField,
    spread: float,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
) -> RequiredWidth:
    r"""How wide a network must be for 2/lambda_max to be known to `spread`.

    The smallest common factor of the hidden widths, to 1 %, at which the standard deviation of the largest
    eigenvalue over draws is at most `spread` times its mean. It falls like :math:`M^{-1/2}`; drawn inputs
    leave a part that hidden widths do not touch.

    Parameters
    ----------
    net : Network or MeanField
        Its layers, and the proportions of its hidden widths.
    spread : float
        Relative standard deviation > 0.
    n_samples, q0, c0, inputs
        As in `outlier_distribution`.

    Returns
    -------
    RequiredWidth

    Raises
    ------
    ValueError
        `spread` <= 0; a spread that no width reaches; and what `outlier_distribution` raises, for reasons
        other than narrowness.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([500, 100, 100, 1], "relu", sigma_w2=2.0, sigma_b2=0.1)
    >>> found = mfdnn.width_for_spread(net, 0.1, n_samples=300)
    >>> found.widths, round(found.spread, 3)
    ((500, 231, 231, 1), 0.1)

    Notes
    -----
    Cost: that of `outlier_distribution` at a dozen widths; where units are sampled the same ones are taken at each.
    """
    target = finite_number("spread", spread)
    if target <= 0:
        raise ValueError(f"`spread` must be > 0, got {spread}; 0.1 means a standard deviation of 10 %.")
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    net = wide.network
    if net.n_weight_layers < 2:
        law_of(wide)  # says that a hidden layer is needed
    widest = max(net.widths[1:-1])
    tried: dict[int, RequiredWidth | NoOutlier] = {}

    def enough(width: int) -> bool:
        if width not in tried:
            tried[width] = _evaluate(wide, width / widest)
        found = tried[width]
        return isinstance(found, RequiredWidth) and found.spread <= target

    high = widest
    while not enough(high):
        if high > MAX_FACTOR * widest:
            raise NoTheory(
                f"`spread` = {target:g} is not reached by any width: {_reason(tried[high])}; take more samples, larger "
                "inputs, or a larger spread."
            )
        high *= 2
    low = 0 if high == widest else high // 2
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    found = tried[high]
    assert isinstance(found, RequiredWidth)
    return found


def _evaluate(wide: MeanField, factor: float) -> RequiredWidth | NoOutlier:
    """The law at `factor` times the hidden widths, or why there is none."""
    scaled = scale_widths(wide.network, factor)
    try:
        law = law_of(wide.with_network(scaled))
    except NoOutlier as error:
        if error.at_any_width:
            raise
        return error
    spread = law.largest_standard_deviation / law.largest_mean
    return RequiredWidth(factor, scaled.widths, spread, law, law.caution, scaled)


def _reason(found: RequiredWidth | NoOutlier) -> str:
    if isinstance(found, NoOutlier):
        return str(found).rstrip(".")
    return f"{found.spread:.2g} is left, of the inputs' own draw"
