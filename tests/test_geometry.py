"""Eigenvectors of the Fisher information, blocks of one layer, other units, and how outputs decouple."""

import json
import tracemalloc

import naive
import numpy as np
import pytest
from test_sampled import CLASSIFIERS, NETWORKS, TOP, CentreBatch, draw, jacobian

import mfdnn
from mfdnn.architectures import mlp
from mfdnn.layers import BatchNorm, Dense, Layer, LayerNorm, Pointwise
from mfdnn.losses.probabilities import SoftmaxRoot
from mfdnn.network import Network
from mfdnn.sampled import SampledNetwork, dual, eigenpairs, feature_spectrum, fisher_spectrum, vectors
from mfdnn.sampled.coordinates import Coordinates


@pytest.fixture
def iterate(monkeypatch):
    """Small problems take the iterative path too."""
    monkeypatch.setattr(eigenpairs, "SMALL", 0)


# -- eigenvectors ------------------------------------------------------------------------------------------


def fisher_times(one, X, V, output="linear"):
    """F V from Jacobian products."""
    linear = one.linearise(X)
    root = SoftmaxRoot(linear.outputs) if output == "softmax" else None
    columns = []
    for v in V.T:
        u = linear.jvp(v)
        if root is not None:
            u = root.transpose(root.apply(u))
        columns.append(linear.vjp(u) / len(X))
    return np.array(columns).T


@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("name", ["tanh", "no bias", "residual", "couples samples"])
def test_eigenvectors_are_orthonormal_and_those_of_the_fisher_matrix(name, output, iterate):
    one, X, _ = draw(CLASSIFIERS[name], 12)
    for k in (5, None):
        found = fisher_spectrum(one, X, k=k, output=output, eigenvectors=True, tol=1e-9)
        V = found.eigenvectors
        assert V.shape == (one.n_parameters, len(found.eigenvalues))
        assert np.abs(V.T @ V - np.eye(V.shape[1])).max() < 1e-12
        # Relative to the largest eigenvalue: residuals of the iteration, amplified where vectors are short.
        gain = np.sqrt(found.largest / found.eigenvalues[-1])
        left = np.linalg.norm(fisher_times(one, X, V, output) - V * found.eigenvalues, axis=0)
        assert left.max() <= 2 * gain * found.residuals.max() + 1e-13 * gain * found.largest
        again = fisher_spectrum(one, X, k=k, output=output, tol=1e-9)
        assert np.abs(again.eigenvalues - found.eigenvalues).max() < 1e-13 * found.largest  # rounding
        assert again.eigenvectors is again.principal_angles is None


def test_eigenvectors_of_small_eigenvalues_are_orthonormal_too():
    # Eigenvalues over ten orders of magnitude: J^T u alone would be orthogonal to 1e-6.
    one, X, _ = draw(NETWORKS["no bias"], 6)
    found = fisher_spectrum(one, X * np.geomspace(1, 1e-5, 6)[:, None], eigenvectors=True)
    assert found.eigenvalues[-1] < 1e-9 * found.largest
    V = found.eigenvectors
    assert np.abs(V.T @ V - np.eye(V.shape[1])).max() < 1e-13


@pytest.mark.parametrize("output", ["linear", "softmax"])
def test_principal_angles_are_those_between_outliers_and_mean_gradients(output):
    one, X, _ = draw(TOP["outliers"], 40)
    found = fisher_spectrum(one, X, eigenvectors=True, k=6, output=output)
    mean = np.array([one.vjp(X, np.tile(e, (40, 1))) for e in np.eye(4)]).T
    basis, other = found.eigenvectors[:, : found.n_outliers], np.linalg.qr(mean)[0]
    cosines = np.linalg.svd(basis.T @ other, compute_uv=False)
    assert found.principal_angles.shape == (found.n_outliers,)
    # The largest cosine belongs to the smallest angle, the last.
    assert np.cos(found.principal_angles[::-1]) == pytest.approx(cosines, abs=1e-12)
    few = fisher_spectrum(one, X, eigenvectors=True, k=2, output=output)
    assert few.principal_angles is None


