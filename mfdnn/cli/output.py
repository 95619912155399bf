"""What a verb hands back, and where it goes."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._support.results import replacing
from .words import in_options

__all__ = ["PICTURES", "Output", "check_output", "emit", "table"]

PICTURES = (".png", ".pdf", ".svg")


@dataclass
class Output:
    """What a verb found, in all the forms in which it can be written.

    Text for stdout, data for --json, columns for csv and npz, a function that draws, one that saves; and whether a part
    failed.
    """

    text: str
    data: dict[str, Any]
    columns: dict[str, np.ndarray] | None = None
    draw: Callable[[], Any] | None = None
    save: Callable[[str], None] | None = None
    failed: bool = False


def emit(args: argparse.Namespace, output: Output) -> None:
    """Write the file, if one is wanted, and print."""
    if args.output:
        with replacing(args.output) as temporary:
            _write(temporary, output)
        print(f"wrote {args.output}", file=sys.stderr)
    if args.json:
        print(json.dumps(_plain(output.data), indent=1, allow_nan=False))
    else:
        print(in_options(output.text, args))


def _write(path: str, output: Output) -> None:
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        Path(path).write_text(
            json.dumps(_plain(output.data), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    elif suffix == ".csv" and output.columns is not None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(output.columns)
            writer.writerows(
                zip(*(np.ravel(column).tolist() for column in output.columns.values()), strict=True)
            )
    elif output.save is not None:
        output.save(path)
    elif suffix == ".npz" and output.columns is not None:
        np.savez_compressed(path, **output.columns)  # type: ignore[arg-type]
    elif suffix in PICTURES and output.draw is not None:
        from matplotlib import pyplot

        figure = output.draw()
        figure.savefig(path, dpi=150)
        pyplot.close(figure)
    else:  # check_output has seen to it
        raise AssertionError(path)


def _plain(value: Any) -> Any:
    """JSON has no infinity: the strings "inf" and "-inf" stand for it."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def check_output(args: argparse.Namespace) -> None:
    """Find out before the work that the file can be written."""
    if not args.output:
        return
    path = Path(args.output)
    if path.suffix.lower() not in args.suffixes:
        raise ValueError(
            f"`-o` must end in {', '.join(args.suffixes)} for {args.verb}, got {args.output!r}; change the suffix."
        )
    if path.is_dir():
        raise ValueError(f"`-o` {args.output!r} is a directory; name a file in it.")
    if not path.parent.is_dir():
        raise ValueError(
            f"`-o` {args.output!r}: there is no directory {str(path.parent)!r}; create it first."
        )
    existed = path.exists()
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise OSError(
            f"`-o` {args.output!r} cannot be written: {error.strerror}; choose another path."
        ) from None
    if not existed:
        path.unlink()


def table(columns: dict[str, np.ndarray]) -> str:
    """The columns as text, aligned."""
    rows = [list(columns)]
    rows += [
        [f"{v:.8g}" if isinstance(v, float) else str(v) for v in row]
        for row in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)
