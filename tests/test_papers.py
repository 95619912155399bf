"""Every figure draws, and its lines are what the package computes in the stated settings."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import PolyCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import mfdnn
from mfdnn import papers
from mfdnn.finite_width import spread_map
from mfdnn.finite_width.band import outlier_band
from mfdnn.papers import _signals as signals
from mfdnn.papers import (
    any_layer,
    karakida2019,
    karakida2021,
    lambda_max_law,
    lambda_max_map,
    poole2016,
    schoenholz2017,
)
from mfdnn.papers import karakida2019_normalization as normalization


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def panels(figure):
    """Axes without the colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def curves(ax):
    """Lines of more than two points, without those of error bars."""
    markers = {id(container[0]) for container in ax.containers}
    return [line for line in ax.lines if len(line.get_xdata()) > 2 and id(line) not in markers]


def holds(ax, x, y):
    """Whether one of the curves has these points, to the last bit."""
    return any(
        np.array_equal(line.get_xdata(), x) and np.array_equal(line.get_ydata(), y) for line in ax.lines
    )


@pytest.mark.parametrize("name", papers.FIGURES)
def test_figure_draws_and_every_axis_is_labelled(name, drawn):
    figure = drawn[name]
    figure.draw_without_rendering()
    assert figure.legends
    for ax in panels(figure):
        assert ax.get_xlabel()
        row = [
            other
            for other in panels(figure)
            if other.get_subplotspec().rowspan == ax.get_subplotspec().rowspan
        ]
        assert any(other.get_ylabel() for other in row)
        assert not ax.get_legend()  # one legend per figure, outside


def explains(handle, dash, marker, colour):
    """Whether an entry of the legend stands for such a line; a grey one does for all colours."""
    shared = np.ptp(to_rgb(handle.get_color())) == 0 or same_color(handle.get_color(), colour)
    return shared and dash in ("None", handle.get_linestyle()) and marker in ("None", str(handle.get_marker()))


@pytest.mark.parametrize("name", papers.FIGURES)
def test_every_line_and_shade_is_explained_in_the_figure(name, drawn):
    """By the legend, or by a text of its colour."""
    figure = drawn[name]
    handles = [handle for box in figure.legends for handle in box.legend_handles]
    entries = [handle for handle in handles if isinstance(handle, Line2D)]
    shades = [handle.get_facecolor() for handle in handles if isinstance(handle, Patch)]
    named = [to_rgb(text.get_color()) for ax in panels(figure) for text in ax.texts]
    for ax in panels(figure):
        caps = [cap for container in ax.containers for part in container[1:2] for cap in np.atleast_1d(part)]
        looks = [
            (line.get_linestyle(), str(line.get_marker()), line.get_color())
            for line in ax.lines
            if len(line.get_xdata()) and line not in caps
        ]
        filled = [area.get_facecolor()[0] for area in ax.collections if isinstance(area, PolyCollection)]
        for patch in ax.patches:
            if patch.get_fill():
                filled.append(patch.get_facecolor())
            else:
                looks.append(("-", "None", patch.get_edgecolor()))
        for dash, marker, colour in looks:
            found = any(explains(handle, dash, "None", colour) for handle in entries) or to_rgb(colour) in named
            assert found, (ax.get_title(loc="left"), dash, colour)
            found = any(explains(handle, "None", marker, colour) for handle in entries)
            assert found or marker == "None", (ax.get_title(loc="left"), marker, colour)
        for colour in filled:
            found = any(np.ptp(to_rgb(shade)) == 0 or same_color(to_rgb(shade), to_rgb(colour)) for shade in shades)
            assert found, (ax.get_title(loc="left"), colour)


@pytest.mark.parametrize("name", papers.FIGURES)
def test_no_text_is_cut_and_the_legend_is_beside_the_panels(name, drawn):
    figure = drawn[name]
    figure.draw_without_rendering()
    page = figure.bbox
    (box,) = [legend.get_window_extent() for legend in figure.legends]
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
    for ax in panels(figure):
        assert not box.overlaps(ax.get_window_extent())
        for text in ax.texts:
            inside = text.get_window_extent()
            assert ax.bbox.x0 <= inside.x0 and inside.x1 <= ax.bbox.x1, text.get_text()
            assert ax.bbox.y0 <= inside.y0 and inside.y1 <= ax.bbox.y1, text.get_text()


