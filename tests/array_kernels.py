"""The kernels in which tables spend their time, as array expressions: quick without a compiler."""

import numpy as np


def hermite_coefficients(z, weighted, out):
    """a_k = sum_i weighted_i h_k(z_i) for k < out.size."""
    here, before = weighted, np.zeros_like(z)
    for k in range(out.size):
        out[k] = here.sum()
        here, before = (z * here - np.sqrt(k) * before) / np.sqrt(k + 1), here


def hermite_residual(z, weight, f, slope, a):
    """Gaussian 2-norms of f - sum_k a_k h_k and of slope - sum_k sqrt(k) a_k h_{k-1}."""
    here, before = np.sqrt(weight), np.zeros_like(z)
    left, left_slope = here * f, here * slope
    for k in range(a.size):
        left = left - a[k] * here
        if k + 1 < a.size:
            left_slope = left_slope - np.sqrt(k + 1) * a[k + 1] * here
        here, before = (z * here - np.sqrt(k) * before) / np.sqrt(k + 1), here
    return np.sqrt(left @ left), np.sqrt(left_slope @ left_slope)
