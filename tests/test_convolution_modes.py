"""Fourier modes of deep circular convolutions: one layer of the recursion, closed forms, words for bad input."""

import numpy as np
import pytest

import mfdnn
from mfdnn import phase
from mfdnn.layers import ONLY_MOMENTS, Conv, Exchangeable, Pointwise, State, Tangents
from mfdnn.layers.pairs import SAME


@pytest.mark.parametrize("weights", ["gaussian", "delta_orthogonal"])
@pytest.mark.parametrize(("sites", "kernel"), [((8,), (3,)), ((6,), (2,)), ((4, 6), (3, 2))])
@pytest.mark.parametrize("sigma_w2", [1.3, 3.0])
def test_a_layer_multiplies_a_mode_by_its_factor(sigma_w2, sites, kernel, weights):
    """A wave on the products of two inputs at one site, beside the fixed point."""
    modes = phase.convolution_modes("tanh", sigma_w2, 0.1, sites, kernel, weights)
    fp, n = mfdnn.fixed_point("tanh", sigma_w2, 0.1), int(np.prod(sites))
    conv = Conv(7, kernel, sigma_w2, 0.1, mode="circular", padding="same", weights=weights)
    for mode in np.ndindex(sites):
        grid = np.indices(sites)
        angle = sum(2 * np.pi * f * x / size for f, x, size in zip(mode, grid, sites, strict=True))
        small = 1e-6 * fp.q
        behind = []
        for wave in (np.cos(angle), np.sin(angle)):
            moments = Exchangeable(np.full(n, fp.q), fp.q * fp.c - small * (1 + wave.ravel()), None, SAME)
            state = State(moments, np.zeros(n), (7, *sites), True, Tangents(ONLY_MOMENTS))
            behind.append(
                (conv.propagate(Pointwise("tanh").propagate(state)).moments.two - fp.q * fp.c) / small
            )
        left = np.abs((behind[0] + fp.chi_c) + 1j * (behind[1] + fp.chi_c))  # without the uniform part
        # The map bends: relative deviations of the size of the wave.
        np.testing.assert_allclose(left, fp.chi_c * modes.factors[mode], rtol=1e-4, atol=1e-5)


def test_closed_forms():
    modes = phase.convolution_modes("tanh", 2.0, 0.1, 12, 3)
    f = np.arange(12)
    np.testing.assert_allclose(modes.factors, np.abs(1 + 2 * np.cos(2 * np.pi * f / 12)) / 3, atol=1e-14)
    assert modes.xi[0] == pytest.approx(mfdnn.fixed_point("tanh", 2.0, 0.1).xi_c, rel=1e-14)
    assert modes.xi[4] == 0.0  # a third of a turn a tap: gone at once
    delta = phase.convolution_modes("tanh", 2.0, 0.1, (4, 3), weights="delta_orthogonal")
    np.testing.assert_array_equal(delta.factors, 1.0)
    np.testing.assert_array_equal(delta.xi, modes.xi[0])
    critical = phase.convolution_modes("relu", 2.0, 0.0, 4)
    assert critical.xi[0] == np.inf
    assert critical.xi[1] == pytest.approx(1 / np.log(3), rel=1e-6)
    assert repr(critical) == "ConvolutionModes(4 modes, phase='critical', xi 0.9102 to inf)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": 0}, "`sites` must be an integer >= 1"),
        ({"sites": []}, "`sites` must not be empty"),
        (
            {"sites": (4, 4), "kernel": (3, 3, 3)},
            "`kernel` must be a number, or one for each of 2 axes of `sites`, got 3",
        ),
        ({"weights": "orthogonal"}, "`weights` must be one of"),
        ({"sigma_w2": -1.0}, "`sigma_w2` is a variance"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        phase.convolution_modes(**{"phi": "tanh", "sigma_w2": 1.5, "sigma_b2": 0.1, "sites": 4, **options})
