"""The largest eigenvalues of the Fisher information at finite widths.

How they scatter over networks, and where they end up.

`outlier_distribution` is the law of the C outliers over drawn networks, to leading order in 1/M; `width_for_spread`
and `spread_map` ask it how wide a network must be. `centred_edge` is where the spectrum ends once the mean of the
outputs is subtracted.

Proved is little: the form of the covariance of the outliers (their law is invariant under rotations of the outputs)
and closed forms of special cases. The leading order is perturbation theory without a bound on the remainder; the joint
law is a model with the right first two moments; the edge rests on a Gaussian equivalence and a cavity argument. All of
it is checked by simulation, and what was checked is said where it is computed. Where a derivation ends, functions
refuse: no outlier clear of the bulk, orthogonal weights, a normalisation of the outputs, a softmax. Where only the
check ends, the result carries a `caution`. Networks of layers that are not fully connected have their law from units
that are sampled: `influence` at given inputs, `drawn_influence` and `shift` where inputs are drawn with the network.
``docs/finite_width.md`` has all of it on one page.
"""

from ..fisher.edge.centred import CentredEdge, centred_edge
from ..gaussian.conditional import Conditional, conditional
from .outliers import outlier_distribution
from .outliers_result import OutlierDistribution
from .required_width import RequiredWidth, width_for_spread
from .spread_map import SpreadMap, spread_map

__all__ = [
    "CentredEdge",
    "Conditional",
    "OutlierDistribution",
    "RequiredWidth",
    "SpreadMap",
    "centred_edge",
    "conditional",
    "outlier_distribution",
    "spread_map",
    "width_for_spread",
]