def test_outliers_turn_into_the_mean_gradients_as_the_width_grows():
    # sin of the angle is of order M^-1/2: over a factor 16 in width, a factor 4; seeds scatter by a tenth.
    angle = {}
    for width in (30, 480):
        net = mlp([width, width, width, 2], "relu", 2.0, 0.1)
        angle[width] = np.mean(
            [
                np.sin(
                    fisher_spectrum(*draw(net, 30, seed)[:2], k=2, eigenvectors=True).principal_angles.max()
                )
                for seed in range(4)
            ]
        )
    assert 2.5 < angle[30] / angle[480] < 6


def test_vanishing_mean_gradients_span_nothing():
    # An odd network without bias at pairs +-x.
    one, X, _ = draw(TOP["centred"], 20)
    odd = fisher_spectrum(one, np.vstack([X, -X]), k=4, eigenvectors=True)
    assert odd.principal_angles is None
    behind = Network(5, [Dense(8, 1.5, 0.1), Pointwise("tanh"), Dense(2, 1.5, 0.1), CentreBatch()])
    one, X, _ = draw(behind, 20)
    assert fisher_spectrum(one, X, k=4, eigenvectors=True).principal_angles is None


def test_eigenvectors_of_zero_are_refused_by_number():
    # Four different inputs, three outputs.
    one, X, _ = draw(NETWORKS["one layer"], 4)
    with pytest.raises(ArithmeticError, match=r"only the first 12 of 18 are larger; pass k=12"):
        fisher_spectrum(one, np.repeat(X, 2, axis=0), eigenvectors=True)
    zero = SampledNetwork(mlp([2, 3], bias=False), [(np.ones((3, 2)), None)])
    with pytest.raises(ArithmeticError, match="the largest is zero within rounding"):
        fisher_spectrum(zero, np.zeros((4, 2)), k=1, eigenvectors=True)


@pytest.mark.parametrize("k", [2, 4, None])
def test_eigenvectors_take_no_more_than_predicted(k, monkeypatch):
    one, X, _ = draw(mlp([150, 150, 150, 4], "relu", 2.0, 0.1), 20)
    predicted = []
    monkeypatch.setattr(vectors, "require_memory", lambda n_bytes, *_: predicted.append(n_bytes))
    fisher_spectrum(one, X, k=k, eigenvectors=True)  # imports
    tracemalloc.start()
    fisher_spectrum(one, X, k=k, eigenvectors=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of the spectrum itself 1 MB.
    assert 0.5 * predicted[0] < peak < predicted[0] + 1e6


def test_eigenvectors_predict_their_memory(monkeypatch):
    one, X, _ = draw(TOP["outliers"], 100)
    monkeypatch.setattr(mfdnn._support.memory, "available_memory", lambda: 2e5)
    with pytest.raises(MemoryError, match=r"2 eigenvectors of 4804 parameters would take .* smaller k"):
        fisher_spectrum(one, X, k=2, eigenvectors=True)


def test_eigenvectors_keep_the_dtype_and_stay_out_of_the_dictionary():
    one, X, _ = draw(TOP["outliers"], 100, dtype="float32")
    found = fisher_spectrum(one, X, k=4, eigenvectors=True)
    assert found.eigenvectors.dtype == np.float32
    assert np.abs(found.eigenvectors.T @ found.eigenvectors - np.eye(4)).max() < 1e-5
    as_dict = json.loads(json.dumps(found.to_dict()))
    assert as_dict["eigenvectors"] is None
    assert len(as_dict["principal_angles"]) == 4


# -- blocks of one weight layer, and other units ------------------------------------------------------------


def columns_of(one, layer):
    """Which parameters belong to a weight layer of a network of dense layers."""
    sizes = [sum(a.size for a in pair if a is not None) for pair in one.parameters]
    return slice(sum(sizes[:layer]), sum(sizes[: layer + 1]))


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("output", ["linear", "softmax"])
@pytest.mark.parametrize("name", ["gaussian", "no bias", "residual"])
def test_a_block_is_that_of_the_dense_matrix(name, output, k, iterate):
    net = NETWORKS[name]
    one, X, _ = draw(net, 7)
    J = jacobian(one, X).reshape(7, 3, -1)
    for layer in range(net.n_weight_layers):
        columns = columns_of(one, layer)
        part = J[..., columns]
        F = naive.fisher_matrix(part) if output == "linear" else naive.softmax_fisher_matrix(part, one(X))
        block = fisher_spectrum(one, X, k=k, output=output, layer=layer, eigenvectors=k == 3, tol=1e-10)
        expected = naive.eigenvalues(F)[: len(block.eigenvalues)]
        assert np.abs(block.eigenvalues - expected).max() <= block.residuals.max() + 1e-14 * expected[0]
        assert block.n_parameters == len(F)
        assert block.mean == pytest.approx(np.trace(F) / len(F), rel=1e-11)
        assert block.second_moment == pytest.approx(np.sum(F**2) / len(F), rel=1e-11)
        assert block.layer == layer
        if k == 3:
            V = block.eigenvectors
            assert np.linalg.norm(F @ V - V * block.eigenvalues, axis=0).max() < 1e-8 * block.largest


@pytest.mark.parametrize("k", [None, 1])
def test_weights_without_variance_have_no_tangent_kernel_in_its_own_units(k, iterate):
    one, X, _ = draw(mlp([5, 8, 3], "tanh", [2.0, 0.0]))
    block = fisher_spectrum(one, X, k=k, layer=-1, parameterisation="ntk")
    assert block.largest == block.mean == block.second_moment == block.coupling == 0
    assert not mfdnn.empirical_ntk(one, X, layer=-1, parameterisation="ntk").any()


def test_blocks_add_up_and_layers_are_counted_as_in_a_list():
    for name in ("mixed", "residual"):
        one, X, _ = draw(NETWORKS[name])
        whole = fisher_spectrum(one, X)
        blocks = [fisher_spectrum(one, X, layer=i) for i in range(one.network.n_weight_layers)]
        assert sum(b.mean * b.n_parameters for b in blocks) == pytest.approx(whole.mean * whole.n_parameters)
        last = fisher_spectrum(one, X, layer=-1)
        assert np.array_equal(last.eigenvalues, blocks[-1].eigenvalues)
        assert last.layer == blocks[-1].layer == len(blocks) - 1


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (3, ValueError, "index of one of 3 weight layers, got 3"),
        (True, ValueError, "got True"),
        (0.5, TypeError, "int"),
    ],
)
def test_layers_that_are_not_there_are_named(layer, error, message):
    one, X, _ = draw(NETWORKS["gaussian"])
    with pytest.raises(error, match=message):
        fisher_spectrum(one, X, layer=layer)


