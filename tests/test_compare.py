"""Theory against simulation in one table: what agrees, what is refuted, and where no claim is made."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ensembles import NET, Counting

from mfdnn._support.errors import NoTheory, OutOfRange
from mfdnn.architectures import mlp, resnet
from mfdnn.comparison import claims, compare
from mfdnn.comparison.table import normal_deviation, three_sigma, three_sigma_of_law
from mfdnn.datasets import gaussian_inputs
from mfdnn.ensembles import ensemble
from mfdnn.finite_width import outlier_distribution
from mfdnn.fisher import fisher_statistics, softmax_statistics
from mfdnn.jacobian import jacobian_depth, jacobian_moments
from mfdnn.layers import BatchNorm, Dense, LayerNorm, MeanSubtraction, Pointwise, Residual
from mfdnn.network import Network

PER_LAYER = ("q", "q_st", "q_hat", "q_hat_st", "q_tilde", "q_tilde_st")
NUMBERS = ("lambda_max", "outlier_mean", "mean", "second_moment")

COMPARED = {
    "tanh": (mlp([150, 150, 150, 1], "tanh", 3.0, 0.64), {"n_samples": 60}),
    "relu, three outputs": (mlp([100, 120, 150, 3], "relu", 2.0, 0.1), {"n_samples": 50, "c0": 0.3}),
    "linear": (mlp([200, 200, 1], "linear", 1.0, 0.1), {"n_samples": 60, "q0": 1.5}),
    "residual": (resnet([100, 100, 2], 2, "erf", 1.0, 0.1), {"n_samples": 50, "c0": 0.2}),
    "given inputs": (
        mlp([20, 150, 150, 2], "gelu", 2.0, 0.1),
        {"inputs": gaussian_inputs(40, 20, c0=0.3, rng=5)},
    ),
    "no bias": (mlp([100, 100, 100, 1], "silu", 2.0, bias=False), {"n_samples": 50}),
    "one sample": (mlp([100, 100, 2], "relu", 2.0, 0.1), {"n_samples": 1}),
}


@pytest.mark.parametrize(("net", "data"), COMPARED.values(), ids=COMPARED.keys())
def test_sampled_networks_agree_with_the_theory(net, data):
    table = compare(net, n_networks=40, rng=1, **data)
    for row in table.rows:  # five standard errors, for there are 130 rows in all
        expected = row.theory if row.predicted is None else row.predicted
        error = max(row.standard_error, row.predicted_error or 0.0)
        assert abs(row.simulation - expected) <= 5 * error + row.allowance + 1e-9, str(table)


@pytest.mark.parametrize(
    "name", ["mean", "second_moment", "outlier_mean", "q", "q_st", "q_tilde", "q_hat_st"]
)
def test_a_wrong_theory_is_caught(name):
    # The allowances must leave a factor of two visible in everything, at width 200.
    net = mlp([200, 200, 200, 1], "relu", 2.0, 0.1)
    ens = ensemble(net, 60, 10, rng=0)
    wrong = replace(ens, mean={**ens.mean, name: 2 * ens.mean[name]})
    table = compare(net, ensemble=wrong)
    quantity = name if name in NUMBERS else f"{name}[2]"
    assert not table.row(quantity).agrees
    assert compare(net, ensemble=ens).row(quantity).agrees


def orthogonal_resnet():
    stem, inside = Dense(40, 1.5, 0.1, weights="orthogonal"), Dense(40, weights="orthogonal")
    last = Dense(2, 1.5, 0.1, weights="orthogonal")
    return Network(40, [stem, Residual([stem, Pointwise("tanh"), inside]), last])


ALLOWANCES = {
    "tanh": (
        (mlp([100, 100, 100, 1], "tanh", 3.0, 0.64), 50, 0.0),
        {
            "lambda_max": 0.385536,
            "outlier_mean": 0.385115,
            "mean": 8.57675e-06,
            "second_moment": 0.000197867,
            "q_hat": [0.0, 0.00465451, 0.00838417],
            "q": [0.0, 0.0187635, 0.0347525],
            "q_tilde": [0.011434, 0.0142563, 0.0],
        },
    ),
    "relu, three outputs": (
        (mlp([40, 50, 60, 3], "relu", 2.0, 0.1), 20, 0.3),
        {
            "lambda_max": 4.2833,
            "outlier_mean": 2.59809,
            "mean": 0.00051489,
            "second_moment": 0.080225,
            "q_hat": [0.0, 0.0196875, 0.04125],
            "q": [0.0, 0.04125, 0.08625],
            "q_tilde": [0.0375, 0.0375, 0.0],
        },
    ),
    "residual, without a law": (
        (orthogonal_resnet(), 20, 0.3),
        {"lambda_max": 38.0069, "outlier_mean": 14.5592, "mean": 0.00548815, "second_moment": 3.30951},
    ),
}


@pytest.mark.parametrize(("case", "expected"), ALLOWANCES.values(), ids=ALLOWANCES.keys())
def test_allowances_are_those_that_were_calibrated(case, expected):
    """Frozen: an allowance that grows hides errors, one that shrinks invents them."""
    net, n_samples, c0 = case
    table = compare(net, n_samples, 2, c0=c0, rng=0)
    for name, values in expected.items():
        if name in NUMBERS:
            assert table.row(name).allowance == pytest.approx(values, rel=1e-4), name
            continue
        for suffix in ("", "_st"):
            for l, value in enumerate(values, start=0 if name == "q_hat" else 1):
                row = table.row(f"{name}{suffix}[{l}]")
                assert row.allowance == pytest.approx(value, rel=1e-4), row


@pytest.fixture(scope="module")
def wide():
    """Thirty networks of width 300 with one output, and with ten, which average the gradients."""
    nets = {c: mlp([300, 300, 300, c], "tanh", 3.0, 0.64) for c in (1, 10)}
    return {c: ensemble(net, 60, 30, rng=0) for c, net in nets.items()}


@pytest.mark.parametrize("factor", [1, -1])
@pytest.mark.parametrize(
    ("quantity", "n_outputs", "percent"),
    [("lambda_max", 1, 15), ("outlier_mean", 1, 15), ("q_tilde_st[1]", 10, 15), ("mean", 10, 5)],
)
def test_a_slightly_wrong_theory_is_caught_at_width_300(wide, quantity, n_outputs, percent, factor):
    ens, name = wide[n_outputs], quantity.split("[")[0]
    assert compare(ens.network, ensemble=ens).row(quantity).agrees
    wrong = replace(ens, mean={**ens.mean, name: (1 + percent / 100) ** factor * ens.mean[name]})
    assert compare(ens.network, ensemble=wrong).row(quantity).agrees is False


def test_rows_hold_the_numbers_of_theory_and_ensemble():
    ens = ensemble(NET, 30, 10, rng=0)
    table, fim = compare(NET, ensemble=ens), fisher_statistics(NET, 30)
    op = fim.order_parameters
    for name, theory in (
        ("mean", fim.mean),
        ("second_moment", fim.second_moment),
        ("outlier_mean", fim.largest),
    ):
        row = table.row(name)
        assert (row.theory, row.simulation) == (theory, ens.mean[name])
        difference = row.simulation - row.predicted
        if row.predicted_error is None:
            assert row.deviation == normal_deviation(difference / row.standard_error, 10)
        else:
            assert row.deviation == pytest.approx(difference / row.predicted_error, rel=1e-12)
        # 4.09 standard errors for ten networks: as improbable as three when they are exactly known.
        within = abs(row.simulation - row.predicted) <= 4.0942 * row.standard_error + row.allowance
        assert row.agrees == within
    for name in PER_LAYER:
        for l in range(3):
            row = table.row(f"{name}[{l + (not name.startswith('q_hat'))}]")
            assert (row.theory, row.simulation) == (getattr(op, name)[l], ens.mean[name][l])
    assert len(table.rows) == 4 + 3 * 6
    last = table.row("q_tilde[3]")
    assert (last.theory, last.simulation, last.deviation, last.allowance) == (1.0, 1.0, 0.0, 0.0)


def test_given_inputs_average_the_theory_over_inputs_and_pairs():
    X = gaussian_inputs(5, 20, rng=0)
    table = compare(NET, n_networks=2, inputs=X, rng=0)
    op = fisher_statistics(NET, inputs=X).order_parameters
    off = ~np.eye(5, dtype=bool)
    assert table.row("q[2]").theory == pytest.approx(op.q[1].mean(), rel=1e-14)
    assert table.row("q_st[2]").theory == pytest.approx(op.q_st[1][off].mean(), rel=1e-12)
    # The inputs are no random quantity: theory and simulation differ by rounding, which is no deviation.
    assert table.row("q_hat[0]").deviation == 0
    assert table.row("q_hat_st[0]").agrees


def test_where_no_outlier_stands_clear_the_table_says_so():
    table = compare(mlp([50, 50, 1], "tanh", 1.5, 0.0), 30, 3, rng=0)
    row = table.row("outlier_mean")
    assert row.allowance == np.inf
    assert row.agrees is None
    assert "no eigenvalue stands clear of the bulk" in row.note
    assert "lambda_max, outlier_mean: no eigenvalue stands clear" in str(table)
    assert str(table).splitlines()[2].split()[0::6] == ["outlier_mean", "no"]
    assert str(table).count("no claim") == 2
    agreeing = sum(row.agrees is True for row in table.rows)
    assert repr(table).startswith(f"Comparison({agreeing} of 14 rows agree, 2 without a claim, 3 networks")
    assert table.agrees == (agreeing == 14)
    assert json.loads(json.dumps(table.to_dict()))["rows"][0]["agrees"] is None


def test_no_claim_where_the_allowance_exceeds_a_third():
    chaotic = mlp([200] * 15 + [1], "tanh", 4.0, 0.05)
    table, op = compare(chaotic, 10, 2, rng=0), fisher_statistics(chaotic, 10).order_parameters
    width_correction = 0.75 * 14 / 200
    for l in range(14):
        row = table.row(f"q_tilde_st[{l + 1}]")
        claimed = width_correction * op.q_tilde[l] <= op.q_tilde_st[l] / 3
        assert (row.allowance < np.inf, row.agrees is None) == (claimed, not claimed)
        assert claimed == (row.note == "")
    assert table.row("q_tilde_st[1]").agrees is None
    assert "more than a third" in table.row("q_tilde_st[1]").note
    assert table.row("q_tilde_st[14]").agrees is not None
    assert table.row("q_tilde[1]").allowance == pytest.approx(width_correction * op.q_tilde[0])
    assert compare(resnet([10, 10, 1], 4, "relu"), 5, 2, rng=0).row("mean").agrees is None
    # A theory of 0 beside the squares is a claim: products are small.
    centred = compare(mlp([50, 50, 50, 1], "tanh", 1.5), 10, 3, rng=0)
    assert centred.row("q_st[3]").agrees is not None


def test_few_networks_refute_next_to_nothing_and_the_table_says_so():
    for n_networks, told in ((2, "236"), (3, "19.2"), (4, "9.22"), (7, "4.9"), (8, None)):
        last = str(compare(NET, 5, n_networks, rng=0)).splitlines()[-1]
        assert ("skewed numbers" in last and "draw 8 or more" in last) == (told is not None)
        assert told is None or f"three sigma being {told} standard errors" in last


@pytest.mark.parametrize("n_networks", [3, 4, 8])
def test_as_many_means_of_gaussian_numbers_are_flagged_as_sigma_say(n_networks):
    """Against the normal law's shares beyond 1, 2 and 3 sigma, within four of their standard errors."""
    values = np.random.default_rng(n_networks).standard_normal((4000, n_networks))
    errors = values.std(axis=1, ddof=1) / np.sqrt(n_networks)
    sigma = np.abs([normal_deviation(t, n_networks) for t in values.mean(axis=1) / errors])
    for bound, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        assert np.mean(sigma > bound) == pytest.approx(share, abs=4 * np.sqrt(share / 4000))
    assert np.array_equal(sigma > 3, np.abs(values.mean(axis=1)) > three_sigma(n_networks) * errors)
    # What standard errors would say of three networks: 9.5 % beyond three of them.
    assert n_networks > 3 or np.mean(np.abs(values.mean(axis=1)) > 3 * errors) > 0.08


