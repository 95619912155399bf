"""Layers as a user would write them, from the contract alone: one class each, one stack of samples at a time."""

import numpy as np

from mfdnn.layers import Layer


class CircularConv(Layer):
    """u_a(x) = sum_{b, s} W_ab(s) h_b(x + s) + b_a on a ring of sites."""

    n_weight_layers = 1
    parameter_roles = ("weights", "biases")

    def __init__(self, channels, taps, sigma_w2=1.5, sigma_b2=0.1):
        self.channels, self.taps, self.sigma_w2, self.sigma_b2 = channels, taps, sigma_w2, sigma_b2

    def __repr__(self):
        return f"CircularConv({self.channels}, {self.taps})"

    def scaled(self, factor):
        channels = max(1, round(self.channels * factor))
        return type(self)(channels, self.taps, self.sigma_w2, self.sigma_b2)

    def propagate(self, state):
        return state.weighted(
            self.output_shape(state.shape),
            fan_in=self.fan_in(state.shape),
            sigma_w2=self.sigma_w2,
            sigma_b2=self.sigma_b2,
            sees=lambda pairs: pairs.over_sites(self.average_over_taps),
        )

    def average_over_taps(self, k):
        return sum(np.roll(k, (-s, -s), axis=(-2, -1)) for s in range(self.taps)) / self.taps

    def output_shape(self, shape):
        return self.channels, shape[1]

    def fan_in(self, shape):
        return shape[0] * self.taps

    def parameter_shapes(self, shape):
        return (self.channels, shape[0], self.taps), (self.channels,)

    def initialise(self, rng, shape, dtype):
        weight = rng.standard_normal((self.channels, shape[0], self.taps), dtype=dtype)
        weight *= dtype.type(np.sqrt(self.sigma_w2 / self.fan_in(shape)))
        return weight, (np.sqrt(self.sigma_b2) * rng.standard_normal(self.channels)).astype(dtype)

    def forward(self, x, parameters, trace):
        weight, bias = next(parameters)
        trace.append(x)
        return self.convolved(x, weight) + bias[:, None]

    def pushforward(self, dx, parameters, tangents, trace):
        (weight, _), (d_weight, d_bias) = next(parameters), next(tangents)
        du = self.convolved(next(trace), d_weight) + d_bias[:, None]
        return du if dx is None else du + self.convolved(dx, weight)

    def backward(self, delta, parameters, trace, collected):
        weight, _ = next(parameters)
        collected.append((next(trace), delta))
        return sum(
            np.einsum("ab,tax->tbx", weight[:, :, s], np.roll(delta, s, axis=2)) for s in range(self.taps)
        )

    def gradient(self, h, delta):
        taps = [np.einsum("tax,tbx->ab", delta, np.roll(h, -s, axis=2)) for s in range(self.taps)]
        return np.stack(taps, axis=-1), delta.sum(axis=(0, 2))

    def convolved(self, x, weight):
        return sum(
            np.einsum("ab,tbx->tax", weight[:, :, s], np.roll(x, -s, axis=2)) for s in range(self.taps)
        )


class PaddedConv(CircularConv):
    """The same with three centred taps on a line of sites, zeros outside."""

    def __init__(self, channels, sigma_w2=1.5, sigma_b2=0.1):
        super().__init__(channels, 3, sigma_w2, sigma_b2)

    def __repr__(self):
        return f"PaddedConv({self.channels})"

    def ntk_units(self, shape):
        return float(np.sqrt(self.sigma_w2 / self.fan_in(shape))), float(np.sqrt(self.sigma_b2))

    def propagate(self, state):
        return CircularConv.propagate(self, state)

    def average_over_taps(self, k):
        padded = np.pad(k, [*[(0, 0)] * (k.ndim - 2), (1, 1), (1, 1)])
        n = k.shape[-1]
        return sum(padded[..., s : s + n, s : s + n] for s in range(3)) / 3

    def seen(self, h):
        return np.concatenate([self.shifted(h, s) for s in range(3)], axis=1)

    def shifted(self, x, s):
        return np.pad(x, ((0, 0), (0, 0), (1, 1)))[:, :, s : s + x.shape[2]]

    def backward(self, delta, parameters, trace, collected):
        weight, _ = next(parameters)
        collected.append((next(trace), delta))
        return sum(np.einsum("ab,tax->tbx", weight[:, :, s], self.shifted(delta, 2 - s)) for s in range(3))

    def gradient(self, h, delta):
        taps = [np.einsum("tax,tbx->ab", delta, self.shifted(h, s)) for s in range(3)]
        return np.stack(taps, axis=-1), delta.sum(axis=(0, 2))

    def convolved(self, x, weight):
        return sum(np.einsum("ab,tbx->tax", weight[:, :, s], self.shifted(x, s)) for s in range(3))