@pytest.mark.parametrize("phi", ["tanh", "relu"])
def test_blocks_of_wide_networks_are_those_of_theory(phi):
    # One output: those of several couple, and move the edge that is the largest eigenvalue of the first block.
    net = mlp([200, 300, 200, 1], phi, 2.0, 0.1)
    found = {name: [] for name in ("mean", "outlier_mean")}
    for seed in range(6):
        one, X, _ = draw(net, 40, seed)
        for name, values in found.items():
            values.append([getattr(fisher_spectrum(one, X, layer=i), name) for i in range(3)])
    for name, theory in (("mean", "mean"), ("outlier_mean", "largest")):
        expected = [getattr(block, theory) for block in mfdnn.fisher_statistics(net, n_samples=40).layers]
        ratio = np.array(found[name]) / expected
        error = ratio.std(axis=0, ddof=1) / np.sqrt(6)
        # 4 standard errors, and 5 % of order 1/M.
        assert np.all(np.abs(ratio.mean(axis=0) - 1) < 4 * error + 0.05)


@pytest.mark.parametrize("name", ["gaussian", "residual", "couples behind", "couples within", "layer norm"])
def test_every_path_through_the_dual_knows_blocks_and_units(name, iterate):
    dense = [Dense(8, 1.5, 0.1), Pointwise("tanh"), Dense(3, 1.5, 0.2)]
    net = {
        **NETWORKS,
        "couples behind": Network(5, [*dense, BatchNorm()]),
        "couples within": Network(5, [dense[0], BatchNorm(), *dense[1:]]),
        "layer norm": Network(5, [dense[0], LayerNorm(), *dense[1:]]),
    }[name]
    n = 12  # more than twice the first fan-in and less than twice the second: either way round of a Gram matrix
    one, X, _ = draw(net, n)
    linear, J = one.linearise(X), jacobian(one, X)
    rows = J.reshape(n, net.n_outputs, -1).swapaxes(0, 1).reshape(n * net.n_outputs, -1)
    scales = [
        (np.sqrt(layer.sigma_w2 / layer.fan_in(shape)), np.sqrt(layer.sigma_b2))
        if layer.n_weight_layers
        else (1.0, 1.0)
        for layer, shape in net.parameter_layers
    ]
    ntk = one.flatten(
        [
            tuple(np.full(a.shape, s) for s, a in zip(*both, strict=True))
            for both in zip(scales, one.parameters, strict=True)
        ]
    )
    first = np.zeros(one.n_parameters)
    first[columns_of(one, 0)] = 1
    for options, scale in (({"parameterisation": "ntk"}, ntk), ({"layer": 0}, first)):
        expected = (rows * scale**2) @ rows.T / n
        d = dual.dual(linear, 2, None, Coordinates(net, **options))
        top = fisher_spectrum(one, X, k=2, eigenvectors=True, tol=1e-9, **options)
        scale = np.abs(expected).max()
        assert np.abs(d.product(np.eye(len(rows))) - expected).max() < 1e-13 * scale
        assert np.abs(np.tril(d.matrix() - expected)).max() < 1e-13 * scale
        assert d.trace() == pytest.approx(np.trace(expected), rel=1e-12)
        assert top.largest == pytest.approx(naive.eigenvalues(expected)[0], rel=1e-12)
        assert top.eigenvectors.shape == (top.n_parameters, 2)