@pytest.mark.parametrize(
    ("standard_errors", "n_networks", "expected"),
    [
        (1.0, 2, 0.6744897501960817),  # a quarter of Cauchy's law is beyond 1
        (-9.22, 4, -3.0001021432580974),
        (100.0, 4, 4.733710418333982),
        (1e4, 200, 51.085969051821806),  # beyond what floating point can hold of a share
        (1e200, 4, 52.47044464993128),
        (0.0, 5, 0.0),
        (-np.inf, 5, -np.inf),
    ],
)
def test_deviations_of_few_networks_in_sigma(standard_errors, n_networks, expected):
    """By 40 digits of the incomplete beta function; far out by its leading term, to 1e-7 here."""
    assert normal_deviation(standard_errors, n_networks) == pytest.approx(expected, rel=1e-7)


def test_an_overflow_of_the_law_is_told_from_no_theory(monkeypatch):
    net = mlp([60, 60, 60, 1], "tanh", 3.0, 0.64)
    ens = ensemble(net, 30, 8, rng=0)

    def raising(error):
        def law(*args, **kwargs):
            raise error

        return law

    reason = ("it is infinite", "lower `sigma_w2`")
    laws = {"law_of": ("lambda_max", "outlier_mean"), "fisher_traces": ("mean", "second_moment")}
    for name, rows in laws.items():
        with monkeypatch.context() as patch:
            patch.setattr(claims, name, raising(NoTheory("; ".join(reason))))
            table = compare(net, ensemble=ens)
        assert {table.row(row).note for row in rows} == {"by infinite width: it is infinite"}
        assert all(table.row(row).agrees for row in rows)
        with monkeypatch.context() as patch:
            patch.setattr(claims, name, raising(OutOfRange(*reason)))
            table = compare(net, ensemble=ens)
        for row in map(table.row, rows):
            assert (row.agrees, row.note) == (None, "the law of this width overflows: it is infinite")
        assert table.row("q[2]").agrees


