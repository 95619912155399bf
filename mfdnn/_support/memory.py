"""Memory is predicted before it is taken."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "require_memory"]

_CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> float:
    """Bytes a new array may take without swapping; inf where the system does not say."""
    known = [float("inf")]
    try:
        with open("/proc/meminfo") as lines:
            known += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except OSError:
        try:
            known.append(float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
        except (AttributeError, OSError, ValueError):
            pass  # neither Linux nor POSIX: nothing is known, so nothing is refused
    try:
        known.append(max(float((_CONTAINER / "memory.max").read_text()) - _taken_in_container(), 0.0))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return min(known)


def _taken_in_container() -> float:
    """Bytes in use under the container's limit; 0 where it does not say."""
    try:
        taken = float((_CONTAINER / "memory.current").read_text())
        lines = (_CONTAINER / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return 0.0
    # Files read long ago are kept in memory until somebody needs it: they are counted, but free.
    return taken - sum(float(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def require_memory(n_bytes: float, what: str, advice: str, available: float | None = None) -> None:
    """Raise a MemoryError if `what` needs more memory than is free.

    It says how much `what` would take, how much there is, and `advice`, what to change. `available`: on a device of its
    own, in bytes.
    """
    available = available_memory() if available is None else available
    if n_bytes > available:
        raise MemoryError(
            f"{what} would take {_size(n_bytes)}, but only {_size(available)} are free; {advice}."
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**29 else f"{n_bytes / 2**20:.1f} MiB"