# -- how far outputs decouple -------------------------------------------------------------------------------


def test_coupling_is_the_share_of_blocks_between_outputs(iterate):
    one, X, _ = draw(NETWORKS["gaussian"])
    J = jacobian(one, X).reshape(9, 3, -1)
    blocks = np.einsum("sip,tjp->ijst", J, J)
    own = sum(np.sum(blocks[i, i] ** 2) for i in range(3))
    expected = np.sqrt(1 - own / np.sum(blocks**2))
    for k in (None, 2):
        assert fisher_spectrum(one, X, k=k).coupling == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        (mlp([20, 30, 3], "relu", 2.0, 0.1), -1),
        (mlp([20, 3], "relu", 2.0, 0.1), None),
        (mlp([20, 30, 1], "relu", 2.0, 0.1), None),
        (mlp([30, 30, 20, 3], "linear", 1.0, weights="orthogonal"), None),
        (mlp([20, 30, 3], "relu", [2.0, 0.0]), None),
    ],
    ids=["last layer", "one layer", "one output", "linear and orthogonal", "read-out starts at zero"],
)
def test_outputs_that_decouple_exactly(net, layer):
    one, X, _ = draw(net)
    assert fisher_spectrum(one, X, layer=layer).coupling < 1e-14  # rounding of the orthogonal matrices


def test_coupling_falls_as_the_root_of_the_width():
    # Over a factor 9 in width a factor 3; single networks scatter by a fifth, means by 6 % each.
    coupling = {}
    for width in (40, 360):
        net = mlp([width, width, width, 3], "tanh", 3.0, 0.64)
        coupling[width] = np.mean([fisher_spectrum(*draw(net, 15, seed)[:2]).coupling for seed in range(12)])
    assert 2.25 < coupling[40] / coupling[360] < 3.75


# -- bad weights and unknown layers -------------------------------------------------------------------------


MEASURES = [fisher_spectrum, mfdnn.empirical_ntk, feature_spectrum, mfdnn.squared_fisher_rao_norm]


@pytest.mark.parametrize("measure", MEASURES)
def test_outputs_that_overflow_are_named(measure):
    one = SampledNetwork(
        mlp([5, 6, 2], "linear", bias=False), [(np.full(s, 1e30, "f4"), None) for s in [(6, 5), (2, 6)]]
    )
    with pytest.raises(ValueError, match="overflow float32 at these inputs"):
        measure(one, np.ones((3, 5)))


@pytest.mark.parametrize("measure", MEASURES[:3])
def test_gradients_that_overflow_are_named(measure):
    one = SampledNetwork(
        mlp([5, 6, 2], "linear", bias=False), [(np.full(s, 1e25, "f4"), None) for s in [(6, 5), (2, 6)]]
    )
    with np.errstate(over="ignore", invalid="ignore"):
        with pytest.raises(ArithmeticError, match="gradients of `one` overflow"):
            measure(one, np.full((3, 5), 1e-20))


def test_other_weight_layers_have_no_ntk_units():
    class Gain(Layer):
        n_weight_layers = 1

        def parameter_shapes(self, shape):
            return (shape,)

    with pytest.raises(ValueError, match="needs weight layers that know their units"):
        Coordinates(Network(3, [Gain()]), "ntk")
