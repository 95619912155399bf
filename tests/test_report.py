"""The page and the picture of a network."""

import json

import numpy as np
import pytest
from matplotlib import pyplot

import mfdnn
from mfdnn.learning_rate import stability_limit
from mfdnn.reporting.build import hidden_layer


def small(**options):
    return mfdnn.mlp([20, 40, 40, 2], "tanh", **{"sigma_w2": 1.5, "sigma_b2": 0.1, **options})


def flat(page):
    return " ".join(str(page).split())


@pytest.fixture(scope="module")
def page():
    return mfdnn.report(small(), n_samples=20, n_networks=4, rng=0, loss="torch_mse", momentum=0.9)


def test_numbers_are_those_of_the_functions(page):
    data = {"n_samples": 20}
    assert page.fisher.largest == mfdnn.fisher_statistics(small(), **data).largest
    assert float(page.learning_rate) == float(
        mfdnn.max_learning_rate(small(), **data, loss="torch_mse", momentum=0.9)
    )
    assert page.fixed_point.q == pytest.approx(
        mfdnn.fixed_point("tanh", 1.5, 0.1).q, rel=1e-12
    )  # another start
    top = page.ensemble.values["lambda_max"]
    expected = np.mean([stability_limit(page.learning_rate.scale * value, 0.9) for value in top])
    assert page.boundary.measured[list(page.boundary.widths).index(40)] == pytest.approx(expected, rel=1e-14)
    assert page.boundary.predicted[list(page.boundary.widths).index(40)] == float(page.learning_rate)


def test_boundary_has_the_band_of_single_networks_or_says_why_not(page):
    net = mfdnn.mlp([60, 80, 80, 1], "relu", init="he")
    b = mfdnn.report(net, n_samples=20, n_networks=2, rng=0, loss="mse_per_sample").boundary
    assert b.band.shape == (2, len(b.widths) - 1)  # of ten units the law says nothing
    assert b.band_note == "no eigenvalue stands clear of the bulk"
    low, high = 1 / mfdnn.outlier_distribution(net, n_samples=20).quantile([0.95, 0.05])  # 2/(2 lambda)
    assert b.band[:, list(b.widths).index(80) - 1] == pytest.approx([low, high], rel=1e-12)
    assert page.boundary.band.shape == (2, 0)
    assert page.boundary.band_note == "no eigenvalue stands clear of the bulk"
    (panel,) = (ax for ax in page.figure().axes if ax.get_xlabel() == "width $M$")
    said = [text.get_text() for text in panel.get_legend().get_texts()]
    assert "no prediction: no eigenvalue stands clear of the bulk" in said
    pyplot.close("all")


@pytest.mark.parametrize(
    ("net", "momentum", "zone"),
    [
        (mfdnn.mlp([60, 80, 80, 10], "relu", init="he"), 0.0, "monotone"),
        (mfdnn.mlp([20, 40, 40, 2], "tanh", 1.5, 0.0), 0.0, "monotone"),  # without a law
        (mfdnn.mlp([60, 80, 80, 1], "tanh", 1.8, 0.1), 0.9, "stable"),  # of the wider networks only
    ],
)
def test_no_rate_above_the_limit_of_a_sampled_network_is_called_monotone(net, momentum, zone):
    page = mfdnn.report(net, n_samples=20, n_networks=3, rng=0, momentum=momentum)
    figure, b = page.figure(), page.boundary
    (panel,) = (ax for ax in figure.axes if ax.get_xlabel() == "width $M$")
    zones = {drawn.get_gid(): drawn.get_paths()[0] for drawn in panel.collections if drawn.get_gid()}
    assert panel.texts[0].get_text() == zone
    low, high = b.spread
    known = len(b.widths) - b.band.shape[1]
    for i, width in enumerate(b.widths):
        assert zones["monotone"].contains_point((width, 0.99 * low[i]))
        assert not zones["monotone"].contains_point((width, 1.001 * low[i]))
        assert zones["may grow"].contains_point((width, 1.01 * high[i]))
        ends = [(b.lowest[i], b.highest[i])] if i < len(b.measured) else []
        ends += [tuple(b.band[:, i - known])] if i >= known else []
        if ends:
            lowest, highest = min(end[0] for end in ends), max(end[1] for end in ends)
            assert (low[i], high[i]) == pytest.approx((lowest, highest), rel=1e-12)
        else:
            assert low[i] / b.predicted[i] == pytest.approx(b.lowest[-1] / b.predicted[len(b.measured) - 1])
    (star,) = (line for line in panel.lines if line.get_marker() == "*")
    assert star.get_ydata()[0] == page.safe_rate
    assert panel.get_legend().get_texts()[0].get_text().startswith(f"{page.safe_rate:.4g}, safe for ")
    assert f"learning rate below {page.safe_rate:.4g}, safe for" in figure.get_suptitle()
    pyplot.close(figure)


