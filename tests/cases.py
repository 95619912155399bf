"""Catalogue of known values, each with its source.

Gaussian moments and fixed points come from `reference_values.json` (its header says how each was computed);
products of all activations in all corners from `gaussian_reference.csv` (by `make_gaussian_reference.py`, which
says how); the Fisher table was derived and checked by quadrature to 1e-12 for this project.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import naive
import numpy as np
from naive import Phi
from scipy.interpolate import CubicSpline

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text(encoding="utf-8"))

# Absolute accuracy of the values of `moment_cases()`: that of the two-dimensional trapezoid rows. The others
# are right to the last digit of a double.
MOMENT_ACCURACY = 1e-13

# Parameters of the activations that need one, as `reference_values.json` defines them.
PARAMETERS: dict[str, dict[str, float]] = {"leaky_relu": {"slope": 0.2}}

# One name for each kind of moment: u and v have variance q and correlation c.
QUANTITIES = {
    "E_phi": "E[phi(u)]",
    "E_dphi": "E[phi'(u)]",
    "E_phi2": "E[phi(u)^2]",
    "E_dphi2": "E[phi'(u)^2]",
    "E_dphi4": "E[phi'(u)^4]",
    "E_d2phi2": "E[phi''(u)^2]",
    "E_phi_phi": "E[phi(u) phi(v)]",
    "E_dphi_dphi": "E[phi'(u) phi'(v)]",
}


class Moment(NamedTuple):
    """One Gaussian moment: `activation` is (name, parameters), `c` is None for moments of one variable."""

    activation: tuple[str, dict[str, float]]
    quantity: str
    q: float
    c: float | None
    value: float


def moment_cases() -> list[Moment]:
    """All Gaussian moments of `reference_values.json`, accurate to `MOMENT_ACCURACY`."""
    cases = []
    for row in REFERENCE["values"]:
        name, quantity = row["key"].split("/")[:2]
        if quantity not in QUANTITIES:
            continue
        inputs = row["inputs"]
        c = float(inputs["c"]) if "c" in inputs else None
        activation = (name, PARAMETERS.get(name, {}))
        cases.append(Moment(activation, quantity, float(inputs["q"]), c, float(row["value"])))
    return cases


def moment_id(case: Moment) -> str:
    """Short name of a moment for the test report."""
    pair = "" if case.c is None else f",c={case.c:g}"
    return f"{case.activation[0]}-{case.quantity}-q={case.q:g}{pair}"


def _group(prefix: str, *variables: str) -> dict[tuple, dict[str, float]]:
    """Rows whose key starts with the prefix: (activation, *variables) -> {quantity: value}."""
    table: dict[tuple, dict[str, float]] = {}
    for row in REFERENCE["values"]:
        head, activation, quantity = row["key"].split("/")[:3]
        if head == prefix:
            point = (activation, *(float(row["inputs"][name]) for name in variables))
            table.setdefault(point, {})[quantity] = float(row["value"])
    return table


# -- products of all activations in all corners --------------------------------------------------------------

# From nothing to large, equal and not: the last pairs differ by up to a million.
VARIANCES = [
    (1e-6, 1e-6),
    (1e-3, 1e-3),
    (1.0, 1.0),
    (2.5, 2.5),
    (30.0, 30.0),
    (1e3, 1e3),
    (0.5, 30.0),
    (1e-3, 2.5),
    (1e-3, 1e3),
]
CORRELATIONS = [-1.0, -0.999, -0.3, 0.0, 0.5, 0.9, 0.999, 1 - 1e-6, 1 - 1e-12, 1.0]
# E[exp(u)^2] = e^(2 q); sin(5 x) and the steps of rounding are too many to be tabulated for larger ones.
LARGEST_VARIANCE = {"exp": 2.5, "sin(5 x)": 30.0, "rounding": 30.0}


def _user_activations() -> list[Phi]:
    tanh, elu = naive.tanh(), naive.elu()
    knots = [-3.0, -1.5, -0.2, 0.4, 1.7, 3.1]
    spline = CubicSpline(knots, [0.3, -1.0, 0.1, 0.8, -0.4, 0.5], bc_type="natural")
    inside = lambda x: (x > -3.0) & (x < 3.1)  # noqa: E731
    halves = tuple(k + 0.5 for k in range(-70, 70))
    return [
        Phi(
            "tanh(20 x)",
            lambda x: np.tanh(20 * x),
            lambda x: 20 * tanh.slope(20 * x),
            (),
            lambda x: 400 * tanh.curvature(20 * x),
        ),
        Phi(
            "sin(5 x)",
            lambda x: np.sin(5 * x),
            lambda x: 5 * np.cos(5 * x),
            (),
            lambda x: -25 * np.sin(5 * x),
        ),
        Phi(
            "kink at 0.3",
            lambda x: np.tanh(x) + np.maximum(x - 0.3, 0),
            lambda x: tanh.slope(x) + (x > 0.3),
            (0.3,),
            tanh.curvature,
        ),
        Phi(
            "kink at -2", lambda x: np.maximum(x, -2.0), lambda x: 1.0 * (x > -2), (-2.0,), lambda x: 0.0 * x
        ),
        Phi(
            "jump",
            lambda x: np.where(x > 0.2, 1.0, -1.0) + np.tanh(x),
            tanh.slope,
            (0.2,),
            tanh.curvature,
        ),
        Phi(
            "jump and kink",  # hard thresholding
            lambda x: np.where(x > 1, x, 0.0),
            lambda x: 1.0 * (x > 1),
            (1.0,),
            lambda x: 0.0 * x,
        ),
        Phi("x^3", lambda x: x**3, lambda x: 3 * x**2, (), lambda x: 6 * x),
        Phi(
            "|x|^1.5",
            lambda x: np.abs(x) ** 1.5,
            lambda x: 1.5 * np.sign(x) * np.sqrt(np.abs(x)),
            (0.0,),
            lambda x: 0.75 / np.sqrt(np.abs(x)),
        ),
        Phi(
            "squared relu",
            lambda x: np.maximum(x, 0) ** 2,
            lambda x: 2 * np.maximum(x, 0),
            (0.0,),
            lambda x: 2.0 * (x > 0),
        ),
        Phi(
            "spline",  # of which the ends are clipped
            lambda x: spline(np.clip(x, -3.0, 3.1)),
            lambda x: np.where(inside(x), spline(np.clip(x, -3.0, 3.1), 1), 0.0),
            tuple(knots),
            lambda x: np.where(inside(x), spline(np.clip(x, -3.0, 3.1), 2), 0.0),
        ),
        Phi("rounding", np.round, lambda x: 0.0 * x, halves, lambda x: 0.0 * x),
        Phi(
            "hard swish",
            lambda x: x * np.clip(x + 3, 0, 6) / 6,
            lambda x: np.where(np.abs(x) < 3, (2 * x + 3) / 6, np.where(x > 0, 1.0, 0.0)),
            (-3.0, 3.0),
            lambda x: np.where(np.abs(x) < 3, 1 / 3, 0.0),
        ),
        Phi(
            "elu bent at 0.7",
            lambda x: 0.7 + elu.value(x - 0.7),
            lambda x: elu.slope(x - 0.7),
            (0.7,),
            lambda x: elu.curvature(x - 0.7),
        ),
        Phi(
            "soft threshold",
            lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
            lambda x: 1.0 * (np.abs(x) > 0.5),
            (-0.5, 0.5),
            lambda x: 0.0 * x,
        ),
        Phi(
            "tanh(x) + x/10",
            lambda x: np.tanh(x) + 0.1 * x,
            lambda x: tanh.slope(x) + 0.1,
            (),
            tanh.curvature,
        ),
        Phi(
            "bump",
            lambda x: np.exp(-(x**2)),
            lambda x: -2 * x * np.exp(-(x**2)),
            (),
            lambda x: (4 * x**2 - 2) * np.exp(-(x**2)),
        ),
        Phi("constant", lambda x: 0.0 * x + 2.0, lambda x: 0.0 * x, (), lambda x: 0.0 * x),
    ]


USERS = {p.name: p for p in _user_activations()}  # callables of a user: the package sees `value` only


class Products(NamedTuple):
    """E[phi^(d)(u) phi^(d)(v)] for variances `q` and `q2` at all `CORRELATIONS`, and what errors are relative to.

    `size` is (E[f(u)^2] E[f(v)^2])^(1/2), f = phi^(d) without its point masses; `mean` is E[phi^(d)(u)]; `check`
    is by how much of the size two ways to compute the values differ. inf where the integral does not exist.
    """

    name: str
    derivative: int
    q: float
    q2: float
    method: str
    check: float
    size: float
    mean: float
    values: np.ndarray


def reference_products() -> list[Products]:
    """All rows of `gaussian_reference.csv`."""
    path = Path(__file__).parent / "gaussian_reference.csv"
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    rows = []
    for name, derivative, q, q2, method, *numbers in csv.reader(lines):
        check, size, mean, *values = map(float, numbers)
        rows.append(
            Products(name, int(derivative), float(q), float(q2), method, check, size, mean, np.array(values))
        )
    return rows


# Settings of Poole et al. 2016 (arXiv:1606.05340): (activation, sigma_w, sigma_b), STANDARD DEVIATIONS as in
# that paper -> qstar, chi1, chi2, cstar.
POOLE = _group("poole", "sigma_w", "sigma_b")

# Fixed points and depth scales, settings of Schoenholz et al. 2017 (arXiv:1611.01232): (activation, sigma_w2,
# sigma_b2) -> qstar, chi1, dqmap, xi_q, cstar, cmap_slope, xi_c, xi_grad.
DEPTH_SCALES = _group("dip", "sigma_w2", "sigma_b2")

# Edge of chaos, chi_1 = 1 on the fixed point of the variance map: (activation, sigma_b2) -> sigma_w2, qstar
# or both.
CRITICAL = _group("critical", "sigma_b2")

# Half-stable criticality of Roberts, Yaida, Hanin (arXiv:2106.10165), chi_parallel = chi_perp = 1 at K* > 0:
# (activation,) -> Kstar, C_W, C_b.
HALF_STABLE = _group("pdlt")

# Relative accuracy of the phase values. xi = -1/log(slope) magnifies the error of a slope near 1 by about xi:
# compare exp(-1/xi), or allow xi times this.
PHASE_ACCURACY = 1e-11


# Fisher information of nets of uniform width M, inputs q_hat^0 = 1, q_hat_st^0 = 0: derived and checked by
# quadrature to 1e-12 for this project. Order parameters: Karakida, Akaho, Amari 2019 (arXiv:1806.01316).
# lambda_max_over_M is alpha (99/100 kappa_2 + kappa_1/100), that is T = 100, leading order in M;
# eta_c_times_M = 2 M/lambda_max; K1, K2 are the NTK sums  sum_l q~^l q^l,  sum_l q~_st^l q_st^l.
# Decimals printed; a shorter number is exact.
GOLDEN_DECIMALS = {
    "kappa_1": 8,
    "kappa_2": 8,
    "lambda_max_over_M": 6,
    "eta_c_times_M": 6,
    "q_L": 6,
    "q_st_L": 6,
    "K1": 6,
    "K2": 6,
}

_GOLDEN_ROWS = """
tanh   3  .64  2  1.42263414  0.09245388  0.105756  18.911513  2.501803  0.917362  5.421204  1.196722
tanh   3  .64  3  0.95552190  0.11861537  0.253969   7.874981  2.316834  1.182852  7.469251  1.911341
tanh   3  .64  4  0.80827798  0.13675027  0.430397   4.646876  2.277188  1.392226  9.621606  2.677369
relu   2  .1   2  2.05000000  0.35960439  0.376508   5.311967  2.2       0.819209  4.3       0.870725
relu   2  .1   3  1.57500000  0.40149422  0.826459   2.419964  2.3       1.259022  6.6       1.800137
relu   2  .1   4  1.43333333  0.42890649  1.316852   1.518773  2.4       1.574336  9.0       2.806319
linear 1  .1   2  2.1         0.10        0.12      16.666667  1.2       0.2       2.3       0.3
linear 1  .1   3  1.65        0.15        0.33       6.060606  1.3       0.3       3.6       0.6
linear 1  .1   4  1.53333333  0.20        0.64       3.125     1.4       0.4       5.0       1.0
erf    3  .64  3  1.23932113  0.12571224  0.273697   7.307360  2.556487  1.208724  9.478695  1.981931
"""


class GoldenFisher(NamedTuple):
    """One row of the Fisher table: the network and its values, by the names of `GOLDEN_DECIMALS`."""

    activation: str
    sigma_w2: float
    sigma_b2: float
    depth: int
    values: dict[str, float]

    def tolerance(self, quantity: str) -> float:
        """Half a unit of the last decimal printed, with a little room for the rounding of a tie."""
        return 0.51 * 10.0 ** -GOLDEN_DECIMALS[quantity]


def _golden(line: str) -> GoldenFisher:
    name, sigma_w2, sigma_b2, depth, *values = line.split()
    table = dict(zip(GOLDEN_DECIMALS, map(float, values), strict=True))
    return GoldenFisher(name, float(sigma_w2), float(sigma_b2), int(depth), table)


GOLDEN_FISHER = [_golden(line) for line in _GOLDEN_ROWS.strip().splitlines()]
