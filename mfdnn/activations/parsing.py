"""What a text on the command line or in a file means."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

__all__ = ["parse_activation"]


def parse_activation(text: str, argument: str = "--activation") -> Any:
    """The activation that is meant by relu, leaky_relu(slope=0.2) or module:function.

    `argument` is who says so.
    """
    from .definition import as_activation

    if ":" in text and "(" not in text:
        module_name, _, attribute = text.partition(":")
        sys.path.insert(0, os.getcwd())
        try:
            return as_activation(argument, getattr(importlib.import_module(module_name), attribute))
        except (Exception, SystemExit) as error:  # a user's module may raise anything, or be a script that exits
            said = " ".join(str(error).split())
            raise ValueError(
                f"`{argument}` {text!r}: {type(error).__name__}: {said:.300}; write module:function for a function of "
                "your own."
            ) from None
        finally:
            sys.path.pop(0)
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", text.strip())
    if not match:
        raise ValueError(
            f"`{argument}` must be a name, name(parameter=value) or module:function, got {text!r}."
        )
    parameters = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, _, value = item.partition("=")
        try:
            parameters[key.strip()] = float(value)
        except ValueError:
            raise ValueError(f"`{argument}` {text!r}: write parameters as {match[1]}(name=number).") from None
    return as_activation(argument, match[1], **parameters)
