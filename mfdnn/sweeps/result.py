"""What a sweep measured, as a grid and as a tidy table."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._support.results import Result, import_xarray, jsonable, replacing
from .._support.validation import file_path

__all__ = ["SUFFIXES", "Sweep"]

SUFFIXES = (".csv", ".npz", ".nc")


@dataclass(frozen=True, repr=False, eq=False)
class Sweep(Result):
    """Quantities on a grid of settings, one cell for each combination.

    Attributes
    ----------
    axes : dict of str to tuple
        The settings that vary, and their values, in the order of the dimensions.
    fixed : dict of str to value
        The other settings; None where they are not given.
    values : dict of str to ndarray
        Quantity to array, one dimension an axis; nan in cells that failed, and nowhere else.
    failures : dict of tuple of int to str
        Indices of a cell that failed, and why.
    """

    axes: dict[str, tuple]
    fixed: dict[str, Any]
    values: dict[str, np.ndarray]
    failures: dict[tuple[int, ...], str]

    def __repr__(self) -> str:
        grid = " x ".join(f"{len(values)} {key}" for key, values in self.axes.items()) or "one cell"
        failed = f", {len(self.failures)} cells failed" if self.failures else ""
        return f"Sweep({grid}: {', '.join(self.values)}{failed})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def status(self) -> np.ndarray:
        """Of every cell "ok", or why it failed: array of str of this `shape`."""
        status = np.full(self.shape, "ok", dtype=object)
        for place, why in self.failures.items():
            status[place] = why
        return status.astype(str)

    def columns(self) -> dict[str, np.ndarray]:
        """The tidy table, one row a cell: settings, quantities, status.

        Returns
        -------
        dict of str to ndarray, shape (number of cells,)
            The last axis runs fastest.
        """
        n = math.prod(self.shape)
        grid = np.meshgrid(*map(np.asarray, self.axes.values()), indexing="ij")
        columns = {key: array.ravel() for key, array in zip(self.axes, grid, strict=True)}
        columns |= {key: np.full(n, value) for key, value in self.fixed.items() if value is not None}
        columns |= {name: array.ravel() for name, array in self.values.items()}
        return columns | {"status": self.status.ravel()}

    def to_dict(self) -> dict[str, Any]:
        """Axes, fixed settings, number of failures, and the tidy table as lists.

        Cells that failed hold None there.
        """
        return {
            "axes": jsonable(self.axes),
            "fixed": jsonable(self.fixed),
            "columns": {name: _without_nan(column) for name, column in self.columns().items()},
            "failures": len(self.failures),
        }

    def save(self, path: str | os.PathLike) -> None:
        """Write one tidy file, of the format of its suffix.

        csv (empty where a cell failed), npz (a column an array), or nc (`to_xarray`). An older file is replaced once
        the new one is whole.

        Raises
        ------
        ValueError
            Another suffix.
        ImportError
            nc without xarray.
        """
        path = file_path("path", path)
        suffix = Path(path).suffix.lower()
        if suffix == ".csv":
            columns = [(name, *_without_nan(column)) for name, column in self.columns().items()]
            with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(zip(*columns, strict=True))
        elif suffix == ".npz":
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **self.columns())  # type: ignore[arg-type]
        elif suffix == ".nc":
            with replacing(path) as temporary:
                self.to_xarray().to_netcdf(temporary)
        else:
            raise ValueError(
                f"`path` must end in {', '.join(SUFFIXES)}, got {path!r}; change the suffix."
            )

    def to_xarray(self) -> Any:
        """The grid as an `xarray.Dataset`, fixed settings as attributes.

        Raises
        ------
        ImportError
            xarray is not installed.
        """
        xarray = import_xarray()
        dims = tuple(self.axes)
        fixed = {key: value for key, value in self.fixed.items() if value is not None}
        return xarray.Dataset(
            {name: (dims, array) for name, array in {**self.values, "status": self.status}.items()},
            coords={key: np.asarray(values) for key, values in self.axes.items()},
            # NetCDF has no truth values.
            attrs={key: int(value) if isinstance(value, bool) else value for key, value in fixed.items()},
        )


def _without_nan(column: np.ndarray) -> list:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()]