@pytest.mark.parametrize("data", [{"inputs": np.zeros((4, 20))}, {"n_samples": 4, "q0": 0.0}])
def test_zero_inputs_are_compared(data):
    """Without bias all signals are 0, and so is the Fisher information of the weights."""
    table = compare(mlp([20, 25, 30, 2], "tanh", 1.5, bias=False), n_networks=5, rng=0, **data)
    for name in ("mean", "second_moment", "q[3]", "q_st[3]", "q_hat_st[2]"):
        row = table.row(name)
        assert (row.theory, row.simulation, row.agrees) == (0.0, 0.0, True)
    assert table.row("lambda_max").agrees is None
    assert table.row("q_tilde[1]").theory == pytest.approx(2.25)


def test_the_table_prints_aligned_and_exports():
    table = compare(mlp([80, 80, 2], "relu", 2.0, 0.1), 20, 3, rng=0)
    lines = str(table).splitlines()
    assert lines[0].split()[0] == "quantity"
    assert len({len(line) for line in lines[: 1 + 4 + 2 * 6]}) == 1
    assert lines[-2] == "* predicted by the law of the outliers over networks"
    assert "simulation" in json.loads(json.dumps(table.to_dict()))["rows"][0]
    assert repr(table).endswith("rows agree, 3 networks, T=20)")
    with pytest.raises(ValueError, match=r"q_tilde\[4\]'; did you mean q_tilde"):
        table.row("q_tilde[4]")


