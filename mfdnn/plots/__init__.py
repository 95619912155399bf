r"""Pictures of what the package computes: Axes in, Axes out.

Every function draws into `ax` (or makes one), returns it, and never calls ``show``. They take results
and know of no theory; nothing is computed here but positions of labels. Colours are those of Okabe and Ito, which
the colour-blind can tell apart. Legends stand above the axes, where no data are.
"""

from ._style import COLOURS
from .depth import order_parameters
from .finite_width import outlier_law, spread_map
from .fisher import eigenvalue_scaling, fisher_spectrum, learning_rate_boundary
from .jacobian import jacobian_spectrum
from .maps import map_curve
from .module import layer_shares, loss_along_step
from .phases import depth_scales, phase_diagram
from .scaling import coordinate_check
from .training import learning_rate_map

__all__ = [
    "COLOURS",
    "coordinate_check",
    "depth_scales",
    "eigenvalue_scaling",
    "fisher_spectrum",
    "jacobian_spectrum",
    "layer_shares",
    "learning_rate_boundary",
    "learning_rate_map",
    "loss_along_step",
    "map_curve",
    "order_parameters",
    "outlier_law",
    "phase_diagram",
    "spread_map",
]
