"""What is recorded along a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .curvature import LargestEigenvalue
from .subject import InTraining

__all__ = ["Watch"]


class Watch:
    """Largest eigenvalues and distance from the start, when asked."""

    def __init__(self, start: list[np.ndarray], running: InTraining, x: np.ndarray, loss: str):
        self.start, self.running, self.x = start, running, x
        self.find = LargestEigenvalue()
        self.find_softmax = LargestEigenvalue("softmax") if loss == "cross_entropy" else None
        self.steps: list[int] = []
        self.linear: list[float] = []
        self.softmax: list[float] = []
        self.distance: list[float] = []

    def __call__(self, step: int) -> None:
        """Record what there is before that step."""
        linear = self.running.linearise(self.x)
        self.steps.append(step)
        self.linear.append(self.find(linear))
        if self.find_softmax is not None:
            self.softmax.append(self.find_softmax(linear))
        moved = [a - b for a, b in zip(self.start, self.running.arrays, strict=True)]
        self.distance.append(float(np.sqrt(sum(np.sum(np.square(d, dtype=np.float64)) for d in moved))))

    @property
    def place(self) -> dict[str, Any]:
        """What was recorded, as plain Python."""
        searches = [self.find, *([self.find_softmax] if self.find_softmax else [])]
        return {
            "steps": self.steps,
            "linear": self.linear,
            "softmax": self.softmax,
            "distance": self.distance,
            "streams": [search.stream for search in searches],
        }

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Where the searches for eigenvalues are to start."""
        searches = {"linear": self.find, "softmax": self.find_softmax}
        return {
            f"search_{name}": search.vectors
            for name, search in searches.items()
            if search is not None and search.vectors is not None
        }

    def go_to(self, place: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from a `place` and `arrays`."""
        self.steps, self.linear = place["steps"], place["linear"]
        self.softmax, self.distance = place["softmax"], place["distance"]
        searches = {"linear": self.find, "softmax": self.find_softmax}
        known = [(name, search) for name, search in searches.items() if search is not None]
        for (name, search), stream in zip(known, place["streams"], strict=True):
            search.stream, search.vectors = stream, arrays.get(f"search_{name}")