def test_a_comparison_is_reproducible_and_resumes(tmp_path):
    a = compare(NET, 5, 3, rng=0, checkpoint=tmp_path / "run.npz")
    counting = Counting()
    b = compare(NET, 5, 3, rng=0, checkpoint=tmp_path / "run.npz", executor=counting)
    assert counting.done == 0
    assert a.to_dict() == b.to_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_networks": 1}, ValueError, "`n_networks` must be an integer >= 2"),
        ({"ensemble": 3}, TypeError, "`ensemble` must be an Ensemble"),
        ({"ensemble": ensemble(NET, 5, 1, rng=0)}, ValueError, "at least two networks"),
        ({"ensemble": ensemble(mlp([20, 2]), 5, 2, rng=0)}, ValueError, "`ensemble` was drawn from Network"),
        ({"ensemble": ensemble(NET, 5, 2, rng=0), "n_samples": 6}, ValueError, "with other inputs"),
        ({"ensemble": ensemble(NET, 5, 2, rng=0), "c0": 0.5}, ValueError, "with other inputs"),
        (
            {"ensemble": ensemble(NET, 5, 2, rng=0), "inputs": np.ones((5, 20))},
            ValueError,
            "with other inputs",
        ),
    ],
)
def test_wrong_arguments_of_compare_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(NET, **arguments)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_comparison_at_the_sharp_edge(n_outputs):
    body = mlp([100, 100, 100, n_outputs], "tanh", 2.0, 0.1)
    net = Network(100, [*body.layers, MeanSubtraction()])
    edge = fisher_statistics(net, 100).output_normalisation.edge
    table = compare(net, n_samples=100, n_networks=6, rng=0)
    row, outliers = table.row("lambda_max"), table.row("outlier_mean")
    assert row.theory == edge.largest
    assert row.allowance == pytest.approx(0.05 * edge.largest)
    assert (row.agrees, row.note) == (True, "")
    assert outliers.agrees is (True if n_outputs == 1 else None)
    assert "leading value" not in str(table)


