"""The package's speed, each row beside a plain baseline in the same run: python benchmarks/bars.py

Compilation and tables are warmed up first where a row says so. Ratios travel between machines, seconds do not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import mfdnn
from mfdnn._tables import Tables


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def row(what: str, ours: float, baseline: float | None = None, versus: str = "") -> None:
    ratio = f"{baseline / ours:10.1f} x  {versus}" if baseline is not None else ""
    print(f"{what:<58} {ours:9.3f} s {ratio}", flush=True)


def plain_diagram(n: int, degree: int = 25, iterations: int = 100) -> None:
    """tanh, n x n points: fixed Gauss-Hermite quadrature, maps iterated a fixed number of times; what is usual."""
    x, w = np.polynomial.hermite_e.hermegauss(degree)
    w = w / w.sum()
    w2, b2 = np.meshgrid(np.linspace(0.1, 4, n), np.linspace(0, 0.5, n), indexing="ij")
    q, c = np.ones((n, n)), np.full((n, n), 0.5)
    for _ in range(iterations):
        z1 = np.sqrt(q)[..., None, None] * x[:, None]
        z2 = np.sqrt(q)[..., None, None] * (
            c[..., None, None] * x[:, None] + np.sqrt(1 - c**2)[..., None, None] * x
        )
        product = np.einsum("i,j,...ij->...", w, w, np.tanh(z1) * np.tanh(z2))
        q = w2 * (np.tanh(np.sqrt(q)[..., None] * x) ** 2 @ w) + b2
        c = np.clip((w2 * product + b2) / q, 0, 1 - 1e-12)


def diagrams() -> None:
    axes = np.linspace(0.1, 4, 512), np.linspace(0, 0.5, 512)
    n = 24
    per_point = seconds(lambda: plain_diagram(n), repeats=1) / n**2
    users = {"lambda x: tanh(x) + 0.1 x": lambda x: np.tanh(x) + 0.1 * x}
    for name in ("tanh", "relu", "hard_tanh", "gelu", "selu", *users):
        phi = users.get(name, name)
        mfdnn.phase_diagram(phi, axes[0][:9], axes[1][:9])
        act = mfdnn.activation(phi)
        fresh = mfdnn.Activation(act.name, act._function, act._derivative, act._given_kinks)
        row(f"moment tables of {name}", seconds(lambda fresh=fresh: Tables(fresh).moments, repeats=1))
        for workers in (1, 2):
            with ThreadPoolExecutor(workers) as pool:
                ours = seconds(lambda phi=phi, pool=pool: mfdnn.phase_diagram(phi, *axes, executor=pool))
            versus = "plain tanh, degree 25, 100 iterations, same number of points"
            row(f"512 x 512 diagram of {name}, {workers} thread(s)", ours, per_point * 512**2, versus)


def kernels() -> None:
    X = np.random.default_rng(0).standard_normal((1000, 784))
    for name in ("relu", "erf", "tanh"):
        net = mfdnn.mlp([784, 1000, 1000, 1000, 1000, 10], name, sigma_w2=2.0, sigma_b2=0.1)
        mfdnn.fisher_statistics(net, inputs=X[:5])
        row(
            f"T = 1000 order parameters on data, {name}, L = 5",
            seconds(lambda net=net: mfdnn.order_parameters(net, inputs=X)),
        )


def largest_eigenvalue() -> None:
    net = mfdnn.mlp([1000, 1000, 1000, 10], "relu", sigma_w2=2.0, sigma_b2=0.1)
    X = np.random.default_rng(0).standard_normal((1000, 1000))
    one = mfdnn.sample(net, rng=0, dtype="float32")
    linear = one.linearise(X)

    def ggn(v: np.ndarray) -> np.ndarray:
        return linear.vjp(linear.jvp(v)) / len(X)

    operator = LinearOperator((one.n_parameters,) * 2, matvec=ggn, dtype=np.float32)
    for k in (1, 10):
        ours = seconds(lambda k=k: mfdnn.fisher_spectrum(one, X, k=k, tol=1e-4))
        plain = seconds(lambda k=k: eigsh(operator, k=k, tol=1e-4, return_eigenvectors=False), repeats=1)
        row(
            f"{k} largest eigenvalues, M = T = 1000, L = 3, C = 10, float32",
            ours,
            plain,
            "eigsh on the GGN, P-dimensional",
        )


def processes() -> None:
    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)

    row(
        "import mfdnn",
        seconds(run("-c", "import mfdnn")),
        seconds(run("-c", "import numba, scipy.special")),
        "numba and scipy alone",
    )
    row(
        "mfdnn learning-rate 784-1000-1000-10, second process",
        seconds(run("-m", "mfdnn.cli", "learning-rate", "784-1000-1000-10")),
    )


if __name__ == "__main__":
    processes()
    diagrams()
    kernels()
    largest_eigenvalue()