def test_page_says_what_a_user_asks(page):
    text = str(page)
    for words in (
        "ordered",
        "xi_grad",
        "torch_mse",
        "heavy-ball momentum 0.9",
        "mean of the 2 outliers",
        "sampled networks",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 140
    json.dumps(page.to_dict())  # plain Python all through


def test_same_seed_same_page(page):
    again = mfdnn.report(small(), n_samples=20, n_networks=4, rng=0, loss="torch_mse", momentum=0.9)
    assert str(again) == str(page)


def test_figure_has_four_panels(page):
    figure = page.figure()
    panels = [ax for ax in figure.axes if ax.get_xlabel()]
    assert len(panels) == 4
    assert all(ax.get_xlabel() for ax in panels)
    pyplot.close(figure)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "html"])
def test_save_leaves_no_figure_open(page, suffix, tmp_path):
    before = pyplot.get_fignums()
    page.save(tmp_path / f"page.{suffix}")
    assert (tmp_path / f"page.{suffix}").stat().st_size > 10_000
    assert pyplot.get_fignums() == before


def test_save_refuses_other_suffixes(page, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in .png, .pdf, .svg or .html"):
        page.save(tmp_path / "page.docx")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (
            mfdnn.mlp([10] + [40] * 25 + [1], "tanh", sigma_w2=1.0, sigma_b2=0.3),
            "gradients vanish: depth 26 is",
        ),
        (
            mfdnn.mlp([10] + [40] * 25 + [1], "tanh", sigma_w2=4.0, sigma_b2=0.0),
            "gradients explode: depth 26 is",
        ),
        (mfdnn.mlp([10] + [40] * 25 + [1], "relu", sigma_w2=3.0, sigma_b2=0.1), "pre-activations grow"),
        (
            mfdnn.mlp([10] + [40] * 8 + [1], "tanh", sigma_w2=1.0, sigma_b2=0.3),
            "outputs for different inputs are nearly equal",
        ),
        (mfdnn.mlp([10, 12, 12, 1], "relu"), "narrow: depth/width = 0.25"),
    ],
)
def test_warnings(net, words):
    page = mfdnn.report(net, n_samples=8, n_networks=2, rng=0)
    assert any(words in text for text in page.warnings), page.warnings


