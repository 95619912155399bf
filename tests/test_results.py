"""What results have in common: repr, dictionaries, files, xarray."""

import json
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from mfdnn._support.results import GridResult, Result
from mfdnn.activations import activation
from mfdnn.phase import phase_diagram


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