def test_figures_leave_the_callers_settings_alone():
    before = dict(pyplot.rcParams)
    papers.FIGURES["schoenholz2017-depth-scales"](fast=True)
    assert dict(pyplot.rcParams) == before


def test_same_seed_same_points():
    first, again, other = (poole2016.figure2(fast=True, rng=seed) for seed in (3, 3, 4))
    points = [ax.axes[1].containers[4][0].get_ydata() for ax in (first, again, other)]
    assert np.array_equal(points[0], points[1]) and not np.array_equal(points[0], points[2])


# -- registry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", papers.FIGURES)
def test_summaries_are_one_line_and_functions_say_whose_the_settings_are(name):
    assert papers.summary(name) == papers.FIGURES[name].summary and "\n" not in papers.summary(name)
    figure = papers.FIGURES[name]
    module = importlib.import_module(f"mfdnn.papers.{figure.module}")
    assert "ours" in getattr(module, figure.function).__doc__.lower()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_draw_writes_the_format_of_the_suffix_and_closes_the_figure(suffix, tmp_path):
    path = tmp_path / f"figure.{suffix}"
    papers.draw("schoenholz2017-depth-scales", path, fast=True)
    start = path.read_bytes()[:100]
    assert {"png": b"PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix] in start
    assert not pyplot.get_fignums()


def test_draw_refuses_before_it_computes(tmp_path):
    with pytest.raises(ValueError, match=r"`name` must be one of .*did you mean poole2016-fig1"):
        papers.draw("poole2016-figure1", tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"`path` must end in \.png, \.pdf, \.svg, got .*x\.gif"):
        papers.draw("karakida2019-fig1", tmp_path / "x.gif")
    with pytest.raises(ValueError, match="did you mean"):
        papers.summary("poole2016-fig")


# -- Poole et al. --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_w", poole2016.SIGMA_W)
def test_poole_variance_curves(sigma_w, drawn):
    maps, paths, *_ = panels(drawn["poole2016-fig1"])
    q = next(line for line in maps.lines if len(line.get_xdata()) > 20).get_xdata()
    assert holds(maps, q, mfdnn.variance_map("tanh", q, sigma_w**2, 0.09)) and q[-1] == 15
    start = np.linspace(0, 15, 100)[53]
    assert start == pytest.approx(8.03, abs=0.005)  # as published
    assert holds(paths, np.arange(8), mfdnn.trajectory("tanh", sigma_w**2, 0.09, 7, q0=start).q)


@pytest.mark.parametrize("sigma_w", poole2016.SIGMA_W)
def test_poole_correlation_curves(sigma_w, drawn):
    maps, paths, *_ = panels(drawn["poole2016-fig2"])
    c = np.linspace(0, 1, 51)
    assert holds(maps, c, mfdnn.correlation_map("tanh", c, sigma_w**2, 0.09))
    q = mfdnn.fixed_point("tanh", sigma_w**2, 0.09).q
    assert holds(paths, np.arange(31), mfdnn.trajectory("tanh", sigma_w**2, 0.09, 30, q0=q, c0=0.2).c)


def test_poole_heat_maps(drawn):
    w, b = np.linspace(1, 5, 9), np.linspace(0, 4, 9)
    fp = mfdnn.fixed_point("tanh", w[:, None] ** 2, b**2)
    maps = [
        ax.collections[0] for ax in panels(drawn["poole2016-fig1"])[2:] + panels(drawn["poole2016-fig2"])[2:]
    ]
    assert np.array_equal(maps[0].get_array(), fp.q.T)
    assert np.array_equal(maps[2].get_array(), fp.c.T)
    assert np.array_equal(maps[3].get_array(), fp.chi_1.T)
    line = mfdnn.critical_line("tanh")
    assert holds(panels(drawn["poole2016-fig2"])[2], np.sqrt(line.sigma_w2), np.sqrt(line.sigma_b2))


def test_poole_counts_layers_one_by_one(drawn):
    counts = panels(drawn["poole2016-fig1"])[3].collections[0].get_array()
    i, j = 3, 2  # sigma_w = 2.5, sigma_b = 1
    fixed = mfdnn.fixed_point("tanh", 2.5**2, 1.0).q
    total = 0
    for q in np.linspace(0, 15, 26)[1:]:
        while abs(q - fixed) >= 0.1 * fixed:
            q = mfdnn.variance_map("tanh", q, 2.5**2, 1.0)
            total += 1
    assert counts[j, i] == pytest.approx(total / 25, rel=1e-12)


def test_poole_simulation_agrees_with_theory():
    """At N = 1000 within a few of the errors of one network: 5 % of q, 0.05 of c."""
    rng = np.random.default_rng(0)
    h = signals.on_sphere(rng, 20, 1000, 8.0)
    assert np.allclose(np.mean(h**2, axis=1), 8.0, rtol=1e-12)
    q = np.mean(signals.next_layer(poole2016.PHI, h, 6.25, 0.09, rng) ** 2)
    assert q == pytest.approx(mfdnn.variance_map("tanh", 8.0, 6.25, 0.09), rel=0.05)
    pairs = signals.pairs(rng, 20, 1000, 4.0, 0.5)
    assert np.allclose(signals.correlation(pairs), 0.5, atol=1e-12)
    c = np.mean(signals.correlation(signals.next_layer(poole2016.PHI, pairs, 6.25, 0.09, rng)))
    assert c == pytest.approx(mfdnn.correlation_map("tanh", 0.5, 6.25, 0.09, q=4.0), abs=0.05)


def test_circle_has_the_stated_norm_and_autocorrelation():
    angles = 2 * np.pi * np.arange(12) / 12
    circle = signals.circle(np.random.default_rng(0), angles, 50, 2.0)
    assert np.allclose(np.mean(circle**2, axis=1), 2.0, rtol=1e-12)
    assert np.allclose(signals.autocorrelation(circle), np.cos(angles), atol=1e-12)


def test_theory_of_the_circle_is_one_at_no_offset_in_every_layer(drawn):
    """Chaos multiplies an error at c = 1 by chi_1 per layer; none may be seen after 20 of them."""
    for ax in panels(drawn["poole2016-fig3"])[-3:]:
        theory = [line for line in ax.lines if line.get_label().startswith("$l")]
        assert len(theory) == 3
        for line in theory:
            x, y = line.get_data()
            assert y[x == 0] == pytest.approx(1.0, abs=1e-6)
            assert np.allclose(y, y[::-1], rtol=0, atol=0) and np.argmax(y) == len(y) // 2


# -- Schoenholz et al. ---------------------------------------------------------------------------------------


def test_schoenholz_depth_scales(drawn):
    w2 = np.linspace(0.5, 4, 100)
    for ax, name in zip(
        panels(drawn["schoenholz2017-depth-scales"]), ("xi_q", "xi_c", "xi_grad"), strict=True
    ):
        for b2 in schoenholz2017.SIGMA_B2:
            xi = getattr(mfdnn.fixed_point("tanh", w2, b2), name)
            ys = [line.get_ydata() for line in curves(ax)]
            assert any(np.array_equal(y, np.where(xi > 0, xi, np.nan), equal_nan=True) for y in ys)
            if np.any(xi < 0):
                assert any(np.array_equal(y, np.where(xi < 0, -xi, np.nan), equal_nan=True) for y in ys)


def test_schoenholz_simulation_lines_are_the_order_parameters(drawn):
    weights = (1.0, mfdnn.critical_sigma_w2("tanh", 0.05), 2.5)
    variance, correlation, gradient = panels(drawn["schoenholz2017-simulation"])
    for sigma_w2 in weights:
        fp = mfdnn.fixed_point("tanh", sigma_w2, 0.05)
        op = mfdnn.order_parameters(mfdnn.mlp([50] * 11 + [1], "tanh", sigma_w2, 0.05), q0=4.0, c0=0.0)
        assert holds(variance, np.arange(1, 11), np.abs(op.q - fp.q)[:10])
        assert holds(correlation, np.arange(1, 11), np.abs(op.c - fp.c)[:10])
        assert holds(gradient, np.arange(11), op.q_tilde[::-1])


def test_schoenholz_simulation_shows_every_layer(drawn):
    """As a point, or as a caret where the deviation is below three of its standard errors."""
    for ax, n_layers in zip(panels(drawn["schoenholz2017-simulation"]), (10, 10, 11), strict=True):
        points = [container[0].get_xdata() for container in ax.containers]
        carets = [line.get_xdata() for line in ax.lines if line.get_marker() == schoenholz2017.BELOW["marker"]]
        assert len(points) == len(carets) == 3
        for seen, below in zip(points, carets, strict=True):
            assert len(seen) + len(below) == len({*seen, *below}) == n_layers
    assert sum(len(line) for line in carets)


# -- Karakida et al. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", karakida2019.NETWORKS)
def test_karakida_lines_are_the_fisher_statistics(name, drawn):
    sigma_w2, sigma_b2 = karakida2019.NETWORKS[name]
    widths = karakida2019.WIDTHS_FAST
    fims = [
        mfdnn.fisher_statistics(mfdnn.mlp([M, M, M, 1], name, sigma_w2, sigma_b2), n_samples=100)
        for M in widths
    ]
    fields = ("mean", "second_moment", "largest")
    for ax, field in zip(panels(drawn["karakida2019-fig1"]), fields, strict=True):
        assert holds(ax, widths, [getattr(fim, field) for fim in fims])
        assert holds(ax, widths, [getattr(fim, f"{field}_leading") for fim in fims])
        assert len(ax.containers) == 3 and all(len(c[0].get_xdata()) == len(widths) for c in ax.containers)


@pytest.mark.parametrize("name", karakida2019.NETWORKS)
def test_karakida_band_is_that_of_single_networks(name, drawn):
    """Of the maximum, and from the width on at which the law holds."""
    mean, second, largest = panels(drawn["karakida2019-fig1"])
    assert not [
        shade for ax in (mean, second) for shade in ax.collections if isinstance(shade, PolyCollection)
    ]
    bands = [
        (width, outlier_band(mfdnn.mlp([width] * 3 + [1], name, *karakida2019.NETWORKS[name]), 100).quantiles)
        for width in karakida2019.WIDTHS_FAST
    ]
    expected = {(width, end) for width, band in bands if band for end in band}
    shades = [shade for shade in largest.collections if isinstance(shade, PolyCollection)]
    corners = [{tuple(corner) for corner in shade.get_paths()[0].vertices} for shade in shades]
    assert (expected in corners) if expected else len(shades) < len(karakida2019.NETWORKS)


def test_karakida_points_are_those_of_the_ensemble(drawn):
    child = np.random.default_rng(0).spawn(6)[0]
    net = mfdnn.mlp([20, 20, 20, 1], "tanh", 3.0, 0.64)
    ens = mfdnn.ensemble(net, n_samples=100, n_networks=4, rng=child)
    ax = panels(drawn["karakida2019-fig1"])[2]
    assert ax.containers[0][0].get_ydata()[0] == ens.mean["lambda_max"]


def test_normalisation_lines_are_the_fisher_statistics(drawn):
    (ax,) = panels(drawn["karakida2019-normalization"])
    widths = normalization.WIDTHS_FAST
    for method in normalization.METHODS:
        nets = [normalization.network(method, "relu", width) for width in widths]
        fims = [mfdnn.fisher_statistics(net, n_samples=net.n_inputs) for net in nets]
        assert holds(ax, widths, [fim.largest for fim in fims])
        if method == "mean subtraction":
            shades = [drawing for drawing in ax.collections if isinstance(drawing, PolyCollection)]
            corners = shades[-1].get_paths()[0].vertices
            for width, fim in zip(widths, fims, strict=True):
                bounds = fim.output_normalisation.lower(), fim.output_normalisation.upper()
                assert all(np.any(np.all(corners == (width, bound), axis=1)) for bound in bounds)
    assert len(ax.containers) == len(normalization.METHODS)


def test_normalisation_points_are_those_of_sampled_networks(drawn):
    """The first point: width 52, no normalisation, three networks with inputs of their own."""
    seeds = np.random.default_rng(0).spawn(2 * len(normalization.METHODS))[0].spawn(3)
    net = normalization.network("none", "relu", 52)
    found = []
    for rng in seeds:
        one = mfdnn.sample(net, rng=rng)
        found.append(mfdnn.fisher_spectrum(one, rng.standard_normal((52, 52))).largest)
    point = panels(drawn["karakida2019-normalization"])[0].containers[0][0].get_ydata()[0]
    assert point == pytest.approx(np.mean(found), rel=1e-10)  # rounding: BLAS threads


def test_layer_norm_has_the_mean_of_its_nine_outliers_on_the_line(drawn):
    """Chance splits them, so the largest lies above: theory is of their mean."""
    (ax,) = panels(drawn["karakida2019-normalization"])
    (mean,) = [line for line in ax.lines if line.get_markersize() == normalization.MEAN["ms"]]
    net = normalization.network("layer norm", "relu", 60)
    found = []
    for rng in np.random.default_rng(1).spawn(30):
        one, X = mfdnn.sample(net, rng=rng), rng.standard_normal((60, 60))
        found.append(mfdnn.fisher_spectrum(one, X, 9).eigenvalues)
    means = np.mean(found, axis=1)
    error = np.std(means) / np.sqrt(30)
    theory = mfdnn.fisher_statistics(net, n_samples=60).largest
    assert np.mean(means) == pytest.approx(theory, abs=3 * error)
    assert np.max(found, axis=1).mean() > theory + 3 * error
    assert np.all(mean.get_ydata() < ax.containers[2][0].get_ydata())  # of three networks a width


def test_spectra_hold_every_eigenvalue_and_the_predicted_outliers(drawn):
    net, n_samples = karakida2021.network(fast=True), karakida2021.N_SAMPLES_FAST
    linear = mfdnn.fisher_statistics(net, n_samples=n_samples)
    softmax = mfdnn.fisher_statistics(net, n_samples=n_samples, output="softmax")
    expected = ([linear.largest, linear.bulk], softmax.outliers)
    for ax, lines, n_outliers in zip(panels(drawn["karakida2021-spectra"]), expected, (10, 9), strict=True):
        assert [line.get_xdata()[0] for line in ax.lines] == pytest.approx(list(lines), rel=1e-9)
        others, outliers = (sum(bar.get_height() for bar in bars) for bars in ax.containers)
        assert outliers == pytest.approx(n_outliers)
        # Every network has 20 C (softmax: 20 (C - 1)) eigenvalues; one in a hundred may be off the axis, to the left.
        assert others == pytest.approx((n_samples - 1) * n_outliers, rel=0.01)


@pytest.mark.parametrize("index, phi", list(enumerate(karakida2021.NETWORKS)))
def test_softmax_lines_are_the_softmax_statistics(index, phi, drawn):
    nets = karakida2021.softmax_networks(fast=True)[phi]
    theory = [
        mfdnn.softmax_statistics(
            mfdnn.fisher_statistics(net, n_samples=karakida2021.N_SAMPLES_FAST), n_draws=karakida2021.N_DRAWS
        )
        for net in nets
    ]
    axes = panels(drawn["karakida2021-softmax"])
    for ax, name in zip(axes[:3], ("mean", "second_moment", "largest"), strict=True):
        assert holds(ax, karakida2021.WIDTHS_FAST, [getattr(fim, name) for fim in theory])
    bounds = [line.get_ydata().tolist() for line in axes[2].lines if line.get_gid() in ("lower", "upper")]
    assert bounds[2 * index : 2 * index + 2] == [[getattr(f, end) for f in theory] for end in ("lower", "upper")]
    assert not [shade for shade in axes[2].collections if isinstance(shade, PolyCollection)]  # three would be mud
    spectrum = axes[3 + index]
    assert [line.get_xdata()[0] for line in spectrum.lines] == list(theory[-1].outliers)
    others, outliers = (sum(bar.get_height() for bar in bars) for bars in spectrum.containers)
    assert outliers == pytest.approx(9)
    assert others == pytest.approx((karakida2021.N_SAMPLES_FAST - 1) * 9, rel=0.01)  # as in `spectra`


def test_ntk_is_the_kernel_with_gradients_by_unscaled_weights(drawn):
    """Its eigenvalues from J J^T, J scaled weight by weight; lines K_1 + (N - 1) K_2 and K_1 - K_2 of the network."""
    plain, centred = panels(drawn["karakida2021-ntk"])
    width = karakida2021.NTK_WIDTHS_FAST[0]
    net = karakida2021.ntk_network(width, [])
    one, X = mfdnn.sample(net, rng=0), np.random.default_rng(1).standard_normal((4, width))
    rows = np.array([one.vjp(X, np.eye(8)[i].reshape(4, 2)) for i in range(8)]) * np.sqrt(2.0 / width)
    found = 2.0 * 4 / width * mfdnn.fisher_spectrum(one, X).eigenvalues
    assert found == pytest.approx(np.linalg.eigvalsh(rows @ rows.T)[::-1], rel=1e-9)
    op = mfdnn.order_parameters(net)
    k1, k2 = (float(np.sum(getattr(op, f"q_tilde{st}") * getattr(op, f"q{st}"))) for st in ("", "_st"))
    marked = [line.get_xdata()[0] for line in plain.lines]
    expected = [k1 + (n - 1) * k2 for n in karakida2021.NTK_SAMPLES_FAST]
    assert marked == pytest.approx([*expected, k1 - k2], rel=1e-9)
    edges = [line.get_xdata()[0] for line in centred.lines[:-1]]
    for edge, m in zip(edges, karakida2021.NTK_WIDTHS_FAST, strict=True):
        law = mfdnn.centred_edge(karakida2021.ntk_network(m, []), m)
        assert edge == pytest.approx(2.0 * law.largest, rel=1e-9)
    for ax in (plain, centred):
        assert all(0 < patch.get_xy()[:, 1].max() <= 1 for patch in ax.patches) and len(ax.patches) == 2


def test_feature_spectra_hold_every_eigenvalue_and_the_predicted_outliers(drawn):
    width, n_samples, n_networks = karakida2021.FEATURE_SIZES_FAST
    net = mfdnn.mlp([width] * 3 + [10], "tanh", 3.0, 0.64)
    values: dict = {"linear": [], "softmax": []}
    for rng in np.random.default_rng(0).spawn(n_networks):
        one, X = mfdnn.sample(net, rng=rng), mfdnn.datasets.gaussian_inputs(n_samples, width, rng=rng)
        for output, found in values.items():
            found.append(mfdnn.feature_spectrum(one, X, output=output).eigenvalues)
    for ax, (output, found) in zip(panels(drawn["karakida2021-feature"]), values.items(), strict=True):
        theory = mfdnn.feature_statistics(net, n_samples, output=output)
        marked = [line.get_xdata()[0] for line in ax.lines]
        assert sorted(marked) == sorted(set(theory.outliers.tolist()))
        others, outliers = (sum(bar.get_height() for bar in bars) for bars in ax.containers)
        assert outliers == pytest.approx(theory.n_outliers)
        positive = np.concatenate(found) > 1e-6 * np.max(found)
        # rounding may move the smallest across the edge
        assert others == pytest.approx(positive.sum() / n_networks - theory.n_outliers, abs=1)


# -- the package's own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(lambda_max_law.PANELS)))
def test_law_of_the_largest_eigenvalue_is_that_of_the_package(index, drawn):
    net = lambda_max_law.network(lambda_max_law.PANELS[index], fast=True)
    law = mfdnn.outlier_distribution(net, lambda_max_law.N_SAMPLES_FAST)
    ax = panels(drawn["lambda-max-law"])[index]
    (density,) = curves(ax)
    x, y = density.get_data()
    assert np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) == pytest.approx(
        1, abs=0.01
    )  # what lies beyond the outermost 1/400
    marked = sorted(line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2)
    assert np.allclose(marked, sorted([law.lambda_0, law.largest_mean, law.quantile(0.95)]), rtol=1e-12)
    child = np.random.default_rng(0).spawn(3)[index]
    ens = mfdnn.ensemble(net, n_samples=lambda_max_law.N_SAMPLES_FAST, n_networks=12, rng=child)
    beyond = 100 * np.mean(ens.values["lambda_max"] > law.lambda_0)
    assert ax.texts[0].get_text() == f"{beyond:.3g} % beyond"


