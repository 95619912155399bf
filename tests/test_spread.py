"""How wide a network must be: the spread of its largest eigenvalue over widths, depths, and in figures."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot

import mfdnn
from mfdnn import mlp
from mfdnn.finite_width import outlier_distribution, spread_map, width_for_spread
from mfdnn.finite_width.band import outlier_band
from mfdnn.finite_width.outliers import law_of


@pytest.mark.parametrize("spread", [0.08, 0.3])
def test_width_for_spread(spread):
    net = mlp([500, 100, 60, 1], "relu", 2.0, 0.1)
    found = width_for_spread(net, spread, 100)
    assert found.spread <= spread
    assert found.network.widths == found.widths
    assert found.widths[0] == 500
    law = law_of(mfdnn.MeanField(mfdnn.network.scale_widths(net, 0.97 * found.factor), 100))
    assert law.largest_standard_deviation / law.largest_mean > 0.99 * spread


def test_width_that_does_not_exist():
    net = mlp([20, 100, 1], "relu", 2.0, 0.1)
    with pytest.raises(ValueError, match="not reached by any width"):
        width_for_spread(net, 1e-3, 5)
    with pytest.raises(ValueError, match="`spread` must be > 0"):
        width_for_spread(net, 0.0)
    with pytest.raises(ValueError, match="`net` must have a hidden layer"):
        width_for_spread(mlp([20, 1]), 0.1)
    with pytest.raises(TypeError, match="`net` must be a Network"):
        width_for_spread("relu", 0.1)
    with pytest.raises(ValueError, match="not reached by any width: no eigenvalue"):
        width_for_spread(mlp([20, 100, 1], "tanh", 1.0, 0.0, bias=False), 0.1)


def test_other_widths_sample_the_units_that_the_mean_field_says(monkeypatch):
    net, seen = mlp([20, 40, 40, 1], "relu", 2.0, 0.1), []

    def law(wide):
        seen.append((wide.rng, wide.n_units, wide.data, wide._seed))
        return law_of(wide)

    monkeypatch.setattr("mfdnn.finite_width.required_width.law_of", law)
    wide = mfdnn.MeanField(net, 30, c0=0.2, rng=3, n_units=64)
    width_for_spread(wide, 0.2)
    assert len(seen) > 1 and all(each == (3, 64, wide.data, wide._seed) for each in seen)


def test_width_of_a_residual_network_with_fresh_inputs():
    net = mfdnn.resnet([32, 64, 1], 1, "relu", 2.0, 0.1)
    found = width_for_spread(net, 0.1, 100)
    spread = outlier_distribution(net, 100).relative_spread
    assert found.spread <= 0.1 < spread
    assert found.factor == pytest.approx((spread / 0.1) ** 2, rel=0.1)  # to leading order, and where inputs are many


def test_a_width_at_which_the_law_is_in_doubt_is_told():
    found = width_for_spread(mlp([100, 100, 1], "relu", 2.0, 0.5), 0.5, 100)
    assert found.spread > 0.35
    assert "above 0.35 the expansion" in found.caution


def test_spread_map_is_the_law_at_every_point(tmp_path):
    found = spread_map("relu", 2.0, 0.1, [3, 6], [30, 300], n_samples=40, n_outputs=2)
    for i, depth in enumerate(found.depths):
        for j, width in enumerate(found.widths):
            law = law_of(mfdnn.MeanField(mlp([width] * depth + [2], "relu", 2.0, 0.1), 40))
            assert found.spread[i, j] == law.largest_standard_deviation / law.largest_mean
            assert found.status[i, j] == ("caution" if law.caution else "ok")
    assert found.status.tolist() == [["ok", "ok"], ["caution", "ok"]]
    found.save(tmp_path / "map.npz")
    assert np.array_equal(mfdnn.finite_width.SpreadMap.load(tmp_path / "map.npz").spread, found.spread)
    odd = spread_map("tanh", 1.5, 0.0, 3, 50, 100)
    assert odd.status.tolist() == [["no outlier"]] and np.isinf(odd.spread).all()
    with pytest.raises(ValueError, match="`depths` must be an integer >= 2, got"):
        spread_map("relu", 2.0, 0.0, [1, 2], [50])
    with pytest.raises(TypeError, match="`sigma_w2` must be a single number"):
        spread_map("relu", [2.0, 2.0], 0.0, [2], [50])


def test_a_map_without_any_outlier_is_drawn_and_says_so():
    ax = spread_map("tanh", 1.5, 0.0, [2, 3], [50, 60], 100).plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no outlier clear of the bulk"]
    ax.figure.canvas.draw()
    pyplot.close(ax.figure)


def test_spread_of_relu_networks_depends_on_depth_over_root_width():
    """The same ratio 0.4 at L = 4, 8, 12: the spread is half of it within 10 %. Of tanh it falls by half."""
    depths, widths = [4, 8, 12], [100, 400, 900]
    relu = np.diag(spread_map("relu", 2.0, 0.0, depths, widths, 50).spread)
    assert relu == pytest.approx([0.2] * 3, rel=0.1)
    tanh = np.diag(spread_map("tanh", 1.5, 0.05, depths, widths, 50).spread)
    assert tanh[2] < 0.6 * tanh[0]


def test_band_or_the_reason_why_there_is_none():
    net = mlp([100, 100, 100, 1], "relu", 2.0, 0.1)
    low, high = outlier_band(net, 50).quantiles
    assert (low, high) == tuple(outlier_distribution(net, 50).quantile([0.05, 0.95]))
    assert outlier_band(mlp([50, 50, 50, 50, 40], "relu", 2.0, 0.1), 50) == (
        None,
        "the 40 outputs are too many for these widths",
    )
    _, reason = outlier_band(mfdnn.Network(50, [*mfdnn.resnet([50, 50, 3], 2).layers, mfdnn.LayerNorm()]), 50)
    assert reason.startswith("`net` must end with its last weights")


@pytest.mark.parametrize("phi, variances", [("relu", (2.0, 0.0)), ("tanh", (1.5, 0.05))])
def test_widths_in_the_documentation(phi, variances):
    text = (Path(__file__).parent.parent / "docs" / "finite_width.md").read_text()
    widths = [
        width_for_spread(mlp([1000, *[100] * (depth - 1), 1], phi, *variances), 0.1, 50).widths[1]
        for depth in (4, 8, 12)
    ]
    assert ", ".join(map(str, widths)) + " and" in text


def test_spread_map_of_another_architecture(tmp_path):
    def residual(depth, width, **layers):
        return mfdnn.resnet([16, width, 1], depth, **layers)

    X = np.random.default_rng(0).standard_normal((10, 16))
    found = spread_map("tanh", 1.0, 0.3, [1, 2], [32, 64], architecture=residual, inputs=X)
    law = law_of(mfdnn.MeanField(residual(2, 64, activation="tanh", sigma_w2=1.0, sigma_b2=0.3), inputs=X))
    assert found.spread[1, 1] == law.largest_standard_deviation / law.largest_mean
    assert (found.n_samples, found.n_outputs) == (10, 1)
    assert np.all(found.spread[:, 0] > found.spread[:, 1])
    ax = found.plot()
    assert list(ax.get_yticks()) == [1, 2]
    pyplot.close(ax.figure)
    with pytest.raises(TypeError, match="`architecture` must be a function of depth, width"):
        spread_map("tanh", 1.0, 0.3, [1, 2], [32, 64], architecture="resnet")
    given = spread_map("relu", 2.0, 0.1, [3], [50], inputs=X)
    net = mlp([16, 50, 50, 1], "relu", 2.0, 0.1)
    assert given.spread[0, 0] == pytest.approx(outlier_distribution(net, inputs=X).relative_spread, rel=0.01)


def test_a_point_without_a_law_is_marked():
    def sometimes(depth, width, **layers):
        weights = "orthogonal" if depth == 2 else "gaussian"
        hidden = mfdnn.Dense(width, layers["sigma_w2"], layers["sigma_b2"], weights=weights)
        return mfdnn.Network(40, [hidden, mfdnn.Pointwise(layers["activation"]), mfdnn.Dense(1, 2.0, 0.1)])

    found = spread_map("relu", 2.0, 0.1, [1, 2], [40, 50], 100, architecture=sometimes)
    assert found.status.tolist() == [["ok"] * 2, ["no law"] * 2]
    ax = found.plot()
    assert "no law" in [text.get_text() for text in ax.get_legend().get_texts()]
    pyplot.close(ax.figure)
    with pytest.raises(mfdnn.NoTheory, match="orthogonal weights"):
        spread_map("relu", 2.0, 0.1, [2], [40], 100, architecture=sometimes)
    with pytest.raises(TypeError, match="`architecture` must return a Network, got int"):
        spread_map("relu", 2.0, 0.1, [2], [40], architecture=lambda depth, width, **layers: 3)
    with pytest.raises(ValueError, match="one number of outputs"):
        spread_map(
            "relu", 2.0, 0.1, [2, 3], [40], architecture=lambda depth, width, **layers: mlp([9, width, depth], **layers)
        )
