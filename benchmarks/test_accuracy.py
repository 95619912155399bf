"""Gaussian expectations against adaptive quadrature of the definition, in digits and in time."""

import naive
import numpy as np
from baselines import seconds

import mfdnn

BAR = 1e-10
NAMES = sorted(
    set(mfdnn.activation_names()) & set(naive.BUILDERS) - {"exp"}
)  # exp has a small domain of its own


def cases(n=4, seed=0):
    """Triples (q1, q2, c) over the range of the bar, c = 1 - 10^-k among them."""
    rng = np.random.default_rng(seed)
    q1, q2 = np.exp(rng.uniform(np.log(1e-6), np.log(1e3), (2, n)))
    return q1, q2, np.append(rng.uniform(-1, 1, n - 2), [1 - 1e-6, -0.999])


def test_expectations_of_pairs(timed, row):
    q1, q2, c = cases()
    acts = [mfdnn.activation(name) for name in NAMES]

    def ours():
        return [mfdnn.expect_product(act, q1, c, q2, return_error=True) for act in acts]

    def brute():
        twins = [naive.phi(act.name, **act.parameters) for act in acts]
        return np.array(
            [[naive.expect_product(p, *case) for case in zip(q1, c, q2, strict=True)] for p in twins]
        )

    time = timed(ours, rounds=1) / (len(acts) * c.size)
    values, errors = np.swapaxes(np.array(ours()), 0, 1)
    expected = brute()
    size = np.sqrt([mfdnn.expect_product(act, q1) * mfdnn.expect_product(act, q2) for act in acts])
    worst = np.max(np.abs(values - expected) / size)
    plain = seconds(brute, repeats=1) / values.size
    what = f"E[phi(u) phi(v)], {len(acts)} built-in activations, q in [1e-6, 1e3], worst relative error"
    row(what, f"<= {BAR:g}", f"{worst:.1e}", worst <= BAR)
    honest = np.abs(values - expected) <= errors + 1e-13 * size  # the twin's own rounding
    row(
        "the same: reported error below the true one",
        "never",
        f"{np.sum(~honest)} of {honest.size}",
        honest.all(),
    )
    row("the same: time a pair", "", f"{1e3 * time:.2f} ms; adaptive quadrature {1e3 * plain:.0f} ms")
