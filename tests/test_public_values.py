"""What the public functions return is what they returned before: `public_values.json`, call by call."""

import json
from pathlib import Path

import numpy as np
import pytest
from public_values import CALLS, of_array

FILE = json.loads((Path(__file__).parent / "public_values.json").read_text(encoding="utf-8"))

# Largest difference, relative to the largest entry of an array: entries that cancel have the absolute error of what
# they are the difference of. Counts and texts are compared exactly, whatever the kind. What was found by another BLAS
# (OPENBLAS_CORETYPE), another NumPy (NPY_DISABLE_CPU_FEATURES) and another Numba (NUMBA_CPU_NAME) is in brackets.
TOLERANCES = {
    # Sums of a few thousand terms, none of which is known better than to rounding (2e-14).
    "theory": 1e-12,
    # The second derivative of a function without one is read off its values, to 1e-9 of its size (4e-13).
    "activation": 1e-9,
    # Batch norm tells two equal inputs apart by rounding, e.g. c = 1 - 1e-16. E[phi'(u) phi'(v)] of relu falls from
    # c = 1 as the root of 1 - c, so by 1e-8 for a pair in which the two are the same (1e-10 of all pairs).
    "duplicates": 1e-8,
    # Drawn outputs: a generator's numbers times roots of matrices, and the eigenvalues of those (4e-15).
    "softmax": 1e-11,
    # xi = -1/log(slope) magnifies the error of the slope by xi, up to 1e3 here (2e-13).
    "phase": 1e-10,
    # Where a function is zero or smallest: brentq stops within 1e-12 or 1e-13, and the shift of an edge and its spread
    # are differences by a factor of ten smaller (2e-11).
    "root": 1e-9,
    # Sums over units, in the order that the BLAS likes best (4e-14).
    "products": 1e-12,
    # Eigenvalues of a symmetric matrix have the absolute error of the largest (6e-15).
    "spectrum": 1e-10,
    # An eigenvalue is off by the square of the residual, at most 1e-5 of it, over the gap.
    "lanczos": 1e-8,
    # Its vector by the residual itself, and the angle is a twentieth.
    "angles": 1e-3,
    # Deviations are differences divided by what a few networks scatter, a hundred times smaller than themselves; the
    # theory of a few of them is a root (5e-11).
    "simulation": 1e-9,
    # Single precision, and the scatter of three networks (2e-6).
    "single": 1e-4,
    # By outcome: a step multiplies rounding by as much as it multiplies the loss.
    "training": 1e-6,
    "text": 0.0,
    # The generators' own: no BLAS, no function but square roots comes between.
    "bits": 0.0,
}

# What may be a difference of nearly equal numbers, or zero but for rounding, and beside what number it counts.
BESIDE = {
    "q_st": "q",
    "q_hat_st": "q_hat",
    "q_tilde_st": "q_tilde",
    "kappa_2": "kappa_1",
    "bulk": "largest",
    "largest_leading": "largest",
    "c": "q",
}


def differences(found, known, tolerance, where="", least=0.0):
    """Where, and by how much, two values differ; what was added since is no difference."""
    if isinstance(known, dict):
        if not isinstance(found, dict):
            return [f"{where}: {found!r}, was {known!r}"]
        lines = [f"{where}/{name}: is gone" for name in known if name not in found]
        for name in (name for name in known if name in found):
            beside = size(known.get(BESIDE.get(name)))
            if "shape" in known:  # a large array
                beside = known["largest"]
                beside *= np.prod([int(n) for n in known["shape"].split(" x ")]) if name == "sum" else 1
            lines += differences(found[name], known[name], tolerance, f"{where}/{name}", max(least, beside))
        return lines
    array = as_floats(known)
    if array is not None:
        other = as_floats(found)
        if other is None or other.shape != array.shape:
            return [f"{where}: {found!r}, was {known!r}"]
        return compared(other, array, tolerance, where, least)
    if isinstance(known, list) and isinstance(found, list) and len(found) == len(known):
        pairs = enumerate(zip(found, known, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, tolerance, f"{where}/{i}", least)]
    return [] if type(found) is type(known) and found == known else [f"{where}: {found!r}, was {known!r}"]


def as_floats(values):
    """The array, if it is one of floats, or a float."""
    try:
        array = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind == "f" else None


def size(value):
    """The largest finite entry of an array; of other things 0."""
    if isinstance(value, dict):
        return value.get("largest", 0.0) if "shape" in value else 0.0
    array = as_floats(value)
    return 0.0 if array is None else np.abs(array[np.isfinite(array)]).max(initial=0.0)


def compared(found, known, tolerance, where, least):
    """Both have the same infinities, and the rest agrees to the tolerance."""
    finite = np.isfinite(known)
    if not np.array_equal(found[~finite], known[~finite], equal_nan=True) or not np.all(
        np.isfinite(found[finite])
    ):
        return [f"{where}: {found.tolist()}, was {known.tolist()}"]
    scale = max(size(known), least)
    error = np.abs(found[finite] - known[finite]).max(initial=0.0)
    if error <= tolerance * scale:
        return []
    return [
        f"{where}: differs by {error / scale if scale else np.inf:.1e} of {scale:.6g}, more than {tolerance:g}"
    ]


def test_the_file_holds_what_the_catalogue_names():
    assert list(FILE) == list(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_value(name):
    found = json.loads(json.dumps(CALLS[name]()))  # tuples and keys as the file has them
    assert not differences(found, FILE[name], TOLERANCES[CALLS[name].kind])


KNOWN = {"q": [[1.0, 2.0], [np.inf, 0.0]], "largest": 3.0, "bulk": 1e-9, "label": "relu", "n": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"q": [[1.0, 2.0 + 1e-11], [np.inf, 0.0]]},
        {"q": [[1.0, 2.0], [1e300, 0.0]]},
        {"q": [[1.0, 2.0], [np.inf, np.nan]]},
        {"q": [1.0, 2.0]},
        {"largest": 3.0 - 1e-11},
        {"largest": 3},
        {"bulk": 1e-9 + 1e-11},
        {"label": "tanh"},
        {"n": 3},
        {"n": None},
    ],
)
def test_a_change_is_noticed(change):
    assert len(differences(KNOWN | change, KNOWN, 1e-12)) == 1


def test_rounding_and_what_is_new_are_no_change():
    found = KNOWN | {"q": [[1.0 + 1e-12, 2.0], [np.inf, 1e-13]], "bulk": 1e-9 + 1e-12, "new": 1.0}
    assert not differences(found, KNOWN, 1e-12)
    assert differences({}, KNOWN, 1.0) == [f"/{name}: is gone" for name in KNOWN]


def test_of_a_large_array_each_part_is_compared():
    known = of_array(np.linspace(-1, 1, 100))
    for part, change in (("entries", 1e-11), ("sum", 1e-9), ("norm", 1e-10), ("largest", 1e-11)):
        changed = np.add(known[part], change).tolist()
        assert len(differences(known | {part: changed}, known, 1e-12)) == 1
    assert not differences(known | {"sum": known["sum"] + 5e-11}, known, 1e-12)  # of terms that cancel
