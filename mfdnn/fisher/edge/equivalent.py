r"""The linear network with the same centred Fisher spectrum, and its resolvent.

After P = I - 11^T/T is applied to every output, what is left of the kernel is, up to finite rank,

.. math:: A = r I + \sum_l a_l\, g^l g^{lT} + \sum_l b_l\, e^l e^{lT},

with g the activations and e the back-propagated errors minus what all inputs share. Neuron by neuron both are
replaced by Gaussian variables of the same covariance, which makes of :math:`x^T A x` the squared outputs of a
linear network; self-energies of its random weights give :math:`z(X)`, the inverse of
:math:`X(z) = \mathrm{tr}\,(z - A)^{-1}`. Derived for this package (not a published theorem), checked by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...activations import Activation
from ...gaussian.conditional import conditional
from ...mean_field.moments import OrderParameters

__all__ = ["Equivalent", "Neurons", "Point", "neurons"]

REACH = 1e-11  # nodes of the common factor with less weight are dropped
TOLERANCE = 1e-10  # relative change of a sweep at which the fixed point is accepted
MAX_SWEEPS = 20_000
CELLS = 16  # of the squared norm of the shared error: 32 change an edge by less than 0.1 %


class Neurons(NamedTuple):
    r"""Statistics of neurons given the part of their input that all inputs share.

    Of :math:`u = m + v` with common part m: moments over v ~ N(0, D), shape (n,) each.
    """

    weights: np.ndarray
    m: np.ndarray
    mean: np.ndarray  # E phi
    beta: np.ndarray  # E phi'
    gamma: np.ndarray  # E phi''
    eta: np.ndarray  # E phi'''
    rho: np.ndarray  # Var phi - beta^2 D: what is not linear in v
    kappa: np.ndarray  # Cov(phi, phi') - beta gamma D
    slope_variance: np.ndarray  # Var phi'
    rho_slope: np.ndarray  # Var phi' - gamma^2 D
    c1: np.ndarray  # E d(g^2)/dv with g = phi - E phi
    c2: np.ndarray  # E d^2(g^2)/dv^2 / 2
    noise_square: np.ndarray  # variance of g^2 beyond c1 v, and its covariances with the rests of phi and phi'
    noise_phi: np.ndarray
    noise_slope: np.ndarray


def neurons(act: Activation, q: float, q_st: float) -> Neurons:
    """Statistics of the neurons of a hidden layer, of variance and covariance given."""
    c, own = conditional(act, q, q_st), q - q_st
    some = c.weights > REACH
    m0, beta, gamma, eta = (c.derivative(n) for n in range(4))
    f2, f3, f4, d2 = c.moment(2), c.moment(3), c.moment(4), c.moment(0, 2)
    variance, slope_variance = f2 - m0**2, d2 - beta**2
    covariance = c.moment(1, 1) - m0 * beta
    curvature = c.moment(1, 1, 1) - m0 * gamma
    third = f3 - 3 * m0 * f2 + 2 * m0**3
    fourth = f4 - 4 * m0 * f3 + 6 * m0**2 * f2 - 3 * m0**4
    mixed = c.moment(2, 1) - 2 * m0 * c.moment(1, 1) + m0**2 * beta
    c1 = 2 * covariance
    columns = Neurons(
        weights=c.weights,
        m=np.sqrt(q_st) * c.xi,
        mean=m0,
        beta=beta,
        gamma=gamma,
        eta=eta,
        rho=np.maximum(variance - beta**2 * own, 0.0),  # below 0 by rounding alone
        kappa=covariance - beta * gamma * own,
        slope_variance=slope_variance,
        rho_slope=np.maximum(slope_variance - gamma**2 * own, 0.0),
        c1=c1,
        c2=curvature,
        noise_square=fourth - variance**2 - c1**2 * own,
        noise_phi=third - c1 * beta * own,
        noise_slope=mixed - variance * beta - c1 * gamma * own,
    )
    return Neurons(*(column[some] for column in columns))


class Point(NamedTuple):
    """A solution of the fixed point."""

    x: float
    z: float  # inf where there is none
    state: np.ndarray  # (4, L): a^, b^ (multipliers), s, tau (variances forward and backward)


class Equivalent:
    """Fixed-point equations of the equivalent linear network.

    Parameters
    ----------
    op : OrderParameters
        Of exchangeable inputs, one `q0` and one `c0`.
    sigma_w2 : sequence of float
        Of the L weight layers.
    hidden : sequence of Neurons
        Of the L - 1 hidden layers.
    n_samples : int
    scale : array (L,), optional
        Factors by which the squared errors of each weight layer are multiplied.
    """

    def __init__(
        self,
        op: OrderParameters,
        sigma_w2: Sequence[float],
        hidden: Sequence[Neurons],
        n_samples: int,
        scale: np.ndarray | float = 1.0,
    ):
        self.op, self.hidden, self.n_samples = op, hidden, n_samples
        self.depth, self.n_outputs = len(op.q), int(op.fan_out[-1])
        self.w2 = np.asarray(sigma_w2, float)  # row l: into weight layer l + 1
        self.widths = op.fan_in.astype(float)  # M_0, ..., M_{L-1}
        error, self.error_st = scale * op.q_tilde, scale * op.q_tilde_st
        own, own_error = op.q_hat - op.q_hat_st, error - self.error_st
        self.own = float(own[0])
        self.a = self.error_st / n_samples
        # b_l is used for l >= 1: row 0 is that of no layer.
        self.b = np.append(0.0, (self.widths * op.q_hat_st + op.bias)[:-1] / n_samples)
        self.r = float(np.sum((self.widths * own * own_error)[:-1])) / n_samples

        sizes = [layer.m.size for layer in hidden]
        self.starts = np.cumsum([0, *sizes[:-1]])
        self.layer = np.repeat(np.arange(self.depth - 1), sizes)  # of each node
        stack = Neurons(*(np.concatenate(column)[:, None] for column in zip(*hidden, strict=True)))
        self.stack = stack
        # Squared norm of the shared error of a neuron, over cells of chi^2_C; and the rest of its error.
        per_unit = self.w2[1:] / self.widths[1:]
        cells = [chi_squared_cells(self.n_outputs, width) for width in self.widths[1:]]
        levels, masses = (np.array(column)[self.layer] for column in zip(*cells, strict=True))
        self.p = np.sqrt(levels * (per_unit * self.error_st[1:])[self.layer, None])
        self.weights = stack.weights * masses
        rest = (per_unit * own_error[1:])[self.layer, None] * stack.slope_variance
        self.noise = self.p**2 * stack.rho_slope + rest
        self.rest = rest
        self.solved = [Point(0.0, np.inf, np.vstack([self.a, self.b, np.zeros((2, self.depth))]))]

    def average(self, values: np.ndarray) -> np.ndarray:
        """Over the nodes of each hidden layer: (nodes, cells) or (nodes, 1) to (L - 1,)."""
        weights = self.weights if values.shape[1] > 1 else self.stack.weights
        return np.add.reduceat((weights * values).sum(axis=1), self.starts)

    def covariances(self, x: float, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Covariances of the forward and backward variables of a neuron.

        K_yy (nodes, 1), K_yd and K_dd (nodes, cells).
        """
        n, p = self.stack, self.p
        s, tau = state[2, 1:][self.layer, None], state[3, 1:][self.layer, None]
        k_yy = n.beta**2 * s + n.rho * x
        k_yd = p * (n.beta * n.gamma * s + n.kappa * x)
        return k_yy, k_yd, (p * n.gamma) ** 2 * s + n.beta**2 * tau + self.noise * x

    def sweep(self, x: float, state: np.ndarray) -> tuple[np.ndarray | None, float]:
        """The map whose fixed point is wanted, and the sum in z(X).

        (None, inf) where a covariance is infinite.
        """
        n, p, m = self.stack, self.p, self.widths
        a, b = state[0, 1:][self.layer, None], state[1, 1:][self.layer, None]
        k_yy, k_yd, k_dd = self.covariances(x, state)
        inputs, one_y, one_d = 1 - state[0, 0] * self.own * x, 1 - a * k_yy, 1 - b * k_dd
        determinant = one_y * one_d - a * b * k_yd**2
        if inputs <= 0 or min(one_y.min(), one_d.min(), determinant.min()) <= 0:
            return None, np.inf
        h_yy, h_yd, h_dd = a * one_d / determinant, a * b * k_yd / determinant, b * one_y / determinant
        gp = p * n.gamma
        forward = self.average((k_yy * one_d + b * k_yd**2) / determinant)
        multiplier = self.average(n.beta**2 * h_yy + 2 * n.beta * gp * h_yd + gp**2 * h_dd)
        local = self.average(n.rho * h_yy + 2 * p * n.kappa * h_yd + p**2 * n.rho_slope * h_dd)
        if self.n_outputs > 1:  # in C - 1 directions of C the error of a neuron has no part
            share, across = 1 / self.n_outputs, a / one_y
            forward = share * forward + (1 - share) * self.average(k_yy / one_y)
            multiplier = share * multiplier + (1 - share) * self.average(n.beta**2 * across)
            local = share * local + (1 - share) * self.average(n.rho * across)
        new = np.zeros_like(state)
        new[0], new[1] = self.a, self.b
        new[0, :-1] += self.w2[:-1] * m[1:] / m[:-1] * multiplier
        new[1, 2:] += self.w2[1:-1] * self.average(n.beta**2 * h_dd)[:-1]
        new[2, 1:] = self.w2[:-1] * np.append(self.own * x / inputs, forward[:-1])
        backward = self.average((k_dd * one_y + a * k_yd**2) / determinant)
        new[3, 1:-1] = self.w2[1:-1] * m[2:] / m[1:-1] * backward[1:]
        first = m[0] * self.own * state[0, 0] / inputs
        return new, float(first + m[1:] @ (local + self.average(self.rest * h_dd)))

    def solve(self, x: float, start: np.ndarray | None = None) -> Point:
        """Iterate upwards from a state below the solution.

        By default that of the largest smaller X solved.
        """
        below = max((point for point in self.solved if point.x <= x), key=lambda point: point.x)
        state = below.state if start is None else start
        for _ in range(MAX_SWEEPS):
            new, total = self.sweep(x, state)
            if new is None or not new.max() < 1e12:
                break
            if np.all(np.abs(new - state) <= TOLERANCE * new):
                point = Point(x, self.n_samples / x + self.r + total, new)
                if start is None:
                    self.solved.append(point)
                return point
            state = new
        return Point(x, np.inf, state)

    def edge(self) -> Point:
        """The largest eigenvalue of the bulk: first minimum of z, coming from X = 0."""
        from scipy.optimize import minimize_scalar

        x = 0.05 * self.n_samples / (self.r + self.n_samples * self.a.sum())
        while not np.isfinite(self.solve(x).z):
            x /= 4
        points = [self.solve(x)]
        while len(points) < 2 or points[-1].z < points[-2].z:
            points.append(self.solve(1.25 * points[-1].x))
        low, middle, high = (point.x for point in points[-3:])
        found = minimize_scalar(
            lambda x: self.solve(x).z, bracket=(low, middle, high), method="golden", options={"xtol": 2e-4}
        )
        return self.solve(float(found.x))


def chi_squared_cells(n_outputs: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean of :math:`\chi^2_C` on each of `CELLS` cells, and their masses.

    Formally an edge grows like log M, for the distribution has no upper end: the largest of M neurons ends it here.
    """
    from scipy.special import gammainc, gammaincinv

    half = n_outputs / 2
    cuts = 1 - width ** -np.linspace(0, 1, CELLS)
    beyond = 1 - gammainc(half + 1, gammaincinv(half, cuts))  # share of the mean
    above = np.append(beyond, 0.0)
    masses = -np.diff(np.append(1 - cuts, 0.0))
    return n_outputs * -np.diff(above) / masses, masses
