"""A network of infinite width on its data.

Its inputs, the recursion over its layers, the moments on the way, and its outputs.
"""

from .entry import as_mean_field, order_parameters, refuse_data
from .inputs import check_correlation
from .moments import OrderParameters
from .outputs import mean_field_logits, output_normalisation
from .recursion import MeanField

__all__ = [
    "MeanField",
    "OrderParameters",
    "as_mean_field",
    "check_correlation",
    "mean_field_logits",
    "order_parameters",
    "output_normalisation",
    "refuse_data",
]
