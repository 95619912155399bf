"""Write critical_values.md and critical_values.csv: critical initialisations of every built-in activation.

Run ``python docs/critical_values.py``; a test recomputes every number of the tables.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import mfdnn

HERE = Path(__file__).parent
BIASES = (0.0, 0.05, 0.2)
COLUMNS = (
    "activation",
    "sigma_b2",
    "sigma_w2",
    "q",
    "stable",
    "chi_1",
    "chi_q",
    "xi_q",
    "xi_c",
    "decay",
    "coefficient",
    "note",
)
CLASS_COLUMNS = ("activation", "class", "sigma_w2", "sigma_b2", "q", "a_1", "b_1", "power")

INTRODUCTION = """# Critical initialisations

Weights of variance `sigma_w2 / fan_in` and biases of variance `sigma_b2` for which squared gradients neither grow nor
shrink with depth: `chi_1 = sigma_w2 E[phi'^2] = 1`. Copy a pair into an initialiser, or ask for it:
`mfdnn.mlp(widths, "tanh", init="critical", sigma_b2=0.05)`.

Written by `critical_values.py`; the same numbers with all digits are in `critical_values.csv`. A test recomputes them.
Parameters of activations have their defaults.

- `q`: the variance of pre-activations in deep layers. Where it is not *stable*, networks of these variances drift
  away from it, and are not critical for long: choose another bias variance.
- `chi_q`: slope of the variance map there; `xi_q = -1/log(chi_q)` layers is the depth scale on which the variance
  settles.
- `decay`: how 1 - c of two inputs with correlation c falls with depth l on the edge (xi_c is infinite there). "frozen":
  it does not, because the variance vanishes first and phi becomes linear.
"""


def rows() -> list[dict]:
    """One row per activation and bias variance."""
    table = []
    for name in mfdnn.activation_names():
        for b2 in BIASES:
            table += _edge_rows(name, b2)
    return table


def _edge_rows(name: str, b2: float) -> list[dict]:
    row = dict.fromkeys(COLUMNS) | {"activation": name, "sigma_b2": b2}
    act = mfdnn.activation(name)
    try:
        line = mfdnn.critical_line(act, sigma_b2=b2)
    except ValueError:
        if act.homogeneous:
            note = "scale-invariant: with biases the variance grows without bound at the critical weights"
        elif np.any(act.pieces.jumps[:, 0]):
            note = "phi jumps: E[phi'^2] is infinite, there is no edge"
        else:
            note = "no edge"
        return [row | {"note": note}]
    return [row | _point(name, b2, *point) for point in zip(line.q, line.sigma_w2, line.stable, strict=True)]


def _point(name: str, b2: float, q: float, w2: float, stable: bool) -> dict:
    act = mfdnn.activation(name)
    fixed = mfdnn.variance_fixed_points(act, w2, b2)
    here = int(np.argmin(np.abs(fixed.q - q)))
    slope = float(fixed.slope[here])
    if fixed.stability[here] == "neutral" or q == 0:
        slope = 1.0
    chi_1 = 1.0 if q == 0 else w2 * mfdnn.expect_product(act, q, derivative=1)
    found = {
        "sigma_w2": float(w2),
        "q": float(q),
        "stable": bool(stable),
        "chi_1": float(chi_1),
        "chi_q": slope,
        "xi_q": np.inf if slope == 1 else float(-1 / np.log(abs(slope))),
        "xi_c": np.inf,
    }
    if fixed.stability[here] == "neutral":
        found |= {"q": None, "note": "scale-invariant: every q is fixed"}
    elif not stable:
        return found | {"note": "q repels"}
    law = mfdnn.correlation_decay(act, w2, b2, q0=q or 1.0)
    return found | {"decay": law.kind, "coefficient": law.coefficient}


def classes() -> list[dict]:
    """One row per activation."""
    table = []
    for name in mfdnn.activation_names():
        found = mfdnn.universality_class(name).to_dict()
        table.append({"activation": name, "class": found.pop("name"), **found})
    return table


def markdown(edge: list[dict], groups: list[dict]) -> str:
    """The page."""
    text = INTRODUCTION
    for b2 in BIASES:
        text += f"\n## sigma_b2 = {b2:g}\n\n"
        shown = [name for name in COLUMNS if name not in ("sigma_b2", "chi_1", "xi_c")]
        text += _table(shown, [row for row in edge if row["sigma_b2"] == b2], digits=9)
    text += (
        "\n## Universality classes\n\n"
        "Where both susceptibilities are 1: chi_1 and the slope of the variance map. Near q = 0 without biases, with\n"
        "sigma_w2 = 2/(phi'(0-)^2 + phi'(0+)^2), q goes to q (1 + a_1 q^power), and chi_1 = 1 + b_1 q^power; q = 0 is\n"
        "reached like (-power a_1 l)^(-1/power) if a_1 < 0. Half-stable: q attracts from one side only.\n\n"
    )
    rounded = [row | {k: row[k] and round(row[k], 9) for k in ("a_1", "b_1")} for row in groups]
    return text + _table(list(CLASS_COLUMNS), rounded, digits=13)


def _table(names: list[str], table: list[dict], digits: int) -> str:
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name], digits) for name in names) + " |" for row in table]
    return "\n".join(lines) + "\n"


def _cell(value: object, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def write(folder: Path = HERE) -> None:
    """Write both files into `folder`."""
    edge, groups = rows(), classes()
    (folder / "critical_values.md").write_text(markdown(edge, groups), encoding="utf-8")
    by_name = {row["activation"]: row["class"] for row in groups}
    with open(folder / "critical_values.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "class"])
        for row in edge:
            values = ["" if row[name] is None else row[name] for name in COLUMNS]
            writer.writerow(
                [*(f"{v:.15g}" if isinstance(v, float) else v for v in values), by_name[row["activation"]]]
            )


if __name__ == "__main__":
    write()