def test_spread_of_any_layer_is_that_of_the_law(drawn):
    nets = any_layer.networks(fast=True)
    shares, spreads = panels(drawn["spread-any-layer"])
    assert [label.get_text() for label in shares.get_yticklabels()] == list(nets)
    children = np.random.default_rng(0).spawn(2 * len(nets))
    net = nets["layer norm"]
    X = children[4].standard_normal((12, 32))
    with pytest.warns(RuntimeWarning, match="Layer norm over 24 units"):
        law = mfdnn.outlier_distribution(net, inputs=X)
    assert spreads.patches[2].get_width() == pytest.approx(law.relative_spread, rel=1e-12)
    networks = mfdnn.ensemble(net, inputs=X, n_networks=12, rng=children[5]).values["lambda_max"]
    (points,) = shares.containers
    share = 100 * np.mean(networks < law.quantile(0.95))
    assert points.lines[0].get_xdata()[2] == pytest.approx(share)


def test_outlier_law_refuses_what_has_no_picture():
    law = mfdnn.outlier_distribution(mfdnn.mlp([80, 80, 80, 1], "tanh", 3.0, 0.64), n_samples=50)
    with pytest.raises(ValueError, match=r"`confidence` must be between 0\.5 and 1, got 5"):
        mfdnn.plots.outlier_law(law, confidence=5)
    with pytest.raises(ValueError, match="`values` must contain"):
        mfdnn.plots.outlier_law(law, [])


