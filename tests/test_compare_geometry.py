"""Rows of `compare(geometry=True)`: metric of the features, tangent kernel, Fisher-Rao norm."""

import numpy as np
import pytest

import mfdnn

PHI = {"tanh": (3.0, 0.64), "relu": (2.0, 0.1), "linear": (1.0, 0.1)}
SHAPES = {
    "even": ((50, 50, 50, 1), 40),
    "uneven, three outputs": ((60, 120, 40, 3), 30),
    "wide": ((80, 80, 10), 20),
}
NAMES = {
    *(f"{of}_{name}" for of in ("feature", "ntk") for name in ("mean", "second_moment", "outlier_mean")),
    "squared_fisher_rao_norm",
}


def net_of(phi, widths):
    return mfdnn.mlp(list(widths), phi, *PHI[phi])


@pytest.mark.parametrize(("widths", "n_samples"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("phi", PHI)
def test_theory_agrees_with_sampled_networks(phi, widths, n_samples):
    table = mfdnn.compare(net_of(phi, widths), n_samples, n_networks=20, rng=0, geometry=True)
    rows = [row for row in table.rows if row.quantity in NAMES]
    assert {row.quantity for row in rows} == NAMES
    assert all(row.agrees for row in rows), (
        rows
    )  # three sigma and the stated allowance, and every row has a claim


def test_given_inputs_and_one_sample():
    net, X = net_of("relu", (30, 60, 60, 2)), np.random.default_rng(1).standard_normal((20, 30))
    for options in ({"inputs": X}, {"n_samples": 1}):
        table = mfdnn.compare(net, n_networks=20, rng=0, geometry=True, **options)
        rows = [row for row in table.rows if row.quantity in NAMES]
        assert len(rows) == len(NAMES) and all(row.agrees is not False for row in rows)


def test_an_odd_activation_without_biases_has_no_outlier_of_the_kernel():
    net = mfdnn.mlp([50, 50, 50, 1], "tanh", sigma_w2=1.5)
    table = mfdnn.compare(net, 40, n_networks=4, rng=0, geometry=True)
    assert table.row("ntk_outlier_mean").agrees is None and table.row("feature_outlier_mean").agrees


def test_what_ensembles_measure_is_what_the_functions_say():
    net = net_of("tanh", (20, 30, 3))
    ens = mfdnn.ensemble(net, 15, 2, rng=5, geometry=True)
    rng = np.random.default_rng(np.random.default_rng(5).bit_generator.seed_seq.spawn(2)[0])
    one = mfdnn.sample(net, rng=rng)
    X = mfdnn.datasets.gaussian_inputs(15, 20, rng=rng)
    kernel = np.linalg.eigvalsh(mfdnn.empirical_ntk(one, X, parameterisation="ntk"))
    features = mfdnn.feature_spectrum(one, X)
    expected = {
        "ntk_mean": kernel.mean(),
        "ntk_second_moment": np.mean(kernel**2),
        "ntk_outlier_mean": kernel[-3:].mean(),
        "feature_mean": features.mean,
        "feature_second_moment": features.second_moment,
        "feature_outlier_mean": features.eigenvalues[:3].mean(),
        "squared_fisher_rao_norm": mfdnn.squared_fisher_rao_norm(one, X),
    }
    assert expected.keys() == NAMES
    for name, value in expected.items():
        assert ens.values[name][0] == pytest.approx(value, rel=1e-10), name  # two ways to the same number


@pytest.mark.parametrize("options", [{"output": "softmax"}, {"batch": True}], ids=["softmax", "batch norm"])
def test_what_has_no_theory_is_refused(options):
    layers = [mfdnn.Dense(9), *([mfdnn.BatchNorm()] if options.pop("batch", False) else []), mfdnn.Dense(2)]
    with pytest.raises(
        ValueError, match="`geometry` needs linear outputs and layers that treat samples one by one"
    ):
        mfdnn.compare(mfdnn.Network(5, layers), 10, 2, rng=0, geometry=True, **options)