class RMSNorm(Layer):
    """y_i = gamma_i x_i / r with r^2 the mean square over channels, at every site."""

    kind = "rms norm"
    keeps_units = True

    def __repr__(self):
        return "RMSNorm()"

    def propagate(self, state):
        factors = state.moments.outer(1 / np.sqrt(state.moments.variance))
        z = state.moments * factors
        mean = state.mean / np.sqrt(state.moments.variance)
        return state.mapped(z, lambda kernel: kernel * factors, mean=mean).trained(z)

    def parameter_shapes(self, shape):
        return (shape[:1],)

    def initialise(self, rng, shape, dtype):
        return (np.ones(shape[0], dtype),)

    def forward(self, x, parameters, trace):
        gamma = self.beside(next(parameters), x)
        r = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        trace.append((x / r, r))
        return gamma * x / r

    def pushforward(self, dx, parameters, tangents, trace):
        z, r = next(trace)
        gamma, d_gamma = self.beside(next(parameters), z), self.beside(next(tangents), z)
        if dx is None:
            return d_gamma * z
        return d_gamma * z + gamma * self.projected(dx, z, r)

    def backward(self, delta, parameters, trace, collected):
        z, r = next(trace)
        collected.append((z, delta))
        return self.projected(self.beside(next(parameters), z) * delta, z, r)

    def gradient(self, h, delta):
        return ((h * delta).sum(axis=(0, *range(2, h.ndim))),)

    def beside(self, group, x):
        return group[0].reshape(-1, *[1] * (x.ndim - 2))

    def projected(self, dx, z, r):
        return (dx - z * np.mean(dx * z, axis=1, keepdims=True)) / r


class SiteMean(Layer):
    """The mean of every channel over its sites."""

    homogeneous = True  # linear: outputs that it makes are Gaussian as those before

    def __repr__(self):
        return "SiteMean()"

    def propagate(self, state):
        def mean_of_all(pairs):
            return pairs.over_sites(lambda k: k.mean(axis=(-2, -1), keepdims=True))

        mean = state.mean.mean(axis=-1, keepdims=True)
        return state.mapped(mean_of_all(state.moments), mean_of_all, mean=mean, shape=state.shape[:1])

    def output_shape(self, shape):
        return shape[:1]

    def forward(self, x, parameters, trace):
        trace.append(x.shape[2])
        return x.mean(axis=2)

    def pushforward(self, dx, parameters, tangents, trace):
        next(trace)
        return None if dx is None else dx.mean(axis=2)

    def backward(self, delta, parameters, trace, collected):
        n = next(trace)
        return np.repeat(delta[:, :, None] / delta.dtype.type(n), n, axis=2)


class InstanceNorm(Layer):
    """Mean 0 and variance 1 over the sites of every channel: known in theory by its map and derivative alone."""

    homogeneous = False
    eps = 1e-3

    def __repr__(self):
        return "InstanceNorm()"

    def standardised(self, x):
        axes = tuple(range(2, x.ndim))
        z = x - x.mean(axis=axes, keepdims=True)
        r = 1 / np.sqrt(np.mean(z**2, axis=axes, keepdims=True) + self.eps)
        return z * r, r

    def projected(self, dx, z, r):
        axes = tuple(range(2, z.ndim))
        dx = dx - dx.mean(axis=axes, keepdims=True)
        return r * (dx - z * np.mean(dx * z, axis=axes, keepdims=True))

    def unit(self, g):
        return self.standardised(g)[0]

    def unit_jvp(self, g, z):
        return self.projected(z, *self.standardised(g))

    def forward(self, x, parameters, trace):
        z, r = self.standardised(x)
        trace.append((z, r))
        return z

    def pushforward(self, dx, parameters, tangents, trace):
        z, r = next(trace)
        return None if dx is None else self.projected(dx, z, r)

    def backward(self, delta, parameters, trace, collected):
        return self.projected(delta, *next(trace))
