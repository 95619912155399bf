"""Artists, not pixels: what is drawn is what was computed, on the Axes that were given."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot
from slow import slow

import mfdnn
from mfdnn import phase, plots
from mfdnn.comparison import coordinate_check
from mfdnn.finite_width import spread_map
from mfdnn.pytorch.answer import ModuleLearningRate

FIELDS = ("q", "c", "chi_1", "chi_c", "xi_q", "xi_c", "xi_grad", "phase")
SIGMA_W2, SIGMA_B2 = np.linspace(0.1, 4, 30), np.linspace(0, 0.5, 20)


@pytest.fixture(autouse=True)
def ax():
    """Axes to draw on; whatever a test opens is closed after it."""
    yield pyplot.subplots(layout="constrained")[1]
    pyplot.close("all")


def render(axes):
    """Lay the picture out and draw it, which is when many mistakes warn, and warnings are errors."""
    axes.figure.canvas.draw()


def by_gid(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def legend_is_above(axes):
    box = axes.get_legend().get_window_extent()
    return box.y0 >= axes.bbox.y1


def network(width=40, depth=4, n_outputs=2, sigma_b2=0.2):
    return mfdnn.mlp([width] * depth + [n_outputs], "tanh", sigma_w2=2.0, sigma_b2=sigma_b2)


@cache
def diagram_of(name):
    return mfdnn.phase_diagram(name, SIGMA_W2, SIGMA_B2)


@cache
def spread():
    """Small biases: at two layers no outlier, or one close to the bulk."""
    return spread_map("tanh", 1.5, 0.05, [2, 4, 8], [20, 100, 400], n_samples=50)


@cache
def trained():
    return mfdnn.learning_rate_map(network(20, 2), [20, 40], [0.1, 1.0], 5, n_samples=10, n_trials=2, rng=0)


@cache
def jacobian():
    """With an atom at 0, one at the top, and what is between."""
    return mfdnn.jacobian_spectrum(mfdnn.mlp([20] * 5, "hard_tanh", 1.05, 0.02, weights="orthogonal"), q0=0.2)


@cache
def checked():
    return coordinate_check(mfdnn.mlp([8, 16, 16, 2], "relu"), sizes=[16, 32], n_steps=2, n_networks=2, rng=0)


def answer(**changed):
    """Rates of a module, with a parabola that is half as wide as the loss."""
    rate = np.geomspace(0.01, 0.32, 16)
    given = {
        "rate": 0.1, "factor": 100.0, "current": 0.001, "groups": (0.001,), "response": 0.03,
        "by_layer": {"conv1": 0.3, "bn1": -0.01, "head": 0.71}, "directional": 0.1, "critical": 0.2,
        "crossings": (0.2,), "stable": 0.15, "any_softmax": 0.05, "no_stable": "", "passes": 17,
        "loss": "CrossEntropyLoss", "optimizer": "SGD", "first_loss": 2.3, "slope": 4.0, "n_samples": 32,
        "n_outputs": 10, "caution": "",
        "along": {"rate": np.append(0.0, rate), "loss": np.append(2.3, 2.3 - 4.0 * rate * (1 - rate / 0.2))},
    }  # fmt: skip
    return ModuleLearningRate(**given | changed)


# -- every function ------------------------------------------------------------------------------------------


EVERY = {
    "jacobian_spectrum": lambda ax: plots.jacobian_spectrum(jacobian(), ax=ax, singular_values=np.linspace(0, 1.3, 20)),
    "phase_diagram": lambda ax: plots.phase_diagram(diagram_of("tanh"), ax=ax),
    "map_curve": lambda ax: phase.variance_curve("tanh", 2.0, 0.1).plot(ax=ax),
    "depth_scales": lambda ax: phase.depth_scales("tanh", SIGMA_W2, 0.1).plot(ax=ax),
    "order_parameters": lambda ax: plots.order_parameters(mfdnn.order_parameters(network()), ax=ax),
    "fisher_spectrum": lambda ax: plots.fisher_spectrum([1.0, 2.0, 30.0], ax=ax),
    "learning_rate_boundary": lambda ax: plots.learning_rate_boundary([100, 200], [0.2, 0.1], ax=ax),
    "eigenvalue_scaling": lambda ax: plots.eigenvalue_scaling([100, 200], [0.1, 0.2], ax=ax),
    "outlier_law": lambda ax: plots.outlier_law(
        mfdnn.outlier_distribution(network(80), n_samples=50), [20.0, 30.0, 40.0], ax=ax
    ),
    "learning_rate_map": lambda ax: plots.learning_rate_map(trained(), ax=ax),
    "spread_map": lambda ax: plots.spread_map(spread(), ax=ax, constant=[0.2, 0.4]),
    "loss_along_step": lambda ax: answer().plot(ax=ax),
    "layer_shares": lambda ax: plots.layer_shares(answer(), ax=ax),
    "coordinate_check": lambda ax: plots.coordinate_check(checked(), ax=ax),
}


def test_every_public_function_is_tested_here():
    assert set(EVERY) == {name for name in plots.__all__ if callable(getattr(plots, name))}


@pytest.mark.parametrize("name", EVERY)
def test_draws_on_the_given_axes_and_opens_no_figure(name, ax):
    before = pyplot.get_fignums()
    assert EVERY[name](ax) is ax
    assert pyplot.get_fignums() == before
    assert ax.get_xlabel()
    assert ax.get_ylabel() or name == "eigenvalue_scaling"  # whose ordinate the caller names
    render(ax)


@pytest.mark.parametrize("name", EVERY)
def test_makes_axes_of_its_own(name, ax):
    drawn = EVERY[name](None)
    assert drawn is not ax
    assert len(pyplot.get_fignums()) == 2
    assert not ax.lines


@pytest.mark.parametrize("name", EVERY)
def test_the_legend_is_not_over_the_data(name, ax):
    EVERY[name](ax)
    render(ax)
    if ax.get_legend() is not None:
        assert legend_is_above(ax)


# -- learning rates of a module -------------------------------------------------------------------------------


def test_answers_are_marked_on_the_loss(ax):
    found = answer()
    plots.loss_along_step(found, ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_data(), (found.along["rate"][1:], found.along["loss"][1:]))
    x, y = ax.lines[1].get_data()
    np.testing.assert_allclose(y, 2.3 - 4.0 * x * (1 - x / 0.1))  # 2 e.D/D.QD = 0.1
    marked = [line.get_xdata()[0] for line in ax.lines[3:]]
    assert marked == [0.001, 0.2, 0.1, 0.15, 0.05]
    assert legend_texts(ax)[1:] == [
        "present rate: 0.001", "critical: 0.2", "Gauss-Newton parabola: 0.1", "stable: 0.15", "any softmax: 0.05",
    ]  # fmt: skip
    low, high = ax.get_xlim()
    assert low < 0.001 and high > 0.2


def test_answers_that_are_not_there_are_not_marked(ax):
    along = {"rate": np.array([0.0, 0.1, 0.2]), "loss": np.array([1.0, 0.5, np.inf])}
    plots.loss_along_step(
        answer(stable=None, any_softmax=None, directional=None, critical=np.inf, crossings=(), along=along), ax=ax
    )
    render(ax)
    assert legend_texts(ax) == ["loss after one step", "present rate: 0.001"]
    with pytest.raises(ValueError, match="`answer` has no loss along the step"):
        plots.loss_along_step(answer(along=None))


def test_shares_of_layers_are_bars_and_small_ones_share_one(ax):
    plots.layer_shares(answer(), ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["conv1", "bn1", "head"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [30, -1, 71])
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()  # one that climbs
    many = {f"layer{i}": i / 190 for i in range(20)}
    other = pyplot.subplots()[1]
    plots.layer_shares(answer(by_layer=many), ax=other, most=4)
    assert [text.get_text() for text in other.get_yticklabels()] == ["layer17", "layer18", "layer19", "17 others"]
    assert sum(bar.get_width() for bar in other.patches) == pytest.approx(100)
    with pytest.raises(ValueError, match="`answer` has no shares of layers"):
        plots.layer_shares(answer(by_layer=None))


# -- spectra of the Jacobian ----------------------------------------------------------------------------------


def test_the_density_of_the_logarithm_and_both_atoms_are_drawn(ax):
    found = jacobian()
    plots.jacobian_spectrum(found, ax=ax)
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(x, found.grid)
    np.testing.assert_array_equal(y, found.grid * found.density)
    (_, zero), (place, top) = found.atoms
    assert legend_texts(ax) == ["theory", f"{zero:.3g} of all at 0", f"{top:.3g} of all at {place:.4g}"]
    assert np.all(ax.lines[2].get_xdata() == place)


# -- phase diagrams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", slow("sin"), slow("sigmoid")])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_every_kind_of_activation_draws(name, field, ax):
    plots.phase_diagram(diagram_of(name), field, ax=ax, network=(2.0, 0.1))
    render(ax)
    assert ax.get_xlabel() == r"$\sigma_w^2$" and ax.get_ylabel() == r"$\sigma_b^2$"
    assert ax.get_xlim() == (SIGMA_W2[0], SIGMA_W2[-1]) and ax.get_ylim() == (SIGMA_B2[0], SIGMA_B2[-1])


@pytest.mark.parametrize("field", ["q", "c", "chi_c"])
def test_heat_map_holds_the_field(field, ax):
    diagram = diagram_of("tanh")
    plots.phase_diagram(diagram, field, ax=ax)
    assert np.array_equal(ax.collections[0].get_array(), getattr(diagram, field).T)


def test_depth_scales_of_both_signs_and_infinite_ones_are_shown(ax):
    diagram = mfdnn.phase_diagram("linear", [0.5, 1.0, 1.5], [0.0, 0.1])
    assert diagram.xi_grad[1, 0] == np.inf
    plots.phase_diagram(diagram, "xi_grad", ax=ax)
    shown = ax.collections[0].get_array()
    assert shown[0, 1] == 100 and not np.any(np.ma.getmaskarray(shown))
    assert np.all(shown[:, 0] > 0) and np.all(shown[:, 2] < 0)


def test_grey_where_there_is_no_value_and_the_legend_says_why(ax):
    diagram = diagram_of("relu")
    plots.phase_diagram(diagram, "q", ax=ax)
    mask = np.ma.getmaskarray(ax.collections[0].get_array())
    assert np.array_equal(mask, ~np.isfinite(diagram.q.T)) and mask.any()
    assert "no finite $q^*$" in legend_texts(ax)


@pytest.mark.parametrize("field", ["xi_q", "xi_c"])
def test_depth_scales_are_those_of_a_fixed_point(field, ax):
    """relu has none above sigma_w^2 = 2, where its correlations crawl and xi_c would be infinite."""
    diagram = diagram_of("relu")
    plots.phase_diagram(diagram, field, ax=ax)
    mask = np.ma.getmaskarray(ax.collections[0].get_array())
    assert np.array_equal(mask, (diagram.phase == "unbounded").T) and mask.any()
    assert "no finite $q^*$" in legend_texts(ax)


def test_phases_are_categories(ax):
    plots.phase_diagram(diagram_of("tanh"), "phase", ax=ax)
    codes = ax.collections[0].get_array()
    assert np.array_equal(codes == 1, (diagram_of("tanh").phase == "chaotic").T)
    ticks = [label.get_text() for label in ax.figure.axes[1].get_yticklabels()]
    assert ticks == ["ordered", "chaotic"]


def test_edge_of_chaos_is_the_critical_line(ax):
    plots.phase_diagram(diagram_of("tanh"), ax=ax)
    line = mfdnn.critical_line("tanh")
    assert any(
        np.array_equal(drawn.get_xdata(), line.sigma_w2) and np.array_equal(drawn.get_ydata(), line.sigma_b2)
        for drawn in ax.lines
    )
    assert r"edge of chaos, $\chi_1 = 1$" in legend_texts(ax)


def test_unstable_part_of_the_edge_is_told_apart(ax):
    plots.phase_diagram(diagram_of("gelu"), ax=ax)
    line = mfdnn.critical_line("gelu")
    solid, dotted = (drawn.get_ydata() for drawn in ax.lines[:2])
    assert np.array_equal(np.isnan(solid), ~np.isnan(dotted))
    unstable = ~np.isnan(dotted)
    for i in (np.flatnonzero(unstable)[10], np.flatnonzero(~unstable)[-10]):
        fps = mfdnn.variance_fixed_points("gelu", line.sigma_w2[i], line.sigma_b2[i])
        assert fps.stable[np.argmin(np.abs(fps.q - line.q[i]))] != unstable[i]


def test_scale_invariant_activation_has_a_critical_point(ax):
    plots.phase_diagram(diagram_of("relu"), ax=ax)
    assert "critical point" in legend_texts(ax)
    point = next(drawn for drawn in ax.lines if drawn.get_label() == "critical point")
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (2.0, 0.0)


def test_a_network_at_the_critical_point_does_not_hide_it(ax):
    plots.phase_diagram(diagram_of("relu"), ax=ax, network=(2.0, 0.0))
    point, star = (
        next(drawn for drawn in ax.lines if drawn.get_label() == label) for label in ("critical point", "network")
    )
    # A star fills a third of the disc around it.
    assert point.get_markersize() > star.get_markersize() and point.get_zorder() < star.get_zorder()
    assert point.get_markerfacecolor() != star.get_markerfacecolor()


def test_users_activation_gets_its_own_line_or_after_loading_a_contour(ax, tmp_path):
    act = mfdnn.Activation("mine", lambda x: np.tanh(x) + 0.1 * x)
    diagram = mfdnn.phase_diagram(act, SIGMA_W2, SIGMA_B2)
    diagram.save(tmp_path / "mine.npz")
    loaded = mfdnn.PhaseDiagram.load(tmp_path / "mine.npz")
    plots.phase_diagram(loaded, ax=ax)
    assert r"$\chi_1 = 1$" in legend_texts(ax)
    for own in (plots.phase_diagram(diagram), plots.phase_diagram(loaded, phi=act)):
        assert np.array_equal(own.lines[0].get_xdata(), mfdnn.critical_line(act).sigma_w2)


def test_network_marker_and_names_of_phases(ax):
    plots.phase_diagram(diagram_of("tanh"), ax=ax, network=(3.0, 0.2))
    star = next(drawn for drawn in ax.lines if drawn.get_label() == "network")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (3.0, 0.2)
    for text in ax.texts:
        x, y = text.get_position()
        assert mfdnn.fixed_point("tanh", x, y).phase == text.get_text()
    assert {text.get_text() for text in ax.texts} == {"ordered", "chaotic"}


def test_network_outside_the_grid_is_still_seen(ax):
    plots.phase_diagram(diagram_of("tanh"), ax=ax, network=(5.0, 0.7))
    assert ax.get_xlim()[1] == 5.0 and ax.get_ylim()[1] == 0.7
    render(ax)


def test_options_reach_the_heat_map_and_the_method_of_the_diagram_draws_it(ax):
    assert diagram_of("tanh").plot("xi_c", ax=ax, vmax=30, cmap="magma", colorbar=False, labels=False) is ax
    mesh = ax.collections[0]
    assert mesh.norm.vmax == 30 and mesh.get_cmap().name == "magma"
    assert len(ax.figure.axes) == 1 and not ax.texts


def test_refuses_what_it_cannot_draw(ax):
    with pytest.raises(ValueError, match=r"`field` must be one of .*did you mean"):
        plots.phase_diagram(diagram_of("tanh"), "xi", ax=ax)
    with pytest.raises(ValueError, match="two points on each axis, got 30 x 1"):
        plots.phase_diagram(mfdnn.phase_diagram("tanh", SIGMA_W2, [0.1]), ax=ax)


# -- maps ----------------------------------------------------------------------------------------------------


def test_variance_map_curve_trajectory_and_fixed_points(ax):
    phase.variance_curve("tanh", 6.25, 0.09, q0=[0.5, 7.0], steps=6).plot(ax=ax)
    curve = ax.lines[1]
    assert np.array_equal(curve.get_ydata(), mfdnn.variance_map("tanh", curve.get_xdata(), 6.25, 0.09))
    web = by_gid(ax, "trajectory")[0]
    q = mfdnn.trajectory("tanh", 6.25, 0.09, 6, q0=0.5).q
    assert np.array_equal(web.get_xdata()[::2], q)
    assert np.array_equal(web.get_ydata()[1::2], q[1:])
    (fixed,) = by_gid(ax, "stable fixed point")
    assert fixed.get_xdata()[0] == pytest.approx(mfdnn.fixed_point("tanh", 6.25, 0.09).q, rel=1e-12)
    assert not by_gid(ax, "unstable fixed point")


def test_variance_map_shows_unstable_fixed_points(ax):
    phase.variance_curve("gelu", 2.0, 0.12, q_max=12).plot(ax=ax)
    fps = mfdnn.variance_fixed_points("gelu", 2.0, 0.12)
    assert by_gid(ax, "unstable fixed point")[0].get_xdata() == fps.q[~fps.stable]


def test_maps_share_axes_and_one_identity(ax):
    for sigma_w2 in (1.69, 6.25, 16.0):
        phase.variance_curve("tanh", sigma_w2, 0.09, steps=0).plot(ax=ax)
    assert len(by_gid(ax, "identity")) == 1 and len(ax.get_legend().get_texts()) == 4
    top = mfdnn.fixed_point("tanh", 16.0, 0.09).q
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[1] > top


def test_correlation_map_curve_trajectory_and_fixed_points(ax):
    phase.correlation_curve("tanh", 6.25, 0.09, c0=0.8, steps=5).plot(ax=ax)
    curve = ax.lines[1]
    assert np.array_equal(curve.get_ydata(), mfdnn.correlation_map("tanh", curve.get_xdata(), 6.25, 0.09))
    q = mfdnn.fixed_point("tanh", 6.25, 0.09).q
    path = mfdnn.trajectory("tanh", 6.25, 0.09, 5, q0=q, c0=0.8).c
    assert by_gid(ax, "trajectory")[0].get_xdata()[::2] == pytest.approx(path, abs=1e-12)
    assert by_gid(ax, "stable fixed point")[0].get_xdata() == [mfdnn.fixed_point("tanh", 6.25, 0.09).c]
    assert by_gid(ax, "unstable fixed point")[0].get_xdata() == [1.0]


def test_correlation_map_without_a_fixed_variance_needs_one(ax):
    with pytest.raises(ValueError, match="`q` is needed"):
        phase.correlation_curve("relu", 2.5, 0.1).plot(ax=ax)
    phase.correlation_curve("relu", 2.5, 0.1, q=1.0).plot(ax=ax)


# -- depth ---------------------------------------------------------------------------------------------------


def test_depth_scales_and_their_signs(ax):
    phase.depth_scales("tanh", SIGMA_W2, 0.1).plot(ax=ax)
    fp = mfdnn.fixed_point("tanh", SIGMA_W2, 0.1)
    for name in ("xi_q", "xi_c"):
        assert np.array_equal(by_gid(ax, name)[0].get_ydata(), getattr(fp, name))
    up, down = by_gid(ax, "xi_grad")[0].get_ydata(), by_gid(ax, "-xi_grad")[0].get_ydata()
    assert np.array_equal(np.where(np.isnan(up), -down, up), fp.xi_grad)
    assert by_gid(ax, "-xi_grad")[0].get_linestyle() == "--"
    assert r"$|\xi|$ of growth ($\xi < 0$)" in legend_texts(ax)
    assert by_gid(ax, "edge")[0].get_xdata()[0] == mfdnn.critical_sigma_w2("tanh", 0.1)


def test_depth_scales_of_several_biases(ax):
    phase.depth_scales("tanh", SIGMA_W2, [0.05, 0.2]).plot(ax=ax, scales=("xi_c",))
    assert legend_texts(ax)[:2] == [r"$\sigma_b^2$ = 0.05", r"$\sigma_b^2$ = 0.2"]
    assert len(by_gid(ax, "edge")) == 2


def test_depth_scales_without_an_edge(ax):
    phase.depth_scales("relu", SIGMA_W2, 0.1).plot(ax=ax)  # its only critical point has no bias
    assert not by_gid(ax, "edge")
    with pytest.raises(ValueError, match="`scales` must be one of"):
        phase.depth_scales("relu", SIGMA_W2, 0.1).plot(ax=ax, scales=("xi",))


def test_order_parameters_of_theory_and_simulation(ax):
    net = network()
    op, ens = mfdnn.order_parameters(net), mfdnn.ensemble(net, n_samples=5, n_networks=3, rng=0)
    plots.order_parameters(op, ax=ax, ensemble=ens)
    render(ax)
    for name in ("q", "q_st", "q_tilde", "q_tilde_st"):
        assert np.array_equal(by_gid(ax, name)[0].get_xdata(), [1, 2, 3, 4])
        assert np.array_equal(by_gid(ax, name)[0].get_ydata(), getattr(op, name))
        assert np.array_equal(by_gid(ax, f"{name} simulated")[0].get_ydata(), ens.mean[name])
    tops = [segment[1, 1] for segment in ax.containers[0][2][0].get_segments()]
    assert tops == pytest.approx(ens.mean["q"] + ens.standard_error["q"], rel=1e-12)


def test_order_parameters_choose_their_scale(ax):
    plots.order_parameters(mfdnn.order_parameters(mfdnn.mlp([10] * 4, "tanh", 1.5, 0.5)), ax=ax)
    assert ax.get_yscale() == "linear"
    vanishing = mfdnn.order_parameters(mfdnn.mlp([10] * 30, "tanh", 0.5, 0.0))
    other = plots.order_parameters(vanishing)
    assert other.get_yscale() == "log"
    assert "$q_{st}^l$ = 0: not shown" in legend_texts(other)
    render(other)


def test_order_parameters_of_given_inputs_are_means(ax):
    X = np.random.default_rng(0).normal(size=(3, 40))
    op = mfdnn.order_parameters(network(), inputs=X)
    plots.order_parameters(op, ax=ax)
    assert by_gid(ax, "q")[0].get_ydata() == pytest.approx(op.q.mean(axis=1), rel=1e-14)
    pairs = [op.q_st[:, s, t] for s in range(3) for t in range(3) if s != t]
    assert by_gid(ax, "q_st")[0].get_ydata() == pytest.approx(np.mean(pairs, axis=0), rel=1e-12)


def test_order_parameters_of_one_given_input_have_no_pairs(ax):
    plots.order_parameters(mfdnn.order_parameters(network(), inputs=np.ones((1, 40))), ax=ax)
    assert by_gid(ax, "q") and not by_gid(ax, "q_st")


def test_order_parameters_of_many_settings_are_refused(ax):
    with pytest.raises(ValueError, match="`op` must be of one `q0` and `c0`"):
        plots.order_parameters(mfdnn.order_parameters(network(), q0=[1.0, 2.0]), ax=ax)


def test_one_network_and_one_input_draw_without_bars_and_pairs(ax):
    net = network()
    ens = mfdnn.ensemble(net, n_samples=1, n_networks=1, rng=0)
    plots.order_parameters(mfdnn.order_parameters(net), ax=ax, ensemble=ens)
    render(ax)
    assert by_gid(ax, "q simulated") and not by_gid(ax, "q_st simulated")
    assert np.all(np.isfinite(ax.get_ylim()))


def test_legend_says_which_simulated_points_are_of_pairs(ax):
    net = network()
    ens = mfdnn.ensemble(net, n_samples=5, n_networks=2, rng=0)
    plots.order_parameters(mfdnn.order_parameters(net), ax=ax, ensemble=ens)
    assert legend_texts(ax)[-1] == "simulation (of pairs: open)"
    faces = {name: by_gid(ax, f"{name} simulated")[0].get_markerfacecolor() for name in ("q", "q_st")}
    assert faces["q_st"] == "white" != faces["q"]


# -- Fisher information --------------------------------------------------------------------------------------


def test_fisher_spectrum_counts_per_network_and_predicted_lines(ax):
    net = network()
    fim = mfdnn.fisher_statistics(net, n_samples=10)
    values = mfdnn.ensemble(net, n_samples=10, n_networks=4, rng=0, eigenvalues=True).values["eigenvalues"]
    plots.fisher_spectrum(values, fim, ax=ax, n_networks=4, bins=20)
    render(ax)
    (outline,) = ax.patches
    _, heights = outline.get_xy().T
    edges = np.geomspace(values.min() / 1.02, values.max() * 1.02, 21)
    assert heights.max() == np.histogram(values, edges)[0].max() / 4
    drawn = [line.get_xdata()[0] for line in ax.lines]
    assert drawn == [fim.mean, fim.bulk, fim.largest]
    assert any("2-fold" in text for text in legend_texts(ax))
    assert ax.get_xscale() == "log"


def test_fisher_spectrum_leaves_zeros_out(ax):
    plots.fisher_spectrum([0.0, -1e-17, 1e-15, 1.0, 2.0], ax=ax, bins=[0.5, 1.5, 2.5])
    x, y = ax.patches[0].get_xy().T
    assert x.min() == 0.5 and y.max() == 1
    with pytest.raises(ValueError, match="`eigenvalues` must contain a positive number"):
        plots.fisher_spectrum(np.zeros(3), ax=ax)


def test_fisher_spectrum_of_one_sample_has_no_bulk(ax):
    fim = mfdnn.fisher_statistics(network(), n_samples=1)
    assert fim.bulk == 0
    plots.fisher_spectrum([fim.largest, fim.largest * 1.1], fim, ax=ax)
    assert len(ax.lines) == 2


def test_fisher_spectrum_behind_a_softmax_has_spread_outliers(ax):
    fim = mfdnn.fisher_statistics(mfdnn.mlp([50, 60, 4], "relu", 2.0, 0.1), 30, output="softmax")
    plots.fisher_spectrum(fim.outliers, fim, ax=ax, bins=np.int64(5))
    assert [line.get_xdata()[0] for line in ax.lines] == [fim.mean, *fim.outliers]
    assert any(text.startswith("3 outliers: ") for text in legend_texts(ax))


def test_learning_rate_boundary_line_points_and_zones(ax):
    widths, predicted = np.array([100, 200, 400, 800]), np.array([0.08, 0.04, 0.02, 0.01])
    measured = predicted[:3] * 0.9
    pair = widths[:3], measured
    plots.learning_rate_boundary(widths, predicted, pair, measured / 10, ax=ax, label="half_mse")
    render(ax)
    assert np.array_equal(ax.lines[0].get_ydata(), predicted)
    assert np.array_equal(ax.lines[1].get_xdata(), widths[:3])
    assert np.array_equal(ax.lines[1].get_ydata(), measured)
    assert legend_texts(ax) == ["theory: half_mse", "sampled networks"]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.texts] == ["monotone", "may grow:\ncatapult or divergence"]
    zones = {zone.get_gid(): zone.get_paths()[0] for zone in ax.collections if zone.get_gid()}
    for width, limit in zip(widths, predicted, strict=True):
        assert zones["monotone"].contains_point((width, limit * 0.9))
        assert zones["may grow"].contains_point((width, limit * 1.1))
        assert not zones["monotone"].contains_point((width, limit * 1.1))


@pytest.mark.parametrize("exponent", [-1.0, 0.0])
def test_names_of_zones_are_in_their_zones(exponent, ax):
    widths = np.array([125, 250, 500, 1000, 2000])
    limits = 10.0 * widths**exponent
    plots.learning_rate_boundary(widths, limits, limits, ax=ax)
    render(ax)
    zones = {zone.get_gid(): zone.get_paths()[0] for zone in ax.collections if zone.get_gid()}
    for text, zone in zip(ax.texts, ("monotone", "may grow"), strict=True):
        corners = ax.transData.inverted().transform(text.get_window_extent().corners())
        # The line is straight on these scales, so a box whose corners are inside is inside.
        assert all(zones[zone].contains_point(corner) for corner in corners)


def test_zones_leave_room_for_the_band_of_single_networks(ax):
    widths, predicted = [100, 200, 400], np.array([0.08, 0.04, 0.02])
    band = [400, 200], [0.015, 0.03], [0.018, 0.044]  # the law refuses the narrowest
    plots.learning_rate_boundary(widths, predicted, ax=ax, band=band, note="part of the band: why")
    render(ax)
    zones = {zone.get_gid(): zone.get_paths()[0] for zone in ax.collections if zone.get_gid()}
    assert set(zones) == {"monotone", "band", "may grow"}
    for width, low, high in [(202, 0.03, 0.044), (400, 0.015, 0.018)]:  # not on the step at 200
        for zone, rate in [("monotone", 0.98 * low), ("band", (low + high) / 2), ("may grow", 1.01 * high)]:
            assert [name for name, path in zones.items() if path.contains_point((width, rate))] == [zone]
    for point in [(90, 0.08), (90, 0.09), (100, 0.079), (100, 0.081), (150, 0.05), (150, 0.06)]:
        assert not zones["band"].contains_point(point)  # it begins with a step
    assert legend_texts(ax) == [
        "limits of 90 % of networks, predicted",
        r"theory, $2/\lambda_{\max}$",
        "part of the band: why",
    ]
    with pytest.raises(ValueError, match="`band` must have one value for each of `widths`"):
        plots.learning_rate_boundary(widths, predicted, ax=ax, band=([100, 200], [0.1], [0.2]))


def test_learning_rate_boundary_sorts_and_checks_widths(ax):
    plots.learning_rate_boundary([400, 100], [0.02, 0.08], [0.021, 0.079], ax=ax)
    assert np.array_equal(ax.lines[0].get_xdata(), [100, 400])
    assert np.array_equal(ax.lines[1].get_ydata(), [0.021, 0.079])  # belong to the widths as they were given
    one = plots.learning_rate_boundary([300], [0.1])
    render(one)
    with pytest.raises(ValueError, match="`predicted` must have one value for each of `widths`"):
        plots.learning_rate_boundary([100, 200], [0.1], ax=ax)
    with pytest.raises(ValueError, match="`widths` and `predicted` must be positive"):
        plots.learning_rate_boundary([100, 200], [0.1, 0.0], ax=ax)


def test_eigenvalue_scaling_draws_lines_and_points_of_one_colour(ax):
    theory, values, options = (
        np.array([1.0, 2.0, 4.0]),
        np.array([1.1, 2.1, 4.1]),
        {"leading": [0.9, 1.9, 3.9]},
    )
    for factor in (1.0, 2.0):
        numbers = [100, 200, 400], factor * theory, factor * values, [0.1] * 3
        plots.eigenvalue_scaling(*numbers, ax=ax, label=f"{factor}", **options)
    render(ax)
    lines = [line for line in ax.lines if line.get_label() in ("1.0", "2.0")]
    assert np.array_equal(lines[1].get_ydata(), [2.0, 4.0, 8.0])
    assert lines[0].get_color() != lines[1].get_color()
    points = [container[0] for container in ax.containers]
    assert [point.get_color() for point in points] == [line.get_color() for line in lines]
    assert np.array_equal(points[0].get_ydata(), [1.1, 2.1, 4.1])
    assert np.array_equal(by_gid(ax, "leading")[0].get_ydata(), [0.9, 1.9, 3.9])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "200", "400"]


def test_eigenvalue_scaling_shades_the_band_where_it_is_known(ax):
    plots.eigenvalue_scaling(
        [100, 200, 400], [1.0, 2.0, 4.0], ax=ax, band=([200, 400], [1.5, 3.4], [2.7, 4.9])
    )
    render(ax)
    (band,) = (drawn for drawn in ax.collections if drawn.get_gid() == "band")
    corners = band.get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} == {(200, 1.5), (200, 2.7), (400, 3.4), (400, 4.9)}


def test_the_band_of_networks_is_seen_on_the_line_of_theory(ax):
    """With many outputs its upper end lies on the line."""
    net = mfdnn.mlp([40, 40, 40, 1], "tanh", 3.0, 0.64)
    found = mfdnn.learning_rate_map(net, [20, 40], [0.1, 1.0], 2, n_samples=20, n_trials=1, rng=0)
    plots.learning_rate_map(found, ax=ax)
    (limit,), ends = by_gid(ax, "limit"), by_gid(ax, "limit_low") + by_gid(ax, "limit_high")
    assert len(ends) == 2
    for end in ends:
        assert end.get_color() != limit.get_color()
        assert ax.lines.index(end) > ax.lines.index(limit)


# -- depth and width -----------------------------------------------------------------------------------------


def test_spread_map_holds_the_spread(ax):
    assert spread().status[0].tolist() == ["no outlier", "no outlier", "caution"]
    assert spread().plot(ax=ax, constant=[0.2, 0.4]) is ax
    render(ax)
    mesh = ax.collections[0]
    shown = mesh.get_array()
    known = np.isfinite(spread().spread)
    assert np.array_equal(~np.ma.getmaskarray(shown), known)
    assert np.array_equal(shown[known], np.clip(spread().spread[known], 0.01, 1))
    for line, ratio in zip(by_gid(ax, "constant ratio"), (0.2, 0.4), strict=True):
        assert np.array_equal(line.get_ydata(), ratio * np.sqrt([20, 100, 400]))
    for text in ("equal spread (white)", "law in doubt", "no outlier clear of the bulk", r"$L/\sqrt{M}$ = 0.2, 0.4"):
        assert text in legend_texts(ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["20", "50", "100", "200"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "4", "8"]
    for text in ax.texts:  # levels, of contours that leave them room
        assert ax.bbox.contains(*text.get_window_extent().p0) and ax.bbox.contains(*text.get_window_extent().p1)
    with pytest.raises(ValueError, match="two depths and two widths, got 1 x 2"):
        plots.spread_map(spread_map("relu", 2.0, 0.1, [3], [50, 100], 20), ax=ax)


def test_importing_the_package_loads_no_pyplot():
    import subprocess
    import sys

    code = "import mfdnn, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_results_that_look_like_statistics_are_enough(ax):
    """`fisher_spectrum` reads four attributes, nothing else."""
    plots.fisher_spectrum([1.0, 2.0], SimpleNamespace(mean=0.1, bulk=1.0, largest=2.0, n_outliers=1), ax=ax)
    assert len(ax.lines) == 3