def test_comparison_at_an_edge_with_a_caution_makes_no_claim():
    body = mlp([100, 100, 100, 2], "relu", 2.0, 0.1)
    table = compare(Network(100, [*body.layers, BatchNorm()]), 60, 2, rng=0)
    assert table.row("lambda_max").agrees is None
    assert "smallest variance" in table.row("lambda_max").note


def test_the_law_of_the_outliers_judges_and_two_networks_are_enough():
    net = mlp([100, 100, 100, 3], "tanh", 3.0, 0.64)
    ens = ensemble(net, 50, 2, rng=0)
    law = outlier_distribution(net, 50)
    table = compare(net, ensemble=ens)
    for name, mean, deviation in (
        ("lambda_max", law.largest_mean, law.largest_standard_deviation),
        ("outlier_mean", law.mean, law.standard_deviation),
    ):
        row = table.row(name)
        assert (row.theory, row.predicted) == pytest.approx((law.lambda_0, mean), rel=1e-12)
        assert row.predicted_error == pytest.approx(deviation / np.sqrt(2), rel=1e-12)
        assert row.deviation == pytest.approx((row.simulation - mean) / row.predicted_error, rel=1e-12)
        assert row.agrees
        wrong = replace(ens, mean={**ens.mean, name: mean + 4 * row.predicted_error + row.allowance})
        assert compare(net, ensemble=wrong).row(name).agrees is False
    assert "this width" in str(table).splitlines()[0]
    assert f"{law.mean:.5g}" in str(table)


