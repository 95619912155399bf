"""Cases that confirm once more what others tell: left to `make test-slow`."""

import pytest


def slow(*values, **options):
    """Values of such a case for `pytest.mark.parametrize`."""
    return pytest.param(*values, marks=pytest.mark.slow, **options)
