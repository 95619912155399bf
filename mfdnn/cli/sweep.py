"""The verb ``sweep``: a grid from a file, on this machine or on a Dask cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._support.validation import positive_integer, refuse_both
from .output import Output, table
from .words import whole_number

__all__ = ["add_sweep", "run_sweep"]


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """What is swept, what runs it, where it is kept."""
    parser.add_argument(
        "spec", metavar="SPEC", help="TOML file; docs/sweep.toml is an example and lists the keys"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="keep finished cells in this folder; the same command resumes after an interruption, or after SPEC has "
        "got more values. Without -o, the table is written there as sweep.csv",
    )
    parser.add_argument(
        "--jobs",
        type=whole_number,
        metavar="N",
        help="processes of this machine (default: one per core, fewer if memory is short)",
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="scheduler of a Dask cluster, tcp://host:port or a scheduler file"
    )


def run_sweep(args: argparse.Namespace) -> Output:
    """All cells of a grid."""
    from ..sweeps import Spec, sweep
    from ..sweeps.run import workers_for

    spec = Spec.read(args.spec)
    refuse_both("--dask", args.dask, **{"--jobs": args.jobs})
    jobs = workers_for(spec) if args.jobs is None else positive_integer("--jobs", args.jobs)
    with _cluster(args.dask) if args.dask else _processes(jobs) as executor:
        found = sweep(spec, executor=executor, checkpoint=args.checkpoint, progress=True)
    if args.checkpoint and not args.output:
        args.output = os.path.join(args.checkpoint, "sweep.csv")
    lines = [repr(found)]
    for place, why in list(found.failures.items())[:10]:
        names = [f"{key} = {values[i]}" for (key, values), i in zip(found.axes.items(), place, strict=True)]
        lines.append(": ".join(["failed", *([", ".join(names)] if names else []), why]))
    if not args.output:
        lines += ["", table(found.columns())]
    return Output("\n".join(lines), found.to_dict(), save=found.save, failed=bool(found.failures))


@contextmanager
def _processes(jobs: int) -> Iterator[Any]:
    import multiprocessing
    import threading
    from concurrent.futures import ProcessPoolExecutor

    from ..jobs.threads import Threads

    if jobs == 1:  # this process will do
        with Threads(1) as thread:
            yield thread
        return
    # Not forked: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    others, hook = set(multiprocessing.active_children()), threading.excepthook
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
            try:
                yield pool
            except KeyboardInterrupt:  # nobody waits for the cells that are being computed
                # A thread of the pool may stumble over futures that are cancelled already, and say so.
                threading.excepthook = lambda _: None
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                raise
    finally:
        threading.excepthook = hook


def _end_with_parent() -> None:
    """End this worker when its parent ends, and leave Ctrl-C to the parent.

    A worker whose parent was killed would wait for work for ever.
    """
    import multiprocessing
    import signal
    import threading
    from multiprocessing.connection import wait

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "`--dask` needs Dask, which is not installed; run `pip install distributed`, or use --jobs."
        ) from None
    where = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        client = Client(**where)
    except (OSError, ValueError) as error:
        raise OSError(
            f"`--dask` {address!r} leads to no scheduler ({error}); pass tcp://host:port of one that runs, or the file "
            "that it wrote."
        ) from None
    with client:
        yield client.get_executor(pure=False)