def test_a_law_in_doubt_measures_no_less_than_the_networks_scatter():
    net = mlp([100, 100, 1], "tanh", 1.8, 0.1)  # margin 2.6
    ens = ensemble(net, 100, 4, rng=0)
    row = compare(net, ensemble=ens).row("outlier_mean")
    assert "close to the bulk" in row.note
    # Eight of its errors away refute it, unless the networks scatter more than it says (three sigma of four: 9.2).
    mean = {**ens.mean, "outlier_mean": row.predicted + 8 * row.predicted_error + row.allowance}
    for factor, verdict in ((0.2, "NO"), (1.0, "doubtful")):
        scatter = {**ens.standard_error, "outlier_mean": factor * row.predicted_error}
        far = replace(ens, mean=mean, standard_error=scatter)
        assert compare(net, ensemble=far).row("outlier_mean").verdict == verdict


def test_what_only_a_caution_allows_for_is_no_agreement():
    """A law with a caution of 10 %: eight standard errors and 13 % off is neither agreement nor refutation."""
    X = np.random.default_rng(0).standard_normal((10, 16))
    units = [layer for _ in range(3) for layer in (Dense(20, 2.0, 0.1), Pointwise("relu"))]
    blocks = [Residual([Pointwise("relu"), Dense(20, 2.0, 0.1)]) for _ in range(2)]
    net = Network(16, [*units[:-1], *blocks, Pointwise("relu"), Dense(2, 2.0, 0.1)])
    ens = ensemble(net, n_networks=30, inputs=X, rng=0)
    table = compare(net, ensemble=ens)
    row = table.row("outlier_mean")
    assert "relative spread" in row.note
    assert row.verdict == "yes"
    assert table.agrees
    chance = row.predicted_error * three_sigma_of_law(
        row.predicted_error * np.sqrt(30) / row.predicted, 30
    )  # and less of the networks themselves, as set below
    scatter = {**ens.standard_error, "outlier_mean": 0.02 * row.predicted}
    for beyond, verdict in ((-0.08, "yes"), (-0.06, "doubtful"), (-0.01, "doubtful"), (0.01, "NO")):
        mean = row.predicted * (1 + beyond) + chance + row.allowance
        found = compare(
            net, ensemble=replace(ens, mean={**ens.mean, "outlier_mean": mean}, standard_error=scatter)
        )
        far = found.row("outlier_mean")
        assert (far.verdict, found.agrees) == (verdict, verdict == "yes")
        assert far.agrees is {"yes": True, "NO": False}.get(verdict)
        assert verdict in str(found)
        assert ("1 doubtful" in repr(found)) == (verdict == "doubtful")


def test_weights_that_vary_ten_percent_more_are_caught_by_the_law_of_any_layer():
    X = np.random.default_rng(5).standard_normal((12, 32))

    def residual(sigma_w2):
        def dense(n):
            return Dense(n, sigma_w2, 0.1)

        blocks = [Residual([Pointwise("relu"), dense(64), Pointwise("relu"), dense(64)]) for _ in range(2)]
        return Network(32, [dense(64), *blocks, Pointwise("relu"), dense(1)])

    ens = ensemble(residual(2.0), n_networks=100, inputs=X, rng=3)
    assert compare(residual(2.0), ensemble=ens).agrees
    other = residual(2.2)
    table = compare(other, ensemble=replace(ens, network=other))
    assert not table.agrees
    assert table.row("outlier_mean").agrees is False


def test_three_sigma_of_a_skewed_law_grow():
    rng = np.random.default_rng(0)
    s, n = 0.3, 4
    sigma = np.sqrt(np.log1p(s**2))
    means = np.exp(sigma * rng.standard_normal((400_000, n)) - sigma**2 / 2).mean(axis=1)
    beyond = np.mean(means > 1 + three_sigma_of_law(s, n) * s / np.sqrt(n))
    assert beyond == pytest.approx(
        0.00135, abs=0.0005
    )  # a normal law of that deviation would have 0.0049 of it there
    assert three_sigma_of_law(0.0, 2) == 3


