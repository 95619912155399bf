"""Array kernels, which the suite without a compiler puts in the place of loops, equal these loops."""

import array_kernels
import numpy as np

from mfdnn import _compiled
from mfdnn.gaussian.quadrature import UNIT_PANELS, nodes

Z, WEIGHT = nodes(UNIT_PANELS)
PHI, SLOPE = np.tanh(1.5 * Z), 1.5 * (1 - np.tanh(1.5 * Z) ** 2)


def loop(name):
    kernel = getattr(_compiled, name)
    return getattr(kernel, "original", kernel)


def test_hermite_coefficients():
    found, expected = np.empty((2, 20))
    array_kernels.hermite_coefficients(Z, WEIGHT * PHI, found)
    loop("hermite_coefficients")(Z, WEIGHT * PHI, expected)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-15 * Z.size**0.5
    )  # rounding of sums of Z.size terms


def test_hermite_residual():
    a = np.zeros(20)
    array_kernels.hermite_coefficients(Z, WEIGHT * PHI, a)
    found = array_kernels.hermite_residual(Z, WEIGHT, PHI, SLOPE, a)
    np.testing.assert_allclose(found, loop("hermite_residual")(Z, WEIGHT, PHI, SLOPE, a), rtol=1e-12)
    # Parseval: what is left out of the square.
    np.testing.assert_allclose(found[0] ** 2, WEIGHT @ PHI**2 - a @ a, atol=1e-14)
