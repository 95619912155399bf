"""Where a loss along a direction comes back to its first value."""

import numpy as np
import pytest

from mfdnn.losses.line import line_search


def test_line_search_finds_several_crossings():
    def loss(x):  # below, above, below, above its first value
        return 1.0 + (x - 1.0) * (x - 3.0) * (x - 9.0) * x

    found = line_search(loss, 1.0, 2.0)
    np.testing.assert_allclose(found.crossings, [1.0, 3.0, 9.0], rtol=3e-3)
    assert len(found.places) < 22


@pytest.mark.parametrize("guess", [1e-3, 0.05, 1.0, 30.0, 1e3])
def test_line_search_does_not_depend_on_its_guess(guess):
    found = line_search(lambda x: 5 - x + 0.5 * x**2 * (1 + 0.3 * np.sin(x)), 5.0, guess)
    (crossing,) = found.crossings
    assert crossing / 2 * (1 + 0.3 * np.sin(crossing)) == pytest.approx(1.0, rel=3e-3)


def test_line_search_without_a_crossing_says_how_far_it_looked():
    found = line_search(lambda x: 1 / (1 + x), 1.0, 1.0)
    assert found.crossings == () and found.upper > 1000


def test_a_loss_that_overflows_counts_as_above():
    found = line_search(lambda x: 1 - x if x < 2.7 else np.nan, 1.0, 1.0)
    (crossing,) = found.crossings
    assert crossing == pytest.approx(2.7, rel=3e-3)