@pytest.mark.parametrize(
    "net",
    [
        mfdnn.mlp([10, 3]),
        mfdnn.resnet([10, 16, 3], 2),
        mfdnn.mlp([10, 16, 16, 3], ["relu", "tanh"], init="glorot"),
        mfdnn.mlp([10, 16, 3], "relu", sigma_w2=3.0, sigma_b2=1.0),
        mfdnn.mlp([10, 16, 3], lambda x: np.maximum(x, -0.3), sigma_w2=1.0),
        mfdnn.Network(10, [mfdnn.Dense(8), mfdnn.Dense(3)]),
        mfdnn.Network(10, [mfdnn.Residual([mfdnn.Dense(10), mfdnn.Pointwise("tanh")]), mfdnn.Dense(3)]),
    ],
    ids=[
        "no hidden layer",
        "residual",
        "layers differ",
        "unbounded",
        "own activation",
        "no activation",
        "tied width",
    ],
)
def test_every_kind_of_network_gets_a_page_and_a_picture(net, tmp_path):
    page = mfdnn.report(net, n_samples=6, n_networks=2, rng=0)
    assert "nan" not in str(page)
    page.save(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_page_names_a_rate_for_most_networks_where_their_law_is_known():
    net = mfdnn.mlp([20, 60, 60, 2], "relu", sigma_w2=2.0, sigma_b2=0.1)
    page = mfdnn.report(net, n_samples=20, n_networks=2, rng=0)
    rate = mfdnn.max_learning_rate(net, n_samples=20, confidence=0.95)
    assert page.confident.value == rate.value < page.learning_rate.value
    lines = [line.split() for line in str(page).splitlines() if "Learning rate" in line or "infinite width:" in line]
    assert lines[0][:4] == ["Learning", "rate", "below", f"{rate.value:.4g}"]  # the number to use leads
    assert lines[1][:3] == ["infinite", "width:", f"{page.learning_rate.value:.4g}"]
    assert "safe for 95 % of the networks drawn at these widths" in str(page)
    assert "95 % of draws" in str(page)
    assert page.safe_rate == rate.value and list(page.to_dict())[:2] == ["safe_rate", "safe_for"]
    assert page.to_dict()["confident"]["lambda_quantile"] == rate.lambda_quantile
    centred = mfdnn.mlp([20, 60, 60, 2], "tanh", sigma_w2=1.5, sigma_b2=0.0)
    page = mfdnn.report(centred, n_samples=20, n_networks=2, rng=0)
    assert page.confident is None and page.to_dict()["confident"] is None
    worst = 2 / page.ensemble.values["lambda_max"].max()
    assert page.safe_rate == page.to_dict()["safe_rate"] == worst < page.learning_rate.value
    assert f"Learning rate below {worst:.4g} for gradient descent on half_mse, safe for all 2 sampled" in flat(page)
    assert "no law for a share of the networks drawn: no eigenvalue stands clear of the bulk" in flat(page)
    assert page.measured is None
    assert "networks=mfdnn.ensemble(net, n_samples=20, n_networks=400)) measures it" in flat(page)


def test_the_rate_to_use_is_lower_where_a_caution_says_that_quantiles_may_be_higher():
    page = mfdnn.report(mfdnn.mlp([20, 12, 12, 1], "relu", 2.0), n_samples=20, n_networks=2, rng=0)
    lr = page.learning_rate
    assert "quantiles may be 10 % higher" in lr.safe_caution and lr.safe_caution in flat(page)
    assert page.safe_rate == lr.safe == pytest.approx(page.confident.value / 1.1, rel=1e-12)
    assert f"Learning rate below {lr.safe:.4g} for gradient descent" in flat(page)


def test_page_measures_a_rate_where_there_is_no_law():
    centred = mfdnn.mlp([20, 60, 60, 2], "tanh", sigma_w2=1.5, sigma_b2=0.0)
    page = mfdnn.report(centred, n_samples=20, n_networks=12, rng=0)
    assert page.confident is None
    rate = mfdnn.max_learning_rate(centred, 20, confidence=0.95, networks=page.ensemble)
    assert page.safe_rate == page.measured.value == rate.value
    assert rate.method == "networks"
    error = f"{rate.value:.4g} +- {rate.standard_error['value']:.2g} for 95 % of all"
    assert f"measured on these 12 networks: {error}; about {rate.n_wanted} know it to 3%" in flat(page)
    assert "safe for 95 % of the networks drawn at these widths, as 12 of them say" in flat(page)
    assert 12 < rate.n_wanted < 400
    known = mfdnn.report(mfdnn.mlp([20, 60, 60, 2], "relu", init="he"), n_samples=20, n_networks=8, rng=0)
    assert "measured on these 8 networks, with the spread of the law: " in flat(known)
    assert known.safe_rate == known.confident.value != known.measured.value
    assert known.to_dict()["measured"]["method"] == "networks and exchangeable inputs"


def test_a_network_that_learns_nothing_has_a_page_and_a_picture():
    """Equal inputs, whose mean is subtracted: every gradient is 0."""
    plain = mfdnn.mlp([5, 20, 3], "relu", init="he")
    nothing = mfdnn.Network(5, [*plain.layers, mfdnn.MeanSubtraction()])
    page = mfdnn.report(nothing, inputs=np.ones((6, 5)), n_networks=2, rng=0)
    assert float(page.learning_rate) == np.inf and page.boundary.widths.size == 0
    assert "nan" not in str(page)
    figure = page.figure()
    said = [text.get_text().splitlines()[0] for ax in figure.axes[2:4] for text in ax.texts]
    assert said == ["all gradients are 0: no eigenvalues", "nothing is learnt"]
    pyplot.close(figure)


def test_exact_order_parameters_have_no_scatter():
    """1 - 1/T, up to rounding, of all networks."""
    plain = mfdnn.mlp([10, 20, 20, 1], "relu", init="he")
    page = mfdnn.report(
        mfdnn.Network(10, [*plain.layers, mfdnn.MeanSubtraction()]), n_samples=60, n_networks=3, rng=0
    )
    last = str(page).split("  3 networks:")[0].rstrip().splitlines()[-1]
    assert last.endswith("(0)") and "e-1" not in last


@pytest.mark.parametrize(("n_outputs", "names"), [(1, 1), (3, 2)])
def test_page_says_largest_eigenvalue_once(n_outputs, names):
    plain = mfdnn.mlp([10, 16, 16, n_outputs], "relu", sigma_w2=2.0, sigma_b2=0.1)
    rows = str(mfdnn.report(plain, n_samples=6, n_networks=2, rng=0)).splitlines()
    assert sum(row.startswith(("  largest eigenvalue", "  mean of the")) for row in rows) == names
    assert sum(row.startswith("  largest eigenvalue") for row in rows) == 1
    centred = mfdnn.Network(10, [*plain.layers, mfdnn.MeanSubtraction()])  # no outliers
    rows = str(mfdnn.report(centred, n_samples=6, n_networks=2, rng=0)).splitlines()
    assert sum(row.startswith("  largest eigenvalue") for row in rows) == 1
    assert not any("outliers" in row for row in rows if row.startswith("  mean of the"))


def test_cross_entropy_page_says_which_rate_applies():
    page = mfdnn.report(small(), n_samples=10, n_networks=2, rng=0, loss="cross_entropy")
    assert page.learning_rate.initial > page.learning_rate.value
    text = " ".join(str(page).split())
    assert "it is the one to use before training" in text
    assert f"At the first outputs the limit is {page.learning_rate.initial:.4g}" in text
    assert page.boundary.predicted[list(page.boundary.widths).index(40)] == float(page.learning_rate)


def test_one_sample_and_cross_entropy():
    page = mfdnn.report(small(), n_samples=1, n_networks=2, rng=0, loss="cross_entropy")
    text = str(page)
    assert "q_st" not in text  # one input has no pairs
    assert "bound" in text
    assert list(page.learning_rate.zones) == ["monotone", "unknown"]
    assert page.learning_rate.zone(1e9) == "unknown"


def test_two_lambdas_are_two_activations():
    net = mfdnn.mlp([10, 16, 16, 2], [lambda x: np.tanh(x), lambda x: np.maximum(x, 0)], sigma_w2=1.0)
    assert mfdnn.report(net, n_samples=4, n_networks=2, rng=0).hidden.uniform is False


NORMALISED = {
    "hidden batch norm": (mfdnn.BatchNorm, "hidden", 3, "squared gradients grow 1.467-fold a layer"),
    "layer norm": (mfdnn.LayerNorm, "hidden", 3, "none (layer norm network)"),
    "last batch norm": (mfdnn.BatchNorm, "last", 1, "unbounded"),
    "last layer norm": (mfdnn.LayerNorm, "last", 4, "unbounded"),
}


@pytest.mark.parametrize(
    ("case", "loss"),
    [*((case, "half_mse") for case in NORMALISED), ("layer norm", "cross_entropy"), ("two", "cross_entropy")],
)
def test_normalised_networks_get_a_page_and_a_picture(case, loss, tmp_path):
    norm, place, n_outputs, words = NORMALISED[case if case != "two" else "last batch norm"]
    n_outputs += case == "two"
    body = mfdnn.mlp([16, 16, 16, n_outputs], "relu", sigma_w2=2.0, sigma_b2=0.1)
    layers = [x for layer in body.layers for x in ([norm(), layer] if layer.activation else [layer])]
    net = mfdnn.Network(16, layers if place == "hidden" else [*body.layers, norm()])
    page = mfdnn.report(net, n_samples=6, n_networks=2, rng=0, loss=loss)
    text = flat(page)
    assert words in text
    assert place == "hidden" or "must end with its last weights" in text
    assert "nan" not in text
    assert (page.confident is None) == bool(page.why_not_confident) == (case != "layer norm")
    # Softmax theory needs linear outputs; without it the bound for any softmax is all there is.
    both = loss == "cross_entropy" and place == "hidden"
    assert (page.softmax is not None) == both == ("F_cross: " in text)
    json.dumps(page.to_dict())
    page.save(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_cross_entropy_compares_f_cross_of_the_same_networks():
    page = mfdnn.report(small(), n_samples=12, n_networks=3, rng=0, loss="cross_entropy")
    assert page.softmax.output == "softmax"
    assert page.softmax.row("q[2]").simulation == page.comparison.row("q[2]").simulation
    assert page.softmax.row("lambda_max").theory == page.learning_rate.lambda_max_softmax
    assert page.softmax.row("lambda_max").simulation < page.comparison.row("lambda_max").simulation / 2
    figure = page.figure()
    labels = [line.get_label() for line in figure.axes[2].get_lines()]
    assert any("cross" in str(label) for label in labels)
    pyplot.close(figure)


def test_page_shows_what_this_width_is_predicted_to_have(page):
    row = page.comparison.row("second_moment")
    line = next(line for line in str(page).splitlines() if line.startswith("  second moment"))
    assert line.split()[2:4] == [f"{row.theory:.5g}", f"{row.predicted:.5g}"]


def test_page_shows_deviations_in_sigma_and_what_few_networks_are_worth(page):
    last = next(row for row in str(page).splitlines() if row.startswith("  3  ")).split()
    assert last[4] == f"{page.comparison.row('q[3]').deviation:+.1f}"
    said = "4 networks: deviations are by Student's t, three sigma being 9.22 standard errors; skewed numbers"
    assert said in flat(page)
    assert "Student" not in str(mfdnn.report(small(), n_samples=5, n_networks=8, rng=0))


def test_first_steps_of_other_optimisers_stand_below_the_limits(page):
    assert list(page.first_steps) == ["adamw", "lion", "rmsprop", "muon"] and page.why_no_first_steps == ""
    lines = str(page).splitlines()
    for name, step in page.first_steps.items():
        known = mfdnn.first_step(small(), name, 20, loss="torch_mse")
        assert (step.critical_learning_rate, step.band) == (known.critical_learning_rate, known.band)
        (row,) = (line.split() for line in lines if line.startswith(f"  {name} "))
        assert row == [name, *(f"{known.quantile(p):.4g}" for p in (0.05, 0.5, 0.95)), f"{1e-3 * known.response:.3g}"]
        assert all(sentence in flat(page) for sentence in known.caution.split(". "))
    assert page.to_dict()["first_steps"]["muon"]["critical_learning_rate"] == float(page.first_steps["muon"])


def test_first_steps_take_a_hundred_inputs_at_most_and_none_where_there_is_no_theory():
    X = np.random.default_rng(0).standard_normal((130, 20))
    given = mfdnn.report(small(), inputs=X, n_networks=2, rng=0).first_steps["lion"]
    assert given.critical_learning_rate == mfdnn.first_step(small(), "lion", inputs=X[:100]).critical_learning_rate
    page = mfdnn.report(mfdnn.resnet([20, 30, 2], 2, "relu"), n_samples=10, n_networks=2, rng=0)
    assert page.first_steps == {} and "First steps of other optimisers: none, as the first step" in flat(page)


def test_a_report_is_shown_by_the_rate_to_use(page):
    assert repr(page) == (
        f"Report({small()}, ordered, learning rate below {page.safe_rate:.4g} for heavy-ball momentum 0.9 on torch_mse)"
    )


def test_own_inputs_are_described_and_used():
    X = np.random.default_rng(0).standard_normal((9, 20)) + 1
    page = mfdnn.report(small(), inputs=X, n_networks=2, rng=0, loss="cross_entropy")
    assert "9 given samples, mean square" in str(page)
    assert page.fisher.largest == mfdnn.fisher_statistics(small(), inputs=X).largest


def test_flattening_the_inputs_changes_no_phase():
    layers = [mfdnn.Dense(20, 1.7, 0.1), mfdnn.Pointwise("tanh"), mfdnn.Dense(2)]
    plain, images = mfdnn.Network(6, layers), mfdnn.Network((3, 2), [mfdnn.Flatten(), *layers])
    assert repr(hidden_layer(images)) == repr(hidden_layer(plain)) != "None"
    pages = [mfdnn.report(net, n_samples=5, n_networks=2, rng=0) for net in (images, plain)]
    assert pages[0].fixed_point.to_dict() == pages[1].fixed_point.to_dict()


def test_the_page_has_the_singular_values_of_the_jacobian(page):
    text = str(page)
    start = text.index("Squared singular values of the Jacobian by layer")
    head, *rows = text[start:].splitlines()[1:5]
    names = ("layer", "mean", "sampled", "largest", "sampled", "smallest", "sampled", "condition", "sampled")
    assert tuple(head.split()) == names
    for l, row in enumerate(rows):
        cells = row.split()
        assert cells[0] == str(l + 1) and float(cells[1]) == pytest.approx(page.jacobian.mean[l], rel=1e-3)
        assert float(cells[2]) == pytest.approx(page.ensemble.mean["jacobian_mean"][l], rel=1e-3)
    assert page.comparison.row("jacobian_mean[3]").theory == pytest.approx(page.jacobian.mean[2])
    deep = mfdnn.report(mfdnn.resnet([10, 10, 1], 1, "tanh"), n_samples=5, n_networks=2, rng=0)
    assert deep.jacobian is None and "Jacobian" not in str(deep)
