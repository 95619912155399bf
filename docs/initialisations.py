"""Write initialisations.md: what PyTorch, Keras, JAX and Flax draw, as variances of this package.

Run ``python docs/initialisations.py``; a test compares the page with the table, and the table with the libraries.
"""

from __future__ import annotations

from pathlib import Path

from mfdnn.initialisation import INITIALISATIONS

HERE = Path(__file__).parent
INTRODUCTION = """# What frameworks draw

The initialisation of each layer where nobody chooses one, and what each initialiser does, in the conventions of
this package: weights of variance `sigma_w2 / fan_in`, biases of variance `sigma_b2`, fan_in the number of weights
that a unit reads (a convolution counts its taps). Put the numbers into `mfdnn.mlp(widths, sigma_w2=...,
sigma_b2=...)`, or ask for them:

```python
>>> from mfdnn.initialisation import INITIALISATIONS
>>> INITIALISATIONS["torch.nn.Linear"].variances(fan_in=784) == (1 / 3, 1 / (3 * 784))
True
>>> INITIALISATIONS["keras.layers.Dense"].variances(fan_in=750, fan_out=250)
(1.5, 0.0)

```

Is my default right? For relu signals and gradients keep their size at `sigma_w2 = 2`. PyTorch's 1/3 is six times
less: behind ten such layers the variance has fallen by 6^10, unless a normalisation restores it. Keras draws about
1, Flax 1. Other activations: [critical_values.md](critical_values.md), and `mfdnn.pytorch.initialise_(module,
"critical", X)` writes such weights into a module.

Three traps. The copies of `torch.nn.TransformerEncoder(layer, n)` all begin with *equal* weights.
`init.trunc_normal_` and JAX's `truncated_normal` cut without restoring the variance, each at another place. Keras
and PyTorch draw the four gates of an LSTM as one matrix, Flax each by itself: the variances differ by the number
of gates.

Written by `initialisations.py`. A test compares every row with the library itself, where it is installed (PyTorch
2.13, Keras 3.15, JAX 0.10, Flax 0.12 when this was written).
"""


def table(framework: str) -> list[str]:
    """Lines of the table of a framework."""
    lines = ["| layer or function | weight | sigma_w2 | sigma_b2 | note |", "|---|---|---|---|---|"]
    for row in INITIALISATIONS.values():
        if row.framework == framework:
            cells = row.name, row.weights, row.weight_formula, row.bias_formula, row.note
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(folder: Path = HERE) -> None:
    """Write the page into a folder."""
    lines = [INTRODUCTION]
    for framework in dict.fromkeys(row.framework for row in INITIALISATIONS.values()):
        lines += [f"## {framework}", "", *table(framework), ""]
    (folder / "initialisations.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write()
