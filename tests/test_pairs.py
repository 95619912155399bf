"""Integrals over the plane that do without series: the definition, in cases small enough for an interpreter."""

import math

import naive
import numpy as np
import pytest

import mfdnn
from mfdnn import _compiled
from mfdnn.gaussian import products as _pairs


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(("name", "q1", "q2", "c"), [("tanh", 1.7, 0.4, -0.6), ("hard_tanh", 0.9, 0.9, 0.5)])
def test_direct_integrals(name, q1, q2, c, order):
    value, error = _pairs.direct(mfdnn.activation(name), q1, q2, c, order)
    expected = naive.expect_product(naive.phi(name), q1, c, q2, order)
    assert abs(value - expected) <= error <= 1e-9


@pytest.mark.parametrize("c", [-1.0, 1.0])
@pytest.mark.parametrize(("name", "order"), [("tanh", 0), ("tanh", 1), ("hard_tanh", 0), ("sign", 0)])
def test_aligned_pairs(name, order, c):
    value, error = _pairs.direct(mfdnn.activation(name), 0.8, 2.0, c, order)
    expected = naive.expect_product(naive.phi(name), 0.8, c, 2.0, order)
    assert abs(value - expected) <= error <= 1e-9


def test_aligned_point_masses_that_meet_are_infinite():
    assert _pairs.direct(mfdnn.activation("sign"), 0.8, 2.0, 1.0, 1)[0] == math.inf
    assert _pairs.direct(mfdnn.activation("relu"), 0.8, 2.0, -1.0, 2)[0] == math.inf


def test_a_zero_variance_makes_a_product_of_expectations():
    value, _ = _pairs.direct(mfdnn.activation("softplus"), 0.0, 1.0, 0.3, 0)
    assert value == pytest.approx(math.log(2) * mfdnn.expect("softplus", 1.0), rel=1e-12)


def test_point_masses_in_closed_form():
    """phi = relu + a jump 1/2 at zero: phi' is a step and a mass of 1/2."""
    pieces = mfdnn.activation("relu").pieces
    q, theta = np.array([0.5, 2.0]), np.array([0.3, 1.2, 2.5])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    args = (pieces.edges, pieces.coefficients[1], np.zeros(1), np.array([0.5]))
    found = _compiled.mass_products(*args, q, theta, nodes, weights)
    # Mass and step: twice m p(0) P(v > 0 | u = 0); mass and mass: m^2 times the joint density at zero.
    q = q[:, None]
    expected = 0.5 / np.sqrt(2 * np.pi * q) + 0.25 / (2 * np.pi * q * np.sin(theta))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
