"""What results have in common: repr, dictionaries, files, xarray."""

import io
import json
import sys
import zipfile
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from mfdnn._support import memory
from mfdnn._support.results import GridResult, Result
from mfdnn.activations import activation
from mfdnn.architectures import mlp
from mfdnn.comparison import learning_rate_map
from mfdnn.finite_width import spread_map
from mfdnn.phase import PhaseDiagram, phase_diagram


@dataclass(frozen=True, repr=False, eq=False)
class Point(Result):
    q: float
    phase: str
    fields: Any
    _private: int = 3


@dataclass(frozen=True, repr=False, eq=False)
class Grid(GridResult):
    AXES: ClassVar[tuple[str, ...]] = ("a", "b")
    activation: Any
    a: np.ndarray
    b: np.ndarray
    q: np.ndarray
    phase: np.ndarray
    tolerance: float
    sizes: tuple = (1, 2)
    note: Any = None


def grid():
    q = np.array([[1.0, np.inf, 0.0], [2.0, -1.0, 3.0]])
    return Grid(activation("tanh"), np.arange(2.0), np.arange(3.0), q, np.full((2, 3), "ordered"), 1e-3)


def test_to_dict_is_plain():
    point = Point(np.float64(np.inf), "ordered", {"x": (Point(1.0, "b", None), np.arange(2), np.tanh)})
    plain = json.loads(json.dumps(point.to_dict()))
    assert plain["q"] == np.inf
    assert plain["fields"]["x"] == [{"q": 1.0, "phase": "b", "fields": None}, [0, 1], "tanh"]
    assert "_private" not in plain


def test_repr_is_short():
    assert repr(Point(0.5, "ordered", np.zeros((3, 4)))) == "Point(q=0.5, phase='ordered', fields: (3, 4))"
    inner = Point(0.5, "a", [1, 2, 3, 4])
    assert repr(Point(1 / 3, "b", inner)) == "Point(q=0.333333, phase='b', fields=Point(...))"
    assert "fields: 4 entries" in repr(inner)
    assert repr(grid()).startswith("Grid(2 a x 3 b, activation='tanh', tolerance=0.001")


def test_save_and_load(tmp_path):
    path = tmp_path / "grid"  # no suffix is added
    one = grid()
    one.save(path)
    other = Grid.load(path)
    for name in ("a", "b", "q", "phase"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    assert (other.activation, other.tolerance, other.sizes, other.note) == ("tanh", 1e-3, (1, 2), None)


def test_load_refuses_other_files(tmp_path):
    class Other(Grid):
        pass

    path = tmp_path / "grid.npz"
    grid().save(path)
    with pytest.raises(ValueError, match=r"holds a Grid, not a Other; load it with Grid.load"):
        Other.load(path)
    np.savez(path, q=np.zeros(3))
    with pytest.raises(ValueError, match=r"must be a file written by Grid\.save"):
        Grid.load(path)
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"must be a file written by Grid\.save"):
        Grid.load(path)
    with pytest.raises(FileNotFoundError):
        Grid.load(tmp_path / "nowhere")


def test_to_xarray():
    pytest.importorskip("xarray")
    one = grid()
    data = one.to_xarray()
    assert dict(data.sizes) == {"a": 2, "b": 3}
    np.testing.assert_array_equal(data["q"].sel(a=1.0), one.q[1])
    assert data["phase"].shape == (2, 3)
    assert data.attrs["activation"] == "tanh"


def test_xarray_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="needs xarray"):
        grid().to_xarray()


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path, monkeypatch):
    diagram = phase_diagram("tanh", [1.0, 2.0], [0.1])
    path = tmp_path / "diagram.npz"
    diagram.save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        diagram.save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["diagram.npz"]


# -- damaged and foreign files ---------------------------------------------------------------------------------

SAVED = {
    "PhaseDiagram": lambda: phase_diagram("tanh", [1.0, 2.0], [0.1]),
    "SpreadMap": lambda: spread_map("relu", 2.0, 0.0, [2, 3], [20], n_samples=10),
    "LearningRateMap": lambda: learning_rate_map(
        mlp([4, 5, 2], "tanh", 2.0, 0.1), [4], [0.1, 0.5], 2, n_samples=6, n_trials=2, rng=0
    ),
}


@pytest.fixture(scope="module", params=SAVED)
def saved(request, tmp_path_factory):
    """A result of each class that has files, and the bytes of its file."""
    result = SAVED[request.param]()
    assert type(result).__name__ == request.param
    path = tmp_path_factory.mktemp("saved") / "result.npz"
    result.save(path)
    return result, path.read_bytes()


def test_every_class_with_files_is_damaged_below():
    assert {c.__name__ for c in GridResult.__subclasses__() if c.__module__.startswith("mfdnn")} == SAVED.keys()


