"""Condition number and mean predictor of kernels against depth."""

import numpy as np
import pytest

import mfdnn
from mfdnn.kernels import kernel_depth


def test_depths_are_networks():
    found = kernel_depth("tanh", 1.7, 0.2, 4, 3, q0=1.3, c0=0.4)
    for depth in (1, 2, 4):
        net = mfdnn.mlp([30, *[20] * (depth - 1), 1], "tanh", 1.7, 0.2)
        theta = mfdnn.kernel_spectrum(net, 3, 1.3, 0.4, parameterisation="ntk")
        k = mfdnn.kernel_spectrum(net, 3, 1.3, 0.4, kernel="nngp")
        i = depth - 1
        assert found.q[i] + 2 * found.q_st[i] == pytest.approx(k.largest, rel=1e-10)
        assert found.theta[i] - found.theta_st[i] == pytest.approx(theta.smallest, rel=1e-10)
        if depth > 1:  # of one layer `kernel_spectrum` has the edge that independent Gaussian inputs have
            assert found.condition[i] == pytest.approx(theta.condition, rel=1e-9)


def test_the_predictor_is_that_of_kernel_regression():
    net = mfdnn.mlp([40, 20, 20, 1], "erf", 1.5, 0.1)
    X = np.linalg.cholesky(40 * (0.7 * np.eye(6) + 0.3)) @ np.eye(6, 40)  # five inputs, and another
    theta = mfdnn.ntk(net, X, parameterisation="ntk")
    expected = theta[5, :5] @ np.linalg.solve(theta[:5, :5], np.ones(5))
    found = kernel_depth("erf", 1.5, 0.1, 3, 5, c0=0.3)
    assert found.predictor[-1] == pytest.approx(expected, rel=1e-10)


# Xiao et al. 2020: 1/3 and 1/4; of order log(l)/l and 1/l away at depth l.
@pytest.mark.parametrize(
    ("phi", "sigma_w2", "sigma_b2", "ratio", "rest"),
    [("relu", 2.0, 0.0, 1 / 4, 5.0), ("erf", None, 0.05, 1 / 3, 5.0), ("hard_tanh", None, 0.05, 1 / 4, 5.0)],
)
def test_ratios_at_criticality(phi, sigma_w2, sigma_b2, ratio, rest):
    sigma_w2 = sigma_w2 or mfdnn.critical_sigma_w2(phi, sigma_b2)
    found = kernel_depth(phi, sigma_w2, sigma_b2, 400, 10)
    assert (found.phase, found.ratio_limit, found.xi_condition) == ("critical", ratio, np.inf)
    assert found.condition_limit == pytest.approx({1 / 3: (10 + 2) / 2, 1 / 4: (10 + 3) / 3}[ratio])
    measured = found.theta_st / found.theta
    for l in (100, 200, 400):
        assert abs(measured[l - 1] - ratio) < rest / l
    # The rest is of the order that is left of it: twice as deep, about half as far.
    far, near = abs(measured[199] - ratio), abs(measured[399] - ratio)
    assert 0.4 < near / far < 0.65


def test_depth_scales_of_both_phases():
    ordered = kernel_depth("erf", 1.25, 0.05, 400, 20)
    assert (ordered.phase, ordered.condition_limit, ordered.xi_predictor) == ("ordered", np.inf, np.inf)
    slope = np.diff(np.log(ordered.condition * ordered.depth))[300:]
    np.testing.assert_allclose(slope, 1 / ordered.xi_condition, rtol=0.02)  # the rest falls like 1/l^2
    chaotic = kernel_depth("erf", 3.0, 0.05, 60, 20)
    assert (chaotic.phase, chaotic.condition_limit) == ("chaotic", 1.0)
    slope = np.diff(np.log(chaotic.condition - 1))[40:]
    np.testing.assert_allclose(slope, -1 / chaotic.xi_condition, rtol=0.01)
    # What the kernel of two inputs knows of their correlation: its distance from the limit, over the diagonal.
    known = np.abs(chaotic.theta_st - chaotic.theta_st[-1]) / chaotic.depth / chaotic.theta
    np.testing.assert_allclose(np.diff(np.log(known[20:35])), -1 / chaotic.xi_predictor, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 0}, "`depth` must be"),
        ({"n_samples": 0}, "`n_samples` must be"),
        ({"sigma_w2": -1.0}, "`sigma_w2` is a variance"),
        ({"c0": -0.5}, "`c0` must be in"),
        ({"sigma_w2": 1e9, "phi": "relu", "depth": 60}, "infinite from layer"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        kernel_depth(**{"phi": "tanh", "sigma_w2": 1.5, "sigma_b2": 0.1, "depth": 3, "n_samples": 9} | options)
