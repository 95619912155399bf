"""The figures of kernels: their lines are what the package computes, in the stated settings."""

import numpy as np
import pytest

import mfdnn
from mfdnn.kernels import kernel_depth
from mfdnn.papers import jacot2018, lee2019, xiao2020
from mfdnn.papers._parameterised import InNTK


def panels(figure):
    """By letter."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return dict(zip("ABCDEF", axes, strict=False))


def holds(ax, x, y):
    """Whether one of the lines has these points."""
    return any(
        np.array_equal(line.get_xdata(), x) and np.allclose(line.get_ydata(), y, rtol=1e-9, atol=0) for line in ax.lines
    )


# -- Xiao et al. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_w2", [xiao2020.ORDERED, xiao2020.CHAOTIC])
def test_condition_numbers_are_those_of_kernels(sigma_w2, drawn):
    shown = panels(drawn["xiao2020-conditioning"])
    theory = kernel_depth("erf", sigma_w2, 0.05, xiao2020.LAYERS_FAST, 64, c0=0.4)
    assert holds(shown["A"], theory.depth, theory.condition)
    X, _, others, _ = xiao2020.classes(64, 32)
    assert X.shape == (64, 64) and others.shape == (32, 64) and np.allclose(np.sum(X**2, axis=1), 64)
    nets = [mfdnn.mlp([64, *[10] * (depth - 1), 1], "erf", sigma_w2, 0.05) for depth in xiao2020.DEPTHS_FAST]
    found = [mfdnn.kernel_spectrum(net, inputs=X, parameterisation="ntk").condition for net in nets]
    assert holds(shown["A"], xiao2020.DEPTHS_FAST, found)


def test_mean_predictions_are_those_of_kernel_regression(drawn):
    X, y, others, _ = xiao2020.classes(64, 32)
    targets = np.eye(10)[y]
    targets -= targets.mean(axis=0)
    sizes = []
    for depth in xiao2020.DEPTHS_FAST:
        net = mfdnn.mlp([64, *[10] * (depth - 1), 1], "erf", xiao2020.CHAOTIC, 0.05)
        theta, beside = (mfdnn.ntk(net, X, x, parameterisation="ntk") for x in (None, others))
        sizes.append(np.sqrt(np.mean((beside.T @ np.linalg.solve(theta, targets)) ** 2)))
    assert holds(panels(drawn["xiao2020-conditioning"])["C"], xiao2020.DEPTHS_FAST, sizes)


def test_map_of_losses(drawn):
    """Of the flow, by the eigenvectors of a kernel."""
    maps = [ax.collections[0].get_array() for ax in panels(drawn["xiao2020-trainability"]).values()]
    X, y, *_ = xiao2020.classes(32, 32)
    targets = np.eye(10)[y] - np.eye(10)[y].mean(axis=0)
    net = mfdnn.mlp([64, *[10] * 4, 1], "erf", 1.8, 0.18)
    values, vectors = np.linalg.eigh(mfdnn.ntk(net, X, parameterisation="ntk"))
    left = np.exp(-64 * values / values[-1])[:, None] * (vectors.T @ targets)
    assert maps[0][1, 1] == pytest.approx(np.sum(left**2) / np.sum(targets**2), rel=1e-9)
    training, test = maps[1], maps[3]
    assert training[2, 2] < 0.01 < 0.9 < test[2, 2]  # deep in the chaotic phase all is fitted and nothing known


# -- Jacot et al. --------------------------------------------------------------------------------------------


def test_networks_in_ntk_parameterisation():
    one = mfdnn.sample(mfdnn.mlp([3, 7, 2], "tanh", 1.7, 0.1), rng=0)
    X = np.random.default_rng(1).standard_normal((5, 3))
    same = InNTK(one)
    np.testing.assert_allclose(same.at(same.vector)(X), one(X), rtol=1e-12)
    assert same.vector[:21] == pytest.approx(one.parameters[0][0].ravel() * np.sqrt(3 / 1.7), rel=1e-12)
    np.testing.assert_allclose(
        mfdnn.empirical_ntk(same, X), mfdnn.empirical_ntk(one, X, parameterisation="ntk"), rtol=1e-12
    )
    # A step of its own parameters is one of W of rate sigma_w^2/M_in.
    y, step = np.ones((5, 2)), 1e-3
    moved = mfdnn.train(same, X, y, step, 1).trained.one.parameters[0][0] - one.parameters[0][0]
    plain = mfdnn.train(one, X, y, step, 1).trained.parameters[0][0] - one.parameters[0][0]
    np.testing.assert_allclose(moved, plain * 1.7 / 3, rtol=1e-9)


def test_kernels_on_the_circle(drawn):
    angles = np.linspace(-np.pi, np.pi, 61)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    net = mfdnn.mlp([2, 5, 5, 5, 1], "relu", 1.0, 0.01)
    limit = mfdnn.ntk(net, np.array([[1.0, 0.0]]), circle, parameterisation="ntk")[0]
    shown = panels(drawn["jacot2018-fig1"])
    assert all(holds(shown[panel], angles, limit) for panel in "AB")
    before, after = jacot2018.kernels(0, 2000, angles, 3)["kernel"]
    assert np.max(np.abs(before / limit - 1)) < 0.25  # one network of width 2000, four layers
    assert np.max(np.abs(after - before)) < 0.02  # three steps


def test_limit_of_networks_trained_at_four_points(drawn):
    """Mean and spread by the formulas of Gaussian processes, written out."""
    angles = np.linspace(-np.pi, np.pi, 121)
    net, X, places = mfdnn.mlp([2, 5, 5, 5, 1], "relu", 1.0, 0.01), *map(jacot2018.circle, (jacot2018.POINTS, angles))
    theta, beside = (mfdnn.ntk(net, x, X, parameterisation="ntk") for x in (X, places))
    gaussian = mfdnn.nngp(net, np.vstack([places, X]))
    learned = beside @ np.linalg.solve(theta, np.eye(4) - np.linalg.matrix_power(np.eye(4) - theta / 4, 50))
    mean = learned @ (X[:, 0] * X[:, 1])
    change = np.hstack([np.eye(121), -learned])
    spread = np.sqrt(np.diagonal(change @ gaussian @ change.T))
    for ax in (panels(drawn["jacot2018-fig2"])[panel] for panel in "AB"):
        assert holds(ax, angles, mean)
        edges = ax.collections[0].get_paths()[0].vertices
        assert edges[:, 1].max() == pytest.approx(np.max(mean + 1.2815515655446004 * spread), rel=1e-6)


def test_errors_along_a_component_and_beside_it(drawn):
    shown = panels(drawn["jacot2018-fig3"])
    X = mfdnn.datasets.digits(jacot2018.N_IMAGES_FAST, rng=0)[0]
    net = mfdnn.mlp([64, 5, 5, 5, 1], "relu", 1.0, 0.01)
    values = mfdnn.kernel_spectrum(net, inputs=X, parameterisation="ntk").eigenvalues / len(X)
    assert holds(shown["A"], np.arange(1, 11), values[:10])
    times = np.linspace(0, 300, 16)
    assert holds(shown["C"], times, 0.5 * np.exp(-values[1] * times))
    first = [line.get_ydata()[0] for line in shown["C"].lines]
    assert first == pytest.approx([0.5] * len(first), rel=1e-5)  # of float32
    assert all(line.get_ydata()[0] < 1e-6 for line in shown["D"].lines)


def test_images_lie_at_their_components_named_by_their_class(drawn):
    X, classes = mfdnn.datasets.digits(jacot2018.N_IMAGES_FAST, rng=0)
    theta = mfdnn.ntk(mfdnn.mlp([64, 5, 5, 5, 1], "relu", 1.0, 0.01), X, parameterisation="ntk") / len(X)
    texts = panels(drawn["jacot2018-fig3"])["B"].texts
    assert [int(text.get_text()) for text in texts] == classes.tolist()
    at = np.array([text.get_position() for text in texts])
    values = np.linalg.eigvalsh(theta)
    for component, value in zip(at.T, values[[-2, -3]], strict=True):
        np.testing.assert_allclose(theta @ component, value * component, rtol=0, atol=1e-10)
        assert np.mean(component**2) == pytest.approx(1)


def test_narrow_networks_inflate_their_kernel_along_what_they_learn():
    """By 1 + a/M, which is why they are faster there: measured, of eight networks of each width."""
    X = mfdnn.datasets.digits(60, rng=0)[0]
    direction = np.linalg.eigh(mfdnn.ntk(jacot2018.network(9, 64), X, parameterisation="ntk"))[1][:, -2] * 60**0.5
    excess = []
    for width in (25, 100):
        ratios = []
        for seed in range(8):
            one = jacot2018.drawn(jacot2018.network(width, 64), np.random.default_rng(seed))
            end = mfdnn.train(one, X, one(X) + 0.5 * direction[:, None], jacot2018.RATE, 60).trained
            before, after = (
                direction @ mfdnn.empirical_ntk(of.one, X, parameterisation="ntk") @ direction for of in (one, end)
            )
            ratios.append(after / before)
        excess.append((np.mean(ratios) - 1, np.std(ratios, ddof=1) / 8**0.5))
    (narrow, its_error), (wide, error) = excess
    assert wide > 3 * error and narrow > 2 * wide  # they do inflate
    assert abs(narrow - 4 * wide) < 4 * np.hypot(its_error, 4 * error)


# -- Lee et al. ----------------------------------------------------------------------------------------------


def test_ensembles_lie_on_the_law_of_infinite_width(drawn):
    shown = panels(drawn["lee2019-outputs"])
    X, y = lee2019.pair(lee2019.N_TRAIN)
    places, net = lee2019.between(X), lee2019.ensemble_network(lee2019.WIDTH_FAST)
    assert y[:2, 0].tolist() == [-1, 1] and np.allclose(places[10], X[0]) and np.allclose(places[-11], X[1])
    path = mfdnn.kernel_training(net, X, y)
    path = mfdnn.kernel_training(net, X, y, path.stable_rate / 2)
    steps = np.arange(lee2019.PIECE * lee2019.PIECES_FAST + 1)
    assert holds(shown["A"], steps, path.expected_loss(steps))
    assert holds(shown["B"], steps, path.outputs(steps, places)[:, lee2019.N_PLACES // 2, 0])
    assert holds(shown["C"], np.linspace(-0.5, 1.5, lee2019.N_PLACES), path.outputs(steps[-1], places)[:, 0])


def test_pieces_of_descent_are_descent():
    X, y = lee2019.pair(lee2019.N_TRAIN)
    found = lee2019.compared(0, 15, 0.01, 2)
    one = mfdnn.sample(lee2019.ensemble_network(15), rng=np.random.default_rng(0), dtype="float32")
    run = mfdnn.train(one, X, y, 0.01, 2 * lee2019.PIECE)
    np.testing.assert_allclose(found["loss"], run.losses[:: lee2019.PIECE], rtol=1e-5)  # float32


def test_points_against_width_are_those_of_lazy_training(drawn):
    X, y = lee2019.pair(lee2019.N_WIDE)
    net = mfdnn.mlp([64, 32, 32, 32, 1], "relu", 2.0, 0.1)
    found = mfdnn.comparison.lazy_training(net, X, y, 10, factors=lee2019.FACTORS_FAST, n_networks=2, rng=0)
    shown = panels(drawn["lee2019-width"])
    for panel, names in {"A": ["kernel_drift"], "B": ["parameter_movement"], "C": ["linear_gap", "kernel_gap"]}.items():
        assert all(holds(shown[panel], found.width, found.mean[name]) for name in names)


def test_two_layers_start_together_and_stay_near_their_linearisation(drawn):
    found = lee2019.two_layers_run(True, 0, False)
    loss, _, gap = panels(drawn["lee2019-linearised"]).values()
    solid, _, dashed = loss.lines
    assert np.array_equal(solid.get_ydata(), found["network"][0])
    assert solid.get_ydata()[0] == pytest.approx(dashed.get_ydata()[0], rel=1e-9)
    near, far = (line.get_ydata() for line in gap.lines)
    assert np.all(near < far)  # a kernel of width 50 is not that of infinite width
