"""Call every kernel once, with every kind of activation: a second process then finds all of them compiled.

`python every_kernel.py` prints the kernels that were compiled for more than one signature.
"""

import numpy as np

import mfdnn
from mfdnn import _compiled

ACTIVATIONS = ("relu", "erf", "tanh", "hard_tanh", lambda x: np.maximum(np.tanh(x), -0.3))


def call_every_kernel():
    X = np.random.default_rng(0).standard_normal((6, 10))
    X[1] = X[0] + 1e-3  # almost a copy: pairs that the series does not resolve
    for phi in ACTIVATIONS:
        mfdnn.phase_diagram(phi, [1.0, 2.0], [0.0, 0.1])
        mfdnn.expect_product(phi, 1.0, 0.5)
        mfdnn.trajectory(phi, 1.5, 0.1, 3)
        net = mfdnn.mlp([10, 20, 2], phi, sigma_w2=2.0, sigma_b2=0.1)
        mfdnn.fisher_statistics(net, n_samples=6)
        mfdnn.fisher_statistics(net, inputs=X)
    for phi in ("cos", "gelu"):  # E[phi^2] falls; several attractors
        mfdnn.phase_diagram(phi, [1.0, 2.0], [0.0, 0.1])
    mfdnn.order_parameters(mfdnn.mlp([10, 20, 2], "tanh"), inputs=300 * X + 500)  # pairs by one smoothed factor
    net = mfdnn.mlp([20] * 4, "tanh", sigma_w2=1.5, sigma_b2=0.1)
    mfdnn.jacobian_spectrum(net)
    mfdnn.conditional_fisher(net)
    jump = mfdnn.activation(lambda x: np.tanh(x) + (x > 0.3))
    mfdnn.trajectory(jump, 1.5, 0.1, 3)
    mfdnn.expect_product(jump, 1.0, 0.999999)


def kernels():
    return {name: kernel for name, kernel in vars(_compiled).items() if hasattr(kernel, "signatures")}


if __name__ == "__main__":
    call_every_kernel()
    # A kernel that only another kernel calls has its signatures in the order of that one's calls, in any process.
    found = {name: kernel.signatures for name, kernel in kernels().items() if not name.startswith("_")}
    print({name: signatures for name, signatures in found.items() if len(signatures) > 1})
