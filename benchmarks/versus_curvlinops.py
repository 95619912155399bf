"""The largest Fisher eigenvalue beside curvlinops' GGN with ARPACK: seconds and digits, in one run.

python3 -m venv .venv-curvlinops
.venv-curvlinops/bin/pip install torch
.venv-curvlinops/bin/pip install curvlinops-for-pytorch --editable .
.venv-curvlinops/bin/python benchmarks/versus_curvlinops.py
"""

import time

import numpy as np
from baselines import seconds

import mfdnn

M = T = 1000
C = 10
TOLERANCE = 1e-4


def main():
    try:
        import curvlinops
        import torch
    except ImportError:
        print("curvlinops is not installed here; the first lines of this file say how to set it up.")
        return
    from scipy.sparse.linalg import eigsh

    X = np.random.default_rng(0).standard_normal((T, M)).astype(np.float32)
    one = mfdnn.sample(mfdnn.mlp([M, M, M, C], "relu", sigma_w2=2.0, sigma_b2=0.1), rng=0, dtype="float32")
    layers = []
    for weight, bias in one.parameters:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])

    # The mean over samples and outputs of squares: its GGN is 2/C times the Fisher information.
    data = [(torch.tensor(X), torch.zeros(T, C))]
    params = [p for p in model.parameters() if p.requires_grad]
    operator = curvlinops.GGNLinearOperator(
        model, torch.nn.MSELoss(), params, data, check_deterministic=False
    ).to_scipy(dtype=np.float32)
    start = time.perf_counter()
    theirs = float(eigsh(operator, k=1, tol=TOLERANCE, return_eigenvectors=False)[0]) * C / 2
    their_seconds = time.perf_counter() - start
    ours = mfdnn.fisher_spectrum(one, X, k=1, tol=TOLERANCE).largest
    my_seconds = seconds(lambda: mfdnn.fisher_spectrum(one, X, k=1, tol=TOLERANCE), 5)
    # In float64 and to twelve digits: what both should have found.
    double = mfdnn.sample(one.network, rng=0)
    double.parameters = [(w.astype(float), b.astype(float)) for w, b in one.parameters]
    exact = mfdnn.fisher_spectrum(double, X.astype(float), k=1, tol=1e-9).largest
    print(f"lambda_max, M = T = {M}, L = 3, C = {C}, float32, tol {TOLERANCE:g}; torch {torch.__version__}")
    print(f"theirs {their_seconds:.2f} s, relative error {abs(theirs / exact - 1):.0e}")
    print(
        f"ours   {my_seconds:.2f} s, relative error {abs(ours / exact - 1):.0e};  {their_seconds / my_seconds:.1f} x"
    )


if __name__ == "__main__":
    main()
