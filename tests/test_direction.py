"""Imports run downward, from rooms of mathematics to the command line, and two wings never see each other."""

import ast
from pathlib import Path

import pytest

import mfdnn

PACKAGE = Path(mfdnn.__file__).parent
ROOMS = """
    _version _support _compiled datasets jobs losses activations gaussian plots phase layers network initialisation
    architectures mean_field kernels jacobian fisher finite_width learning_rate sampled training ensembles comparison
    sweeps reporting pytorch papers cli
""".split()
THEORY = {"mean_field", "kernels", "jacobian", "fisher", "finite_width", "learning_rate"}
FINITE = {"sampled", "training"}


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(own, path, tree):
    """Modules of the package that a file imports: at its head, inside functions, for type checkers."""
    package = own.split(".") if path.name == "__init__.py" else own.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "mfdnn")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module.split(".")[0] == "mfdnn":
                for alias in node.names:
                    inner = f"{module}.{alias.name}"
                    yield inner if inner in MODULES else module


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.fixture(scope="module")
def imports():
    return {
        own: sorted(set(imported(own, path, ast.parse(path.read_text(encoding="utf-8")))) - {own})
        for own, path in MODULES.items()
        if own != "mfdnn"
    }


def test_every_room_has_its_place(imports):
    assert {room(own) for own in imports} == set(ROOMS)


def test_imports_run_downward(imports):
    rank = {name: i for i, name in enumerate(ROOMS)}
    upward = [
        f"{own} imports {module}"
        for own, modules in imports.items()
        for module in modules
        if room(own) != room(module) and rank.get(room(module), len(ROOMS)) >= rank[room(own)]
    ]
    assert upward == []


def test_theory_and_finite_networks_never_see_each_other(imports):
    seen = [
        f"{own} imports {module}"
        for own, modules in imports.items()
        for module in modules
        for one, other in ((THEORY, FINITE), (FINITE, THEORY))
        if room(own) in one and room(module) in other
    ]
    assert seen == []


def test_no_file_imports_itself_by_a_detour(imports):
    entered, left = [], set()

    def walk(module):
        if module in left:
            return
        assert module not in entered, " -> ".join([*entered[entered.index(module) :], module])
        entered.append(module)
        for other in imports.get(module, ()):
            walk(other)
        left.add(entered.pop())

    for module in imports:
        walk(module)