@pytest.mark.parametrize("index, phi", list(enumerate(lambda_max_map.NETWORKS)))
def test_depth_and_width_are_mapped_by_the_law(index, phi, drawn):
    variances = lambda_max_map.NETWORKS[phi]
    sizes = lambda_max_map.DEPTHS_FAST, lambda_max_map.WIDTHS_FAST
    found = spread_map(phi, *variances, *sizes, lambda_max_map.N_SAMPLES)
    maps = panels(drawn["lambda-max-depth-width"])
    shown = maps[index].collections[0].get_array()
    assert np.array_equal(
        shown.filled(np.inf), np.where(np.isinf(found.spread), np.inf, np.clip(found.spread, 0.01, 1))
    )
    lines = spread_map(
        phi, *variances, lambda_max_map.DEPTHS_FAST, lambda_max_map.LINES, lambda_max_map.N_SAMPLES
    )
    known = lines.status[:, -1] == "ok"
    assert holds(maps[2], lines.depths[known] / np.sqrt(lambda_max_map.LINES[-1]), lines.spread[known, -1])
    widths = [
        mfdnn.width_for_spread(mfdnn.mlp([1000, *[100] * (depth - 1), 1], phi, *variances), 0.1, 50).widths[1]
        for depth in lambda_max_map.DEPTHS_FAST
    ]
    assert holds(maps[3], lambda_max_map.DEPTHS_FAST, widths)


