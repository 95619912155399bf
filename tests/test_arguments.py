"""Bad arguments: every parameter of every public function, constructor and method refuses them in a sentence."""

import inspect
import re
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from argument_calls import CALLS, FOLDER, call

import mfdnn
from mfdnn import datasets, learning_rate, losses, papers, phase, plots, training
from mfdnn._support import memory

SECONDS = 10.0  # of processor time after which a call counts as endless
MEMORY = 2**30  # bytes there are: what is too large is so on every machine


class Refuses:
    """Neither a number nor an array, and says so."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("not an array")


# Real numbers, which may be refused in the words of another argument that they do not fit, or as out of range.
NUMBERS = {
    "-1": lambda: -1,
    "0": lambda: 0,
    "2": lambda: 2,
    "10**9": lambda: 10**9,
    "10**30": lambda: 10**30,
    "1.5": lambda: 1.5,
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "a fraction": lambda: Fraction(1, 3),
}
# What means something to some parameters.
OTHERS = {
    "None": lambda: None,
    "no text": lambda: "",
    "banana": lambda: "banana",
    "a folder": lambda: FOLDER,
    "True": lambda: True,
    "10**400": lambda: 10**400,
    "-10**400": lambda: -(10**400),
    "inf": lambda: float("inf"),
    "-inf": lambda: -float("inf"),
    "an empty list": lambda: [],
    "a generator": lambda: (i for i in range(3)),
    "a class": lambda: int,
    "a function": lambda: lambda *args: None,
    "an array of none": lambda: np.array([]),
    "a matrix": lambda: np.matrix([[1.0, 2.0]]),
    "three axes": lambda: np.ones((2, 2, 2)),
}
# What nothing takes, but for `FREE`.
NONSENSE = {
    "a number as text": lambda: "1",
    "a path with a nul": lambda: "a\0b",
    "bytes": lambda: b"\0a",
    "nan": lambda: float("nan"),
    "1j": lambda: 1j,
    "a dictionary": lambda: {"a": 1},
    "an empty dictionary": dict,
    "a set": lambda: {1, 2},
    "an object": object,
    "an object that refuses": Refuses,
    "rows of different lengths": lambda: [[1, 2], [3]],
    "a mixed list": lambda: [1, "a"],
    "a huge integer in a list": lambda: [10**400, -1],
    "strings": lambda: np.array(["1", "2"]),
    "nans": lambda: np.array([[np.nan, 1.0]]),
    "complex numbers": lambda: np.array([1j, 2.0]),
    "booleans": lambda: np.array([True, False]),
    "a masked array": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "a date": lambda: np.datetime64("2020-01-01"),
    "durations": lambda: np.array([1, 2], "m8[s]"),
    "a structured array": lambda: np.zeros(2, dtype=[("a", float)]),
    "an array of objects": lambda: np.array([None, 1]),
}
BAD = NUMBERS | OTHERS | NONSENSE
assert len(BAD) == 47  # a prime: every parameter meets ten different ones

# What any text will do for, and what gives nan for nan.
TEXTS = {"a number as text", "a path with a nul"}
LABELS = {"band_label", "label", "measured_label", "name", "note", "zone"}
PATHS = {"checkpoint", "path"}
FREE = {
    "Activation.__call__": {"x"},
    "Activation.slope": {"x"},
    "Activation.curvature": {"x"},
}
# Words for parts of the argument: a function of an Activation, keys of a sweep, what a name of inputs stands for.
ALSO = {
    "phi": {"function"},
    "activation": {"function"},
    "spec": {"key of the sweep", "quantities", "inputs"},
}
# What Matplotlib takes and refuses.
OF_MATPLOTLIB = {"color", "marker"}


def parameters(function, given):
    """Of the signature, and those given by keyword alone."""
    known = inspect.signature(function).parameters.values()
    named = [p.name for p in known if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [name for name in dict.fromkeys([*named, *given]) if name not in OF_MATPLOTLIB]


class TooLate(BaseException):
    """A call that does not end."""


@contextmanager
def in_time():
    """Stop what is inside after `SECONDS`, where the system can."""
    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*args):
        raise TooLate(f"takes more than {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def has_nan(value):
    """Whether a result holds a nan in a public field."""
    if isinstance(value, float | np.ndarray | np.generic):
        array = np.asarray(value)
        return array.dtype.kind in "fc" and bool(np.isnan(array).any())
    if isinstance(value, Mapping):
        return any(map(has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_nan, value))
    if is_dataclass(value):
        return any(has_nan(item) for name, item in vars(value).items() if not name.startswith("_"))
    return False


def fault(name, function, given, parameter, bad):
    """What is wrong with what happens to the bad value, nothing if it is right."""
    try:
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = function(**{**given, parameter: BAD[bad]()})
    except (ValueError, TypeError, MemoryError, FileNotFoundError) as error:
        words = re.findall(r"`([^`]*)`", str(error))
        named = any(parameter in word for word in words)
        also = ALSO.get(parameter, set()) & set(words)
        if named or also or (words and bad in NUMBERS) or isinstance(error, mfdnn.NoTheory):
            return ""
        return f"{type(error).__name__} does not name it: {error}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"
    if parameter in FREE.get(name, ()) or (parameter in LABELS and bad in TEXTS):
        return ""
    if parameter in PATHS and bad == "a number as text":
        return ""
    if bad in NONSENSE:
        return f"is taken, and gives {found!r:.60}"
    return f"gives nan: {found!r:.60}" if has_nan(found) else ""


@pytest.fixture
def small_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available_memory", lambda: MEMORY)
    monkeypatch.chdir(tmp_path)


def faults(name, chosen):
    from matplotlib import pyplot

    function, given = call(name)
    found = []
    for parameter in parameters(function, given):
        for bad in chosen(parameter):
            if what := fault(name, function, given, parameter, bad):
                found.append(f"{name}({parameter} = {bad}): {what:.300}")
            pyplot.close("all")
    return found


def ten_of(name):
    """Ten bad values, others for other parameters of other functions."""
    names = list(BAD)

    def chosen(parameter):
        start = sum(map(ord, name + parameter))
        return [names[(start + 5 * i) % len(names)] for i in range(10)]

    return chosen


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments_are_refused_in_a_sentence_that_names_them(name, small_memory):
    assert not faults(name, ten_of(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_all_bad_arguments_are_refused_in_a_sentence_that_names_them(name, small_memory):
    assert not faults(name, lambda parameter: BAD)


# What is not called here: an error, whole figures of papers, data from the net, a part of every step of training.
ELSEWHERE = {"NoTheory", "papers.draw", "datasets.openml", "losses.loss_and_slope"}


def test_every_public_function_is_called():
    public = {name: getattr(mfdnn, name) for name in mfdnn.__all__}
    rooms = (datasets, learning_rate, losses, papers, phase, plots, training)
    for room in rooms:
        for name in room.__all__:
            item = getattr(room, name)
            if inspect.isfunction(item) and item not in public.values():
                public[f"{room.__name__.removeprefix('mfdnn.')}.{name}"] = item
    assert set(public) - ELSEWHERE <= set(CALLS)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mfdnn.resnet([3, 4, 2], 10**7), "`n_blocks` must be at most 100000, got 10000000"),
        (lambda: mfdnn.ensemble(mfdnn.mlp([3, 4, 2]), 5, 10**9), "`n_networks` must be at most 100000000"),
        (lambda: mfdnn.sample(mfdnn.mlp([3, 2]), rng=np.matrix([[1.0, 2.0]])), "`rng` must be a whole number >= 0"),
        (lambda: mfdnn.expect("tanh", 10**5000), "`q` must be at most 1.8e308, got a int"),
        (lambda: mfdnn.batch_norm_fixed_point("relu", gamma=1e308), "variance behind 'relu' is infinite"),
        (lambda: mfdnn.activation(sys.exit), "`function` of activation 'exit' raised SystemExit"),
        (lambda: mfdnn.Dense(3, bias=1), "`bias` must be True or False, got 1"),
        (lambda: mfdnn.expect("tanh", {1.0}), "`q` must be a real number or an array of them, got {1.0}"),
    ],
)
def test_what_ended_the_process_never_ended_or_gave_nan(call, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()


def test_seeds_of_every_kind_give_networks():
    net = mfdnn.mlp([3, 2])
    seeds = (None, 0, 10**400, [1, 2], (3,), np.arange(3), np.uint8(4), np.random.SeedSequence(5))
    for rng in (*seeds, np.random.default_rng(6), np.random.PCG64(7)):
        assert np.isfinite(mfdnn.sample(net, rng=rng).parameters[0][0]).all()


def test_numbers_of_every_kind_are_numbers():
    kinds = (Fraction(1, 2), Decimal("0.5"), np.float32(0.5), np.array(0.5), np.longdouble(0.5), [0.5])
    for q in (*kinds, np.ma.masked_array([0.5]), np.array([Fraction(1, 2)])):
        assert np.all(mfdnn.expect("relu", q) == mfdnn.expect("relu", 0.5))
    assert mfdnn.Dense(3, 10**30).sigma_w2 == 1e30
