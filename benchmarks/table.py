"""Write what `make bench` measured into README.md: python benchmarks/table.py .benchmarks/bars.json"""

import json
import os
import platform
import sys
from pathlib import Path

import numpy as np

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table: written by table.py -->", "<!-- end of the table -->"


def machine() -> str:
    """Class of the machine: cores and processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {models[0] if models else platform.machine()}"


def table(results: dict) -> str:
    """One line for each row of each benchmark."""
    import numba

    lines = [
        f"{results['datetime'][:10]}; {machine()}; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}.",
        "",
        "| what | bar | measured | met |",
        "|---|---|---|---|",
    ]
    for benchmark in results["benchmarks"]:
        for what, bar, measured, met in benchmark["extra_info"]["rows"]:
            verdict = {True: "yes", False: "**no**", None: ""}[met]
            lines.append(
                "| " + " | ".join(cell.replace("|", r"\|") for cell in (what, bar, measured, verdict)) + " |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = table(json.loads(Path(sys.argv[1]).read_text()))
    README.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}")
    print(new)
