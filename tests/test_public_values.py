"""What the public functions return is what they returned before: `public_values.json`, call by call."""

import json
from pathlib import Path

import numpy as np
import pytest
from public_values import CALLS

FILE = json.loads((Path(__file__).parent / "public_values.json").read_text(encoding="utf-8"))

# Largest difference, relative to the largest entry of an array: entries that cancel have the absolute error of what
# they are the difference of. Numbers that count and texts are compared exactly, whatever the kind.
TOLERANCES = {"theory": 1e-12}


def differences(found, known, tolerance, where=""):
    """Where, and by how much, two values differ; what was added since is no difference."""
    if isinstance(known, dict):
        if not isinstance(found, dict):
            return [f"{where}: {found!r}, was {known!r}"]
        missing = [f"{where}/{name}: is gone" for name in known if name not in found]
        shared = [name for name in known if name in found]
        return missing + [
            line
            for name in shared
            for line in differences(found[name], known[name], tolerance, f"{where}/{name}")
        ]
    if isinstance(known, float):
        known, found = [known], [found]
    if isinstance(known, list):
        if not isinstance(found, list) or len(found) != len(known):
            return [f"{where}: {found!r}, was {known!r}"]
        array = as_floats(known)
        if array is None:
            return [
                line
                for i, (one, two) in enumerate(zip(found, known, strict=True))
                for line in differences(one, two, tolerance, f"{where}/{i}")
            ]
        other = as_floats(found)
        if other is None or other.shape != array.shape:
            return [f"{where}: {found!r}, was {known!r}"]
        return compared(other, array, tolerance, where)
    return [] if type(found) is type(known) and found == known else [f"{where}: {found!r}, was {known!r}"]


def as_floats(values):
    """The array, if it is one of floats."""
    try:
        array = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind == "f" else None


def compared(found, known, tolerance, where):
    """Both have the same infinities, and the rest agrees to the tolerance."""
    finite = np.isfinite(known)
    if not np.array_equal(found[~finite], known[~finite], equal_nan=True) or not np.all(
        np.isfinite(found[finite])
    ):
        return [f"{where}: {found.tolist()}, was {known.tolist()}"]
    scale = np.abs(known[finite]).max(initial=0.0)
    error = np.abs(found[finite] - known[finite]).max(initial=0.0)
    if error <= tolerance * scale:
        return []
    relative = error / scale if scale else np.inf
    return [f"{where}: differs by {relative:.1e} of {scale:.6g}, at most {tolerance:g} is allowed"]


def test_the_file_holds_what_the_catalogue_names():
    assert list(FILE) == list(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_value(name):
    found = json.loads(json.dumps(CALLS[name]()))  # tuples and keys as the file has them
    assert not differences(found, FILE[name], TOLERANCES[CALLS[name].kind])