def test_lines_of_the_spread_end_where_the_law_was_tested(drawn):
    collapse = panels(drawn["lambda-max-depth-width"])[2]
    (tested,) = [line for line in collapse.lines if line.get_linestyle() == "-."]
    assert set(tested.get_ydata()) == {0.35}
    assert all(line.get_ydata().max() <= 0.35 for line in collapse.lines if line.get_linestyle() == "-")
    assert [text.get_text() for text in collapse.texts] == [f"$M = {width}$" for width in lambda_max_map.LINES]


def test_times_of_benchmarks_are_drawn_like_the_papers(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    scaling = importlib.import_module("scaling")
    measured = {name: ([1, 2], {"tanh": np.array([1.0, 1.5])}) for name in scaling.PANELS}
    figure = scaling.draw(measured)
    shown = figure.axes[:5]
    titles = [ax.get_title(loc="left") for ax in shown]
    assert all(title.startswith(rf"$\mathbf{{{panel}}}$") for title, panel in zip(titles, "ABCDE", strict=True))
    assert {ax.xaxis.label.get_family()[0] for ax in shown} == {"STIXGeneral"}
    assert all(holds(ax, [1, 2], [1.0, 1.5]) for ax in shown)
    assert figure.legends and not any(ax.get_legend() for ax in shown)


def test_relative_spread_has_the_error_of_a_normal_sample():
    values = 10 + np.random.default_rng(0).standard_normal(20_000)
    spread, error = lambda_max_map.relative_spread(values)
    assert spread == pytest.approx(0.1, abs=4 * error)
    assert error == pytest.approx(0.1 / np.sqrt(40_000), rel=0.05)  # sd/sqrt(2 n)