def test_softmax_rows_are_those_of_f_cross():
    net = mlp([60, 80, 80, 4], "relu", 2.0, 0.1)
    table = compare(net, 30, 8, rng=0, output="softmax")
    theory = softmax_statistics(fisher_statistics(net, 30))
    assert table.agrees, f"\n{table}"
    assert table.row("lambda_max").theory == theory.largest
    assert table.row("outlier_mean").theory == pytest.approx(theory.outliers.mean())
    assert len(theory.outliers) == 3
    assert table.row("mean").theory == theory.mean
    assert table.row("second_moment").predicted > 1.02 * theory.second_moment
    assert repr(table).endswith("8 networks, T=30, softmax)")
    # Rows of the layers are what they are for linear outputs.
    assert table.row("q[2]").simulation == compare(net, 30, 8, rng=0).row("q[2]").simulation
    ens = ensemble(net, 30, 8, rng=0, output="softmax")
    assert compare(net, ensemble=ens).to_dict() == table.to_dict()
    with pytest.raises(ValueError, match="of softmax outputs, not of linear; drop `output`"):
        compare(net, ensemble=ens, output="linear")
    with pytest.raises(ValueError, match="`output` = softmax needs two outputs or more, got 1"):
        compare(mlp([5, 5, 1]), 5, 2, output="softmax")


def test_sums_of_squares_without_a_mean_are_no_claim():
    body = mlp([60, 60, 6], "relu", 2.0, 0.1)
    few = compare(Network(60, [*body.layers, BatchNorm()]), 8, 3, rng=0)
    assert few.row("mean").agrees is None and "scatters without bound" in few.row("mean").note
    assert "the law of the edge does not apply: `n_samples` must be" in few.row("lambda_max").note
    four = compare(Network(60, [*body.layers[:-1], Dense(5), LayerNorm()]), 20, 3, rng=0)
    assert four.row("second_moment").agrees is None and four.row("q_tilde[1]").agrees is None
    six = compare(Network(60, [*body.layers, LayerNorm(affine=False)]), 20, 3, rng=0)
    row = six.row("q_tilde[2]")
    assert row.predicted == pytest.approx(4 / 3 * row.theory)  # (C - 2)/(C - 3)
    assert "the largest eigenvalue, not how the others" in six.row("outlier_mean").note


# -- singular values of the Jacobian ------------------------------------------------------------------------------


def test_rows_of_the_jacobian():
    net = mlp([60, 60, 60, 60], "tanh", 1.3, 0.1, weights="orthogonal")
    table = compare(net, 8, 12, rng=0, jacobian=True)
    theory = jacobian_depth(net)
    for l in range(3):
        mean, largest = table.row(f"jacobian_mean[{l + 1}]"), table.row(f"jacobian_largest[{l + 1}]")
        assert mean.theory == pytest.approx(theory.mean[l], rel=1e-12)
        assert mean.agrees
        assert largest.theory == pytest.approx(theory.largest[l], rel=1e-12)
        assert largest.simulation == pytest.approx(largest.theory, rel=0.2)
        assert largest.agrees is None and "no claim" in largest.note
    assert table.row("jacobian_inverse_condition[1]").simulation == pytest.approx(1.0, rel=1e-9)
    assert table.row("jacobian_smallest[3]").theory == 0.0


def test_rows_of_the_jacobian_at_given_inputs():
    net = mlp([30, 50, 40], "relu", 2.0)
    X = 2 * np.random.default_rng(0).standard_normal((5, 30))
    row = compare(net, n_networks=10, inputs=X, rng=0, jacobian=True).row("jacobian_mean[2]")
    assert row.theory == pytest.approx(jacobian_moments(net).mean, rel=1e-9)  # homogeneous
    assert row.agrees


def test_jacobians_of_other_layers_are_refused():
    with pytest.raises(ValueError, match="`jacobian` needs fully connected layers"):
        compare(resnet([5, 6, 2], 1), 4, 2, jacobian=True)
