"""PyTorch, if it is there; else a name whose use says how to install it."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["torch"]

MISSING = (
    "`mfdnn.pytorch` needs PyTorch, which is not installed; pip install 'meanfield-dnn[torch]' brings it."
)


class Missing:
    """Stands for PyTorch where there is none, so that this room loads all the same."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of Python's machinery, which asks what it may not find
            raise AttributeError(name)
        raise ImportError(MISSING)


def _found() -> Any:
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return Missing()


torch: Any = _found()
