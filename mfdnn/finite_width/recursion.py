r"""Mean and covariance of the tangent kernel by layers, to first order in 1/M.

With N units in layer l, and :math:`W, b` of weight layer l + 1,

.. math::
    K^{l+1}(s,t) &= \frac{\sigma_w^2}{N} \sum_k \phi_k(s)\phi_k(t) + \sigma_b^2,
    \\
    \Theta^{l+1}_{ij}(s,t) &= \delta_{ij} \Big(\sum_k \phi_k(s)\phi_k(t) + 1\Big)
        + \sum_{kk'} W_{ik} W_{jk'}\, \phi'_k(s) \phi'_{k'}(t)\, \Theta^l_{kk'}(s,t).

Given :math:`K^l` the rows of pre-activations are independent, and every W is fresh: no independence of gradients is
assumed. For exchangeable inputs the fluctuation of a kernel splits into what all inputs have in common, what belongs to
one input, and what belongs to a pair; these do not mix. A state is :math:`(K_{ss}, \Theta_{ss}, K_{st}, \Theta_{st})`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .layer_moments import LayerMoments

__all__ = ["InputMoments", "Law", "WeightLayer", "propagate"]


class InputMoments(NamedTuple):
    r"""Second moments of the inputs, :math:`x_s \cdot x_t / M_0`, and how they scatter.

    :math:`x_s \cdot x_s / M_0 = q + \beta + e_s`, :math:`x_s \cdot x_t / M_0 = q_{st} + \alpha + a_s + a_t + b_{st}`.
    """

    q: float
    q_st: float
    common: np.ndarray  # covariance of (beta, alpha), (2, 2)
    own: np.ndarray  # covariance of (e, a), (2, 2)
    pair: float  # variance of b
    quartic: np.ndarray  # means over features of x_s^4, x_s^3 x_t, x_s^2 x_t^2, (3,)
    given: bool  # whether they stay while networks are drawn


class WeightLayer(NamedTuple):
    """Weights with what they read: `fan_in` units."""

    fan_in: int
    sigma_w2: float
    sigma_b2: float
    bias: bool
    excess: float  # fourth cumulant of a weight or bias in units of its squared variance; 0 if Gaussian


@dataclass(frozen=True)
class Law:
    r"""Law of the mean of the tangent kernel, and what the rest of the spectrum adds.

    .. math::
        G_{kk'} &= T^{-2} \sum_{st} \Theta_{kk'}(s,t),
        \\
        Cov(G_{kk'}, G_{jj'}) &= A\,\delta_{kk'}\delta_{jj'} + B\,(\delta_{kj}\delta_{k'j'}
            + \delta_{kj'}\delta_{k'j}) + D\,\delta_{kk'jj'}

    Attributes
    ----------
    leading, shift : float
        :math:`G_{kk}` of infinite width, and the shift of its mean.
    push, pair_push : float
        Shift of the eigenvalues by the rest of the spectrum: all but the pairs' part, and that.
    A_born, B_born : ndarray, shape (L,)
        Parts of A and B that are born in the inputs and in each hidden layer.
    D : float
        Of the fourth cumulant of the output weights: 0 for Gaussian ones.
    parts : ndarray, shape (L,)
        What the parameters of each weight layer contribute to `leading`.
    margin : float
        The outlier over the edge of the strongest of the random matrices that pairs of inputs make: it leaves
        them above 1.
    clearance : float
        Distance of the outlier from the mean of the rest of the spectrum, over half of where that ends.
    """

    leading: float
    shift: float
    push: float
    pair_push: float
    A_born: np.ndarray
    B_born: np.ndarray
    D: float
    parts: np.ndarray
    margin: float
    clearance: float


# Which inputs of Theta(s, t) Theta(s', t') coincide: none; s = s'; s = t'; s = t; s = s' and t = t'; s = t' and
# t = s'; s = t and s' = t'; three; all. Whether (s, s') and (t, t'), and whether (s, t) and (s', t'), are two inputs:
_ACROSS = np.array([[1, 1], [0, 1], [1, 1], [1, 1], [0, 0], [1, 1], [1, 1], [0, 1], [0, 0]])
_WITHIN = np.array([[1, 1], [1, 1], [1, 1], [0, 1], [1, 1], [1, 1], [0, 0], [0, 1], [0, 0]])


def propagate(
    inputs: InputMoments,
    weights: list[WeightLayer],
    moments: list[LayerMoments],
    n_samples: int,
    n_outputs: int,
) -> Law:
    """Through L weight layers and the L - 1 hidden layers between them."""
    kernel = _Kernel(inputs, weights[0], len(weights))
    for layer, (moment, weight) in enumerate(zip(moments, weights[1:], strict=True), start=1):
        kernel.advance(layer, moment, weight)
    return kernel.law(n_samples, n_outputs)


class _Kernel:
    """Moments of (K_ss, Theta_ss, K_st, Theta_st) after a weight layer.

    Covariances by the layer in which they are born.
    """

    def __init__(self, inputs: InputMoments, first: WeightLayer, depth: int):
        # What given inputs scatter is no matter of chance: it is in the kernel of the data.
        self.drawn = int(inputs.given)
        # means of Theta_ss, Theta_st
        self.theta = first.fan_in * np.array([inputs.q, inputs.q_st]) + first.bias
        scales = np.array([first.sigma_w2, first.fan_in])  # of K and Theta
        up = np.outer(scales, scales)
        self.common, self.own, self.pair = (np.zeros((depth, n, n)) for n in (4, 4, 2))
        self.common[0], self.own[0] = np.kron(inputs.common, up), np.kron(inputs.own, up)
        self.pair[0] = inputs.pair * up
        # b is c X X^T with X of as many columns as give its variance c^2 w
        spread = (inputs.q - inputs.q_st) ** 2
        self.rank = np.full(depth, spread / inputs.pair if inputs.pair > 0 else np.inf)
        self.shift = np.zeros(4)
        # E[dTheta_ij(s, t) u_i(a) u_j(b)], at one input and as [a, b]
        self.coupled_one, self.coupled = 0.0, np.zeros((2, 2))
        self.overlaps = np.zeros((depth, 9))
        self.reached = np.zeros((depth, 2))  # what weight layers up to one contribute to theta
        # fourth cumulants of u, and of Theta with u, that weights not Gaussian leave
        self.bias_quartic = first.excess * first.sigma_b2**2  # of biases, which all inputs share
        self.quartic = first.excess * first.sigma_w2**2 / first.fan_in * inputs.quartic + self.bias_quartic
        self.extra_one, self.extra = 0.0, np.zeros((2, 2))
        self.excess = first.excess

    def advance(self, layer: int, m: LayerMoments, w: WeightLayer) -> None:
        """Through the units of a hidden layer and the weights that read them."""
        n, s = w.fan_in, w.sigma_w2
        response = [_response(m, n, s, self.theta, others) for others in (2, 1)]
        noise = np.kron(np.eye(2), np.array([[s, 0.0], [n, 0.0]]))
        noise[[1, 3], [1, 3]] = s * self.theta
        self.shift = response[0] @ self.shift + noise @ self._curvature(m)
        self.shift[[1, 3]] += s * self._correlation(m)

        born_one, born = m.features_one * self.theta[0] / n, m.features * self.theta[1] / n
        self.coupled_one = s**2 * (born_one + self.coupled_one * m.pull_one**2)
        self.coupled = s**2 * (born + m.pull.T @ self.coupled @ m.pull[::-1, ::-1])
        self.extra_one, self.extra = w.excess * s**2 * born_one, w.excess * s**2 * born

        chi = np.array([m.one[1], m.two[1]])
        self.overlaps *= s**2 * chi[_ACROSS].prod(axis=1)
        self.overlaps[layer] = s**2 / n * m.slopes * self.theta[_WITHIN].prod(axis=1)
        self.reached[layer - 1] = self.theta
        self.reached *= s * chi

        self.common = response[0] @ self.common @ response[0].T
        self.own = response[1] @ self.own @ response[1].T
        self.pair = response[1][2:, 2:] @ self.pair @ response[1][2:, 2:].T
        self.common[layer] = noise @ (m.common + self.bias_quartic * m.common_quartic) @ noise.T / n
        self.own[layer] = noise @ m.own @ noise.T / n
        self.pair[layer] = noise[2:, 2:] @ m.pair @ noise[2:, 2:].T / n
        self.rank[layer] = n
        self.bias_quartic = w.excess * w.sigma_b2**2
        self.quartic = w.excess * s**2 / n * m.quartic + self.bias_quartic
        self.excess = w.excess
        self.theta = n * np.array([m.one[0], m.two[0]]) + w.bias + s * chi * self.theta

    def _curvature(self, m: LayerMoments) -> np.ndarray:
        """Shift of E[phi phi] and E[phi' phi'] at one input and at two.

        By the scatter of K, and by u that is not Gaussian.
        """
        common, own, pair = (c[self.drawn :].sum(axis=0) for c in (self.common, self.own, self.pair))
        same, both = common[0, 0] + own[0, 0], common[0, 0]  # of K_ss with itself, and with K_tt
        mixed, off = common[0, 2] + own[0, 2], common[2, 2] + 2 * own[2, 2] + pair[0, 0]
        one = (same / 8 + self.quartic[0] / 24) * m.one_curvature
        two = m.curvature @ [
            same / 4 + self.quartic[0] / 12,
            mixed + self.quartic[1] / 3,
            both / 4 + off / 2 + self.quartic[2] / 4,
        ]
        return np.array([one[0], one[1], two[0], two[1]])

    def _correlation(self, m: LayerMoments) -> np.ndarray:
        """E[phi'_k phi'_k dTheta_kk] at one input and at two."""
        common, own, pair = (c[self.drawn :].sum(axis=0) for c in (self.common, self.own, self.pair))
        by_one, by_two, by_both = m.one_by_variance[1], m.two_by_variance[1], m.two_by_covariance[1]
        e31, e22 = m.curvature[0, 1:]
        coupled_one, coupled = self.coupled_one + self.extra_one / 2, self.coupled + self.extra / 2
        one = by_one * (common[0, 1] + own[0, 1]) + coupled_one * 2 * by_one
        two = 2 * by_two * (common[0, 3] + own[0, 3]) + by_both * (common[2, 3] + 2 * own[2, 3] + pair[0, 1])
        two += np.trace(coupled) * e31 + (coupled[0, 1] + coupled[1, 0]) * e22
        return np.array([one, two])

    def law(self, n_samples: int, n_outputs: int) -> Law:
        """Average over the inputs of Theta(s, t)."""
        one = 1 / n_samples
        mean, twice = np.array([one, 1 - one]), np.array([one, 2 - 2 * one])
        common, own, pair = self.common[:, 1::2, 1::2], self.own[:, 1::2, 1::2], self.pair[:, 1, 1]
        a = mean @ common @ mean + one * (twice @ own @ twice) + 2 * (1 - one) * one**2 * pair
        a[: self.drawn] = 0.0
        b = self.overlaps @ _patterns(n_samples)
        leading = float(mean @ self.theta)
        # One input leaves no rest of the spectrum.
        margin = self._margin(n_samples) if n_samples > 1 else np.inf
        pushed = n_samples > 1 and margin > 1
        return Law(
            leading=leading,
            shift=float(mean @ self.shift[1::2]),
            push=self._push(n_samples, n_outputs, leading) if pushed else 0.0,
            pair_push=self._pair_push(n_samples) if pushed else 0.0,
            A_born=a,
            B_born=b,
            D=float(self.excess * b[-1]),
            parts=np.diff([*(self.reached[:-1] @ mean), leading], prepend=0.0),
            margin=margin,
            clearance=self._clearance(n_samples, n_outputs),
        )

    def _push(self, n_samples: int, n_outputs: int, leading: float) -> float:
        """Push of second order.

        Scatter over s of the row means of Theta, over the distance to the bulk.
        """
        one = 1 / n_samples
        row = np.array([one, 1 - 2 * one])
        own = self.own[self.drawn :, 1::2, 1::2].sum(axis=0)
        three, two = (1 - one) * (1 - 2 * one), (1 - one) * one
        # Covariances of Theta(s, t) with Theta(s, t') and with Theta(t', s), averaged over s, t, t'
        same, crossed = np.zeros((2, 9))
        same[[1, 4, 7, 8]] = crossed[[2, 5, 7, 8]] = three, two, 2 * two, one**2
        all_of_them = _patterns(n_samples)
        between_same = self.overlaps @ (same - all_of_them)
        between_crossed = self.overlaps @ (crossed - all_of_them)
        scatter = (1 - one) * (row @ own @ row) + self.excess * between_same[-1]
        scatter += n_outputs * between_same.sum() + between_crossed.sum()
        return float(scatter / (leading - one * (self.theta[0] - self.theta[1])))

    def _pairs(self, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Sizes c > 0 and ranks w of what pairs scatter, by the layer of birth.

        It is a sum of c X X^T/T, X of w columns.
        """
        rank = self.rank[first:]
        c = np.sqrt(self.pair[first:, 1, 1] / rank)
        return c[c > 0], rank[c > 0]

    def _margin(self, n_samples: int) -> float:
        c, rank = self._pairs()
        return float(np.min(self.theta[1] / (c * (1 + np.sqrt(rank / n_samples))), initial=np.inf))

    def crowd(self) -> tuple[np.ndarray, float, float, float, float]:
        """Scatter of Theta less what all inputs, or all partners of one, share.

        Covariance (2, 2) of (Theta_ss, Theta_st) of one input, and variance of pairs, of an output with itself;
        overlaps of two outputs: at one input, and at a pair in the same order and in the other.
        """
        born = slice(self.drawn, None)
        own, pair, o = self.own[born, 1::2, 1::2].sum(axis=0), self.pair[born, 1, 1].sum(), self.overlaps.sum(axis=0)
        single = o[8] - 4 * o[7] + 2 * o[3] + 2 * (o[1] + o[2]) - 3 * o[0]
        return own, float(pair), float(single), float(o[4] - 2 * o[1] + o[0]), float(o[5] - 2 * o[2] + o[0])

    def _clearance(self, n_samples: int, n_outputs: int) -> float:
        """Theta_st over half of where the rest of the spectrum ends.

        That is taken for a semicircle of n eigenvalues; of few it ends sooner.
        """
        own, pair, single, same, crossed = self.crowd()
        twice = np.array([1, -2])  # e_s - 2 a_s
        at_one = twice @ own @ twice + (n_outputs + 1) * single
        variance = (at_one / n_samples + pair + n_outputs * same + crossed) / n_samples
        n = (n_samples - 1) * n_outputs
        ends = np.sqrt(max(variance, 0.0)) * min(1.0, np.sqrt(np.log(max(n, 1)) / 2))
        return float(self.theta[1] / ends) if ends > 0 else np.inf

    def _pair_push(self, n_samples: int) -> float:
        """Push by what pairs scatter, R(1/Theta_st) - R(0) of free probability.

        R(z) = (w/T) c/(1 - c z) for every such matrix.
        """
        c, rank = self._pairs(self.drawn)
        push = rank / n_samples * c**2 / np.maximum(self.theta[1] - c, c * np.sqrt(rank / n_samples))
        # of the T^2 pairs of rows that meet in a push, those of three different inputs
        return float(push.sum()) * (1 - 1 / n_samples) * (1 - 2 / n_samples)


def _patterns(n_samples: int) -> np.ndarray:
    """Shares of the T^4 quadruples of inputs in each pattern of coincidence."""
    one = 1 / n_samples
    two = (1 - one) * one**2
    three = (1 - one) * (1 - 2 * one)
    return np.array([three * (1 - 3 * one), *[2 * three * one] * 3, *[two] * 3, 4 * two, one**3])


def _response(m: LayerMoments, n: int, s: float, theta: np.ndarray, others: int) -> np.ndarray:
    """Linear response of (K_ss, Theta_ss, K_st, Theta_st).

    `others`: how many of s and t a change belongs to.
    """
    f_d, x_d = m.one_by_variance
    f_a, x_a = others * m.two_by_variance
    f_c, x_c = m.two_by_covariance
    return np.array(
        [
            [s * f_d, 0.0, 0.0, 0.0],
            [n * f_d + s * theta[0] * x_d, s * m.one[1], 0.0, 0.0],
            [s * f_a, 0.0, s * f_c, 0.0],
            [n * f_a + s * theta[1] * x_a, 0.0, n * f_c + s * theta[1] * x_c, s * m.two[1]],
        ]
    )
