"""The command line: one verb for each function, and the same names.

Data go to stdout, progress and warnings to stderr.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from .._support.errors import NoTheory
from .output import check_output, emit
from .parser import build_parser
from .words import in_options, parse

__all__ = ["main"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0 done, 1 computation failed, 2 bad usage, 130 interrupted.
    """
    args = parse(*build_parser(), sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest, **kw: print(
                f"mfdnn: warning: {in_options(str(message), args)}", file=sys.stderr
            )
            check_output(args)
            output = args.run(args)
            emit(args, output)
    except KeyboardInterrupt:
        print("mfdnn: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"mfdnn {args.verb}: {in_options(str(error), args)}", file=sys.stderr)
        return USAGE if _is_usage(error) else FAILED
    return FAILED if output.failed else DONE


def _is_usage(error: Exception) -> bool:
    """Whether an argument is to blame.

    The package checks arguments itself, and says so with these types.
    """
    if isinstance(error, ArithmeticError | NoTheory) or not isinstance(
        error, ValueError | TypeError | FileNotFoundError | IsADirectoryError
    ):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # One that NumPy or SciPy raise, or a function of the user's, is a computation that failed.
    return trace is not None and trace.tb_frame.f_globals["__name__"].startswith("mfdnn.")
