"""What a user should know about a network before training it."""

from __future__ import annotations

import numpy as np

from ..comparison import Comparison
from ..comparison.table import few_networks
from ..ensembles import Ensemble
from ..fisher import FisherStatistics
from ..learning_rate import LearningRate
from ..mean_field.moments import OrderParameters
from ..network import Network
from ..phase import FixedPoint

__all__ = ["cautions"]


def cautions(
    net: Network,
    fp: FixedPoint | None,
    op: OrderParameters,
    fim: FisherStatistics,
    lr: LearningRate,
    table: Comparison,
    ens: Ensemble,
) -> list[str]:
    """One sentence for everything out of the ordinary."""
    found = []
    depth = net.n_weight_layers
    back = op.averaged("q_tilde")
    gain = back[0] / back[-1]
    scale = ""
    if fp is not None and 0 < abs(fp.xi_grad) < depth:
        scale = f": depth {depth} is {depth / abs(fp.xi_grad):.2g} times |xi_grad| = {abs(fp.xi_grad):.3g}"
    if not 0.01 <= gain <= 100:
        found.append(
            f"gradients {'vanish' if gain < 1 else 'explode'}{scale}; squared errors reach the first layer {gain:.2g} "
            "times their size at the output"
        )
    forward = op.averaged("q")
    growth = forward[-1] / forward[0] if forward[0] > 0 else 1.0
    if not 1e-3 < growth < 1e3:
        found.append(
            f"pre-activations {'grow' if growth > 1 else 'shrink'} {growth:.2g}-fold in variance from the first "
            "to the last layer"
        )
    if forward[-1] > 0 and fim.n_samples > 1:
        c = op.averaged("q_st")[-1] / forward[-1]
        if 1 - c < 0.01 and depth > 1:
            found.append(
                "outputs for different inputs are nearly equal at initialisation: their correlation is "
                f"1 - {max(1 - c, 0):.2g}"
            )
    if fim.caution:
        found.append(fim.caution)
    narrow = min(net.widths[1:-1], default=0)
    if narrow and depth / narrow > 0.1:
        found.append(
            f"narrow: depth/width = {depth / narrow:.2g}; single networks scatter widely around the values of theory"
        )
    top = float(np.mean(ens.values["lambda_max"]))
    if top > 1.05 * fim.largest > 0:  # where theory has no gradients, what a network has is rounding
        why = f"the {fim.n_outliers} outliers split" if fim.n_outliers > 1 else "finite width raises it"
        found.append(
            f"the largest eigenvalue of the sampled networks is {top / fim.largest - 1:.0%} above infinite width "
            f"({why}), whose learning rate is too large for them: take the safe one"
        )
    missed = [row.quantity for row in table.rows if row.agrees is False]
    if missed:
        found.append(
            "theory and simulation differ by more than the stated finite-width corrections in "
            + ", ".join(missed)
            + ("; with so few networks, draw more before you believe it" if few_networks(ens.n_networks) else "")
        )
    doubtful = [row.quantity for row in table.rows if row.verdict == "doubtful"]
    if doubtful:
        found.append(
            f"theory and simulation differ by more than chance in {', '.join(doubtful)}, by no more than the caution "
            "of the law allows"
        )
    if lr.loss == "cross_entropy":
        found.append(
            "the cross-entropy rate is a bound for any softmax while F itself does not grow, not the exact edge"
        )
    return found