def loaded(kind, path, content):
    """What a file holds, as plain Python; None where it is refused in a sentence."""
    path.write_bytes(content)
    try:
        return kind.load(path).to_dict()
    except ValueError as error:
        assert str(error).startswith("`path` ") and "\n" not in str(error)
        return None


def test_a_damaged_file_is_refused_or_gives_the_same_values(saved, tmp_path):
    result, content = saved
    path, kind = tmp_path / "damaged.npz", type(result)
    whole = loaded(kind, path, content)
    assert whole == json.loads(json.dumps(result.to_dict()))
    rng = np.random.default_rng(0)
    cut = rng.choice(len(content), 30, replace=False)
    assert [loaded(kind, path, content[:n]) for n in cut] == [None] * 30
    refused = 0
    for place in rng.choice(len(content), 100, replace=False):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        found = loaded(kind, path, bytes(flipped))
        assert found in (None, whole)  # a date in the archive's directory may differ
        refused += found is None
    assert refused > 30


def rewritten(content, change):
    """The file with other arrays."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    metadata = json.loads(str(arrays["mfdnn_metadata"]))
    change(arrays, metadata)
    if "mfdnn_metadata" in arrays:
        arrays["mfdnn_metadata"] = np.array(json.dumps(metadata))
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


FOREIGN = {
    "without metadata": lambda a, m: a.pop("mfdnn_metadata"),
    "metadata of another kind": lambda a, m: m.update({"class": ["PhaseDiagram"]}),
    "fields of another kind": lambda a, m: m.update(fields=3),
    "no fields": lambda a, m: m.update(fields={}),
    "one field too many": lambda a, m: m["fields"].update(other=1),
    "one array too many": lambda a, m: a.update(other=np.zeros(3)),
    "a number for a name": lambda a, m: m["fields"].update(activation=3, loss=3),
    "a name for a number": lambda a, m: m["fields"].update(dict.fromkeys(["q0", "n_samples", "n_trials"], "x")),
    "both": lambda a, m: m["fields"].update({name: 1 for name in a}),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(change, saved, tmp_path):
    result, content = saved
    assert loaded(type(result), tmp_path / "foreign.npz", rewritten(content, change)) is None


ARRAYS = {
    "missing": lambda a: None,
    "empty": lambda a: a[:0],
    "longer": lambda a: np.concatenate([a, a]),
    "of one more dimension": lambda a: a[None],
    "flat": lambda a: a.ravel() if a.ndim > 1 else a.reshape(-1, 1),
    "a single number": lambda a: a.ravel()[0],
    "text": lambda a: np.full(a.shape, "word of length"),
    "complex": lambda a: np.zeros(a.shape, complex),
    "true or false": lambda a: np.zeros(a.shape, bool),
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "records": lambda a: np.zeros(a.shape, [("a", float)]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_another_shape_or_kind_are_refused(kind, saved, tmp_path):
    result, content = saved
    names = [name for name, value in vars(result).items() if isinstance(value, np.ndarray)]
    for name in names[:: max(len(names) // 4, 1)]:

        def change(arrays, metadata, name=name):
            value = ARRAYS[kind](arrays.pop(name))
            arrays.update({} if value is None else {name: value})

        assert loaded(type(result), tmp_path / "foreign.npz", rewritten(content, change)) is None, name


def test_nested_metadata_is_refused(saved, tmp_path):
    result, _ = saved
    file = io.BytesIO()
    np.savez(file, mfdnn_metadata=np.array("[" * 100_000))
    assert loaded(type(result), tmp_path / "nested.npz", file.getvalue()) is None


def test_files_of_version_0_1_are_read(saved, tmp_path):
    result, content = saved
    old = rewritten(content, lambda arrays, metadata: metadata.pop("arrays"))
    assert loaded(type(result), tmp_path / "old.npz", old) == json.loads(json.dumps(result.to_dict()))

    def empty(arrays, metadata):
        metadata.pop("arrays")
        arrays[result.AXES[0]] = np.zeros(0)

    assert loaded(type(result), tmp_path / "old.npz", rewritten(content, empty)) is None


def test_memory_of_a_file_is_predicted(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6,)})
    path = tmp_path / "bomb.npz"
    diagram = phase_diagram("tanh", [1.0], [0.1])
    diagram.save(path)
    with np.load(path) as archive:
        metadata = str(archive["mfdnn_metadata"]).replace('"q": ["<f8", [1, 1]]', '"q": ["<f8", [1000000]]')
        arrays = {name: archive[name] for name in archive.files if name not in ("q", "mfdnn_metadata")}
    np.savez(path, mfdnn_metadata=np.array(metadata), **arrays)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("q.npy", header.getvalue() + bytes(8 * 10**6))
    monkeypatch.setattr(memory, "available_memory", lambda: 1e6)
    with pytest.raises(MemoryError, match=r"the arrays of .* would take 7\.6 MiB"):
        PhaseDiagram.load(path)
