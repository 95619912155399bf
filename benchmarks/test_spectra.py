"""Eigenvalues of the Fisher information of one sampled network."""

import time
import tracemalloc

import numpy as np
from baselines import largest_eigenvalue, seconds, spectrum

import mfdnn
from mfdnn.sampled import spectrum as package

M = T = 1000
C = 10
TOLERANCE = 1e-4


def multiplication_rate(n=1000, repeats=20):
    """Operations a second of the machine's matrix product in float32."""
    a, b = np.random.default_rng(0).standard_normal((2, n, n), dtype=np.float32)
    out = a @ b
    return 2 * n**3 / seconds(lambda: np.matmul(a, b, out=out), repeats)


def products_counted(monkeypatch, function):
    """Number of vectors multiplied by the dual while `function` runs."""
    count = 0
    whole = package.largest_eigenpairs

    def counting(product, *args, **options):
        def counted(V):
            nonlocal count
            count += V.shape[1]
            return product(V)

        return whole(counted, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(package, "largest_eigenpairs", counting)
        function()
    return count


def test_largest_eigenvalue(timed, row, monkeypatch):
    net = mfdnn.mlp([M, M, M, C], "relu", sigma_w2=2.0, sigma_b2=0.1)
    X = np.random.default_rng(0).standard_normal((T, M))
    one = mfdnn.sample(net, rng=0, dtype="float32")

    def ours():
        return mfdnn.fisher_spectrum(one, X, k=1, tol=TOLERANCE)

    ours_seconds = timed(ours, rounds=5)
    linear = one.linearise(X)
    start = time.perf_counter()
    value, n_plain = largest_eigenvalue(linear.jvp, linear.vjp, one.n_parameters, T, TOLERANCE)
    plain = time.perf_counter() - start
    ratio, digits = plain / ours_seconds, abs(ours().largest / value - 1)
    what = f"lambda_max, M = T = {M}, L = 3, C = {C}, float32, tol {TOLERANCE:g}"
    row(
        what,
        "3 times faster than eigsh on the P-dimensional matrix",
        f"{ours_seconds:.2f} s, {ratio:.1f}x ({n_plain} products); relative difference {digits:.0e}",
        ratio >= 3 and digits <= TOLERANCE,
    )
    n = products_counted(monkeypatch, ours)
    # Forward twice T M^2 products, errors of C outputs through one hidden matrix, Gram matrices of the three
    # layers' inputs, and for each vector the Gram matrices times the errors of two wide layers.
    operations = 2 * T * M * (2 * M + C * M + 3 * T + n * 2 * T)
    rate, machine = operations / ours_seconds, multiplication_rate()
    row(
        "the same: share of the machine's matrix-multiply rate",
        "> 0.5",
        f"{rate / machine:.2f} of {machine / 1e9:.0f} GFLOP/s ({n} products)",
        rate / machine > 0.5,
    )


def test_whole_spectrum(timed, row):
    samples, outputs, width = 200, 10, 100
    net = mfdnn.mlp([width, width, width, outputs], "relu", sigma_w2=2.0, sigma_b2=0.1)
    X = np.random.default_rng(0).standard_normal((samples, width))
    one = mfdnn.sample(net, rng=0)
    ours_seconds = timed(lambda: mfdnn.fisher_spectrum(one, X))
    linear = one.linearise(X)
    start = time.perf_counter()
    expected = spectrum(linear.vjp, samples, outputs)
    plain = time.perf_counter() - start
    error = np.max(np.abs(mfdnn.fisher_spectrum(one, X).eigenvalues - expected)) / expected[0]
    tracemalloc.start()
    mfdnn.fisher_spectrum(one, X)
    matrices = tracemalloc.get_traced_memory()[1] / (8 * (samples * outputs) ** 2)
    tracemalloc.stop()
    row(
        f"all {samples * outputs} eigenvalues by the dual: peak memory in TC x TC matrices",
        "< 5, activations aside",
        f"{matrices:.1f}, activations included; {ours_seconds:.2f} s; stored Jacobian {plain:.2f} s; "
        f"difference {error:.0e} of the largest",
        matrices < 5 and error < 1e-12,
    )
