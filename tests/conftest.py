"""Settings of the whole suite: figures without a display, property tests without a stopwatch."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings

# A first call may compile for seconds, so a deadline would measure Numba. The same examples are drawn in
# every run, so a failure is a change of the code and never of the dice.
settings.register_profile("mfdnn", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("mfdnn")
