"""The figure of first steps over width: its lines are theory, its points line searches."""

import numpy as np
from matplotlib import pyplot
from test_papers import panels

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.papers import first_step as figure


def test_lines_are_theory_and_points_are_line_searches(drawn):
    shown = panels(drawn["first-step-width"])
    of_data, of_networks = np.random.default_rng(0).spawn(2)
    X = gaussian_inputs(64, 64, rng=of_data)
    Y = np.eye(10)[of_data.integers(0, 10, 64)]
    widths = figure.WIDTHS_FAST
    lines = [line.get_ydata() for line in shown[0].lines]
    theory = [float(mfdnn.first_step(figure.network("relu", M), "sgd", inputs=X, targets=Y)) for M in widths]
    assert any(np.array_equal(y, theory) for y in lines)
    found = [figure.measured(figure.network("relu", M), "sgd", X, Y, 2, of_networks)[0] for M in widths]
    assert any(np.array_equal(y, np.median(found, axis=1)) for y in lines)
    assert [ax.get_title(loc="left").split()[-1] for ax in shown[:2]] == ["relu", "tanh"]
    pyplot.close("all")
