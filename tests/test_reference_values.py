"""The catalogue of known values, through the public functions."""

import cases
import numpy as np
import pytest

import mfdnn

MOMENTS = [
    case for case in cases.moment_cases() if case.quantity != "E_dphi4"
]  # no public function returns that one


def by_the_package(act, case):
    """(value, reported error) of a moment of the catalogue; one-variable means report none."""
    one_variable = {"E_phi": 0, "E_dphi": 1}
    if case.quantity in one_variable:
        return mfdnn.expect(act, case.q, derivative=one_variable[case.quantity]), 1e-12
    derivative = {"E_phi2": 0, "E_dphi2": 1, "E_d2phi2": 2, "E_phi_phi": 0, "E_dphi_dphi": 1}[case.quantity]
    return mfdnn.expect_product(
        act, case.q, 1.0 if case.c is None else case.c, derivative=derivative, return_error=True
    )


@pytest.mark.parametrize("case", MOMENTS, ids=cases.moment_id)
def test_moments(case):
    name, parameters = case.activation
    value, error = by_the_package(mfdnn.activation(name, **parameters), case)
    # The bar is 1e-10 of E[phi^2]; these are O(1), and the two sides are good to 1e-13 each.
    assert value == pytest.approx(case.value, rel=0, abs=1e-12)
    assert abs(value - case.value) <= error + cases.MOMENT_ACCURACY  # what is reported never understates


@pytest.mark.parametrize("point", cases.POOLE, ids=str)
def test_poole(point):
    name, sigma_w, sigma_b = point  # standard deviations, as in the paper
    known = cases.POOLE[point]
    fp = mfdnn.fixed_point(name, sigma_w**2, sigma_b**2)
    chi_2 = sigma_w**2 * mfdnn.expect_product(name, fp.q, derivative=2)
    found = {"qstar": fp.q, "chi1": fp.chi_1, "cstar": fp.c, "chi2": chi_2}
    for key, value in known.items():
        assert found[key] == pytest.approx(value, rel=10 * cases.PHASE_ACCURACY), key


@pytest.mark.parametrize("point", cases.DEPTH_SCALES, ids=str)
def test_depth_scales(point):
    name, sigma_w2, sigma_b2 = point
    known = cases.DEPTH_SCALES[point]
    fp = mfdnn.fixed_point(name, sigma_w2, sigma_b2)
    found = {"qstar": fp.q, "chi1": fp.chi_1, "cstar": fp.c, "cmap_slope": fp.chi_c}
    for key in found.keys() & known.keys():
        assert found[key] == pytest.approx(known[key], rel=10 * cases.PHASE_ACCURACY), key
    for key in {"xi_q", "xi_c", "xi_grad"} & known.keys():
        # A depth scale magnifies the relative error of its slope by its own size.
        tolerance = 10 * cases.PHASE_ACCURACY * max(1, abs(known[key]))
        assert getattr(fp, key) == pytest.approx(known[key], rel=tolerance), key


@pytest.mark.parametrize("point", cases.CRITICAL, ids=str)
def test_critical_points(point):
    name, sigma_b2 = point
    known = cases.CRITICAL[point]
    sigma_w2 = mfdnn.critical_sigma_w2(name, sigma_b2)
    if "sigma_w2" in known:
        assert sigma_w2 == pytest.approx(known["sigma_w2"], rel=1e-10)
    if "qstar" in known:
        fixed = mfdnn.variance_fixed_points(
            name, sigma_w2, sigma_b2
        ).q  # silu has two; the critical one repels
        assert (
            np.abs(fixed / known["qstar"] - 1).min() < 1e-8
        )  # the error of sigma_w2 is magnified near the edge


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_half_stable_points(name):
    known = cases.HALF_STABLE[(name,)]
    line = mfdnn.critical_line(name, known["Kstar"])
    assert line.sigma_w2 == pytest.approx(known["C_W"], rel=1e-11)
    assert line.sigma_b2 == pytest.approx(
        known["C_b"], rel=1e-9
    )  # a difference of numbers ten times as large
    if name == "gelu":
        assert known["Kstar"] == pytest.approx((3 + np.sqrt(17)) / 2, rel=1e-15)
