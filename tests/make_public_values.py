"""Write `public_values.json`: what the calls of `public_values.py` return.

    python tests/make_public_values.py             # all of them
    python tests/make_public_values.py NAME ...    # those only
    python tests/make_public_values.py --missing   # those that the file does not have yet

Entries without a call are removed. Write a value again only where it was wrong, and say so in the commit: the file
is there to notice changes that nobody meant.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from public_values import CALLS

PATH = Path(__file__).parent / "public_values.json"


def text(values: dict[str, Any]) -> str:
    """JSON with a line for each part of an entry, in the order of the catalogue."""
    entries = []
    for name in CALLS:
        value = values[name]
        if isinstance(value, dict):
            parts = [f"  {json.dumps(part)}: {json.dumps(item)}" for part, item in value.items()]
            body = "{\n" + ",\n".join(parts) + "\n }"
        elif isinstance(value, list) and any(isinstance(item, dict | list | str) for item in value):
            body = "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
        else:
            body = json.dumps(value)
        entries.append(f" {json.dumps(name)}: {body}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write public_values.json.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="calls to make again (default: all)")
    parser.add_argument("--missing", action="store_true", help="only what the file does not have")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in CALLS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not in the catalogue of public_values.py.")
    known = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    missing = [name for name in CALLS if name not in known]
    wanted = args.names or (missing if args.missing else list(CALLS))
    for name in dict.fromkeys([*wanted, *missing]):
        known[name] = CALLS[name]()
    PATH.write_text(text(known), encoding="utf-8")
    print(f"{len(CALLS)} entries, {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
