"""What theory says of the singular values of the Jacobian against depth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._support.errors import NoTheory
from ..jacobian import JacobianDepth, jacobian_depth
from ..mean_field import MeanField
from .claims import Claim, Scales, claim

__all__ = ["depth_theory", "jacobian_claims"]

ENDS = "ends of the spectrum at infinite width: networks reach them slowly, and theory makes no claim"


def depth_theory(wide: MeanField) -> JacobianDepth | None:
    """Of the first input; None where there is none."""
    q0 = 1.0 if wide.q0 is None else float(np.ravel(wide.q0)[0])
    if wide.inputs is not None:
        q0 = float(np.mean(np.square(wide.inputs[0])))
    try:
        return wide.once("jacobian depth", lambda: jacobian_depth(wide.network, q0))
    except NoTheory:
        return None


def jacobian_claims(wide: MeanField, s: Scales, rounding: float) -> Iterator[Claim]:
    """Of what `jacobian=True` measures: of the mean, and what is known of the ends."""
    theory = depth_theory(wide)
    if theory is None:
        return
    for l, value in enumerate(theory.mean):
        allowance, note = claim(float(value), float(value), 0.75 * l / s.width, rounding)
        yield Claim(f"jacobian_mean[{l + 1}]", float(value), float(value), allowance, note)
    for name, values in (
        ("largest", theory.largest),
        ("smallest", theory.smallest),
        ("inverse_condition", 1 / theory.condition),
    ):
        for l, value in enumerate(values):
            yield Claim(f"jacobian_{name}[{l + 1}]", float(value), float(theory.largest[l]), np.inf, ENDS)
