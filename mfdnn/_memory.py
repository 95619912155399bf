"""Memory is predicted before it is taken."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "require_memory"]

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


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
        known.append(float(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return min(known)


def require_memory(n_bytes: float, what: str, advice: str) -> None:
    """Raise a MemoryError that says what `what` would need, what there is, and what to change."""
    available = available_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{what} would take {_size(n_bytes)}, but only {_size(available)} are free; {advice}."
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**29 else f"{n_bytes / 2**20:.1f} MiB"
