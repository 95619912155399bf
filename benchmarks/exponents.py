"""Exponents of the critical rate over width, of theory and of networks (docs/optimisers.md has the table).

At given errors, the same for all, T = 32, one output: the median over sixty networks a width (fifteen for Muon) of 2
e.D/|D|^2 of each. Ten minutes on one core.
"""

import numpy as np

import mfdnn
from mfdnn.learning_rate.updates.response import step_response
from mfdnn.learning_rate.updates.rules import checked_update
from mfdnn.losses.optimisers import checked_optimiser
from mfdnn.training.updates import Update

SIZES, NETWORKS, SAMPLES = (64, 256, 1024), 60, 32
CASES = {"relu (2, 0)": ("relu", 2.0, 0.0), "tanh (1.5, 0.05)": ("tanh", 1.5, 0.05)}


def rate(e, D):
    return 2 * np.vdot(e, D) / np.vdot(D, D)


def of_network(net, seed, X, e, optimizer):
    """The critical rate of one network at errors e, were its outputs linear."""
    one = mfdnn.sample(net, rng=[3, seed])
    linear = one.linearise(X)
    gradients = [g for group in linear.gradients(e / len(X)) for g in group if g is not None]
    arrays = [a.copy() for group in one.parameters for a in group if a is not None]
    before = np.concatenate([a.ravel() for a in arrays])
    update = Update(arrays, 1.0, checked_optimiser(optimizer))
    update([np.array(g) for g in gradients])
    return rate(e, linear.jvp(before - np.concatenate([a.ravel() for a in arrays])))


def main():
    rng = np.random.default_rng(0)
    X, e = rng.standard_normal((SAMPLES, 64)), rng.standard_normal((SAMPLES, 1))
    print("| network | optimiser | theory, 64 to 256 | networks | theory, 256 to 1024 | networks |")
    print("|---|---|---|---|---|---|")
    for name, (act, sigma_w2, sigma_b2) in CASES.items():
        nets = [mfdnn.mlp([64, M, M, M, 1], act, sigma_w2, sigma_b2) for M in SIZES]
        for optimizer in ("sgd", "adam", "muon"):
            update, number = checked_update(optimizer), NETWORKS if optimizer != "muon" else NETWORKS // 4
            theory, found, errors = [], [], []
            for net in nets:
                response = step_response(mfdnn.MeanField(net, inputs=X), update, "standard")
                theory.append(np.log(rate(e, response.rows(e, 20_000, rng).D.sum(axis=0))))
                logs = np.log([of_network(net, seed, X, e, optimizer) for seed in range(number)])
                found.append(np.median(logs))
                errors.append(1.25 * logs.std(ddof=1) / np.sqrt(number))
            step = np.log(4)
            cells = []
            for i in range(2):
                error = np.hypot(errors[i], errors[i + 1]) / step
                cells.append(f"{(theory[i + 1] - theory[i]) / step:.2f}")
                cells.append(f"{(found[i + 1] - found[i]) / step:.2f} ± {error:.2f}")
            print("|", " | ".join([name, optimizer, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
