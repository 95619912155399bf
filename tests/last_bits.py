"""Another processor: a pytest plugin that moves results of elementary functions by one unit in the last place.

`make test-last-bits` runs the suite with it, with the BLAS kernels of an old processor and machine code for any.
"""

from contextlib import suppress

import numpy as np

import mfdnn

FUNCTIONS = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p"),
    *("sin", "cos", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
)


class Moved:
    """A function of NumPy, of which two in three results are one unit further out or in.

    Which ones depends on the size of the result alone, so that odd functions stay odd. Whole numbers stay: exp(0) is 1
    everywhere.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **options):
        y = self.function(*args, **options)
        if getattr(y, "dtype", None) != np.float64:
            return y
        size = np.abs(y)
        towards = np.choose(size.view(np.int64) % 3, (size, np.inf, 0.0))
        further = np.copysign(np.nextafter(size, towards), y)
        y = np.where((y == np.round(y)) | ~np.isfinite(y), y, further)[()]
        if options.get("out") is None:
            return y
        options["out"][...] = y
        return options["out"]

    def __getattr__(self, name):
        return getattr(self.function, name)

    def __reduce__(self):
        return function_of, (self.function.__name__,)


def function_of(name):
    """The function of that name in another process, which this file moves there too."""
    return getattr(np, name)


for name in mfdnn.__all__:
    getattr(mfdnn, name)
with suppress(ImportError):
    import dask.array  # noqa: F401  # it asks for the type of these functions, as xarray loads it
for name in FUNCTIONS:
    setattr(np, name, Moved(getattr(np, name)))
