"""What one would write without the package: plain NumPy and SciPy, as usual in the field."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

DEGREE = 25  # of fixed Gauss-Hermite quadrature, neural-tangents' default


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def product(phi: Callable, q1: np.ndarray, q2: np.ndarray, c: np.ndarray, degree: int = DEGREE) -> np.ndarray:
    """E[phi(u) phi(v)] by a product rule of fixed degree, elementwise."""
    x, w = np.polynomial.hermite_e.hermegauss(degree)
    w = w / w.sum()
    q1, q2, c = (a[..., None, None] for a in np.broadcast_arrays(q1, q2, c))
    u = np.sqrt(q1) * x[:, None]
    v = np.sqrt(q2) * (c * x[:, None] + np.sqrt(1 - c**2) * x)
    return np.einsum("i,j,...ij->...", w, w, phi(u) * phi(v))


def diagram(phi: Callable, sigma_w2: np.ndarray, sigma_b2: np.ndarray, iterations: int = 100) -> tuple:
    """q and c after a fixed number of iterations of the maps, on a grid."""
    x, w = np.polynomial.hermite_e.hermegauss(DEGREE)
    w = w / w.sum()
    w2, b2 = np.meshgrid(sigma_w2, sigma_b2, indexing="ij")
    q, c = np.ones(w2.shape), np.full(w2.shape, 0.5)
    for _ in range(iterations):
        covariance = w2 * product(phi, q, q, c) + b2
        q = w2 * (phi(np.sqrt(q)[..., None] * x) ** 2 @ w) + b2
        c = np.clip(covariance / q, 0, 1 - 1e-12)
    return q, c


def relu_products(q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] of relu: the arc-cosine kernel (Cho & Saul 2009)."""
    angle = np.arccos(c)
    value = np.sqrt(q1 * q2) * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi)
    return value, (np.pi - angle) / (2 * np.pi)


def erf_products(q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] of erf: the arc-sine kernel (Williams 1997)."""
    covariance = 2 * np.sqrt(q1 * q2) * c
    size = (1 + 2 * q1) * (1 + 2 * q2)
    return 2 / np.pi * np.arcsin(covariance / np.sqrt(size)), 4 / np.pi / np.sqrt(size - covariance**2)


def tangent_kernel(
    products: Callable, X: np.ndarray, n_layers: int, sigma_w2: float, sigma_b2: float
) -> np.ndarray:
    """NTK (in NTK parameterisation) of a fully connected network by the usual recursion."""
    covariance = sigma_w2 * X @ X.T / X.shape[1] + sigma_b2
    kernel = covariance
    for _ in range(n_layers - 1):
        q = np.diagonal(covariance)
        c = np.clip(covariance / np.sqrt(np.outer(q, q)), -1, 1)
        value, slope = products(q[:, None], q, c)
        covariance = sigma_w2 * value + sigma_b2
        kernel = covariance + kernel * sigma_w2 * slope
    return kernel


def largest_eigenvalue(
    jvp: Callable, vjp: Callable, n_parameters: int, n_samples: int, tol: float
) -> tuple[float, int]:
    """Largest eigenvalue of the P-dimensional J^T J / T by ARPACK, and its number of products."""
    products = 0

    def fisher(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return vjp(jvp(v)) / n_samples

    operator = LinearOperator((n_parameters, n_parameters), matvec=fisher, dtype=np.float32)
    return float(eigsh(operator, k=1, tol=tol, return_eigenvectors=False)[0]), products


def spectrum(vjp: Callable, n_samples: int, n_outputs: int) -> np.ndarray:
    """All eigenvalues of J J^T / T, descending, from the stored Jacobian, one backward pass a row."""
    unit = np.zeros((n_samples, n_outputs))
    rows = []
    for i in range(n_samples * n_outputs):
        unit.flat[i] = 1.0
        rows.append(vjp(unit))
        unit.flat[i] = 0.0
    jacobian = np.array(rows)
    return np.linalg.eigvalsh(jacobian @ jacobian.T / n_samples)[::-1]


@contextmanager
def cores(n: int) -> Iterator[None]:
    """Run on so many cores, whatever number of threads are started (Linux)."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:n]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
