"""What nobody may ask: outside `layers` and the builders of networks no code asks which class a layer is."""

import ast
from pathlib import Path

import mfdnn
import mfdnn.layers

PACKAGE = Path(mfdnn.__file__).parent
ALLOWED = {"network.py"}  # today's builders, which check that layers are layers
LAYERS = {
    name
    for name in mfdnn.layers.__all__
    if isinstance(getattr(mfdnn.layers, name), type) and issubclass(getattr(mfdnn.layers, name), mfdnn.Layer)
}


def type_tests(tree):
    """Names that stand in isinstance, issubclass, `type(...) is` and match patterns, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            parts = node.args[1:]
        elif isinstance(node, ast.Compare) and any(
            isinstance(part, ast.Call) and getattr(part.func, "id", "") == "type"
            for part in (node.left, *node.comparators)
        ):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchClass):
            parts = [node.cls]
        else:
            continue
        for part in parts:
            for name in ast.walk(part):
                yield getattr(name, "id", getattr(name, "attr", "")), node.lineno


def test_layers_are_asked_for_a_trait_or_an_answer_and_never_for_their_class():
    assert {"Dense", "Pointwise", "Residual", "BatchNorm", "Layer"} <= LAYERS
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "layers" and path.name not in ALLOWED
        for name, line in type_tests(ast.parse(path.read_text()))
        if name in LAYERS
    ]
    assert found == []


def test_such_a_question_would_be_found():
    asked = "isinstance(x, Dense | Pointwise)\ntype(x) is mfdnn.Dense\nmatch x:\n    case Residual():\n        pass\n"
    assert [name for name, _ in type_tests(ast.parse(asked)) if name in LAYERS] == [
        "Dense",
        "Pointwise",
        "Dense",
        "Residual",
    ]


def first_lines(tree):
    """The first lines of the docstrings of a module and all that it defines, with their lines in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield text.partition("\n")[0], getattr(node, "lineno", 1)


def test_first_lines_of_docstrings_fit_in_80_characters():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {len(text)}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for text, line in first_lines(ast.parse(path.read_text()))
        if len(text) > 80
    ]
    assert found == []


def test_a_long_first_line_would_be_found_wherever_it_stands():
    long = "x" * 81
    tree = ast.parse(
        f'''"""{long}"""
class A:
    """{long}"""
    def f(self):
        """{long}"""
        def g():
            """Short.

            {long}"""
        async def h():
            """{long}"""
'''
    )
    assert sorted(line for text, line in first_lines(tree) if len(text) > 80) == [1, 2, 4, 10]


def test_no_cache_grows_without_bound():
    """What is kept for arguments is kept for so many, or for as long as they live."""
    unbounded = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.args.args or node.args.kwonlyargs):
                names = [ast.unparse(decorator) for decorator in node.decorator_list]
                unbounded += [
                    f"{path.relative_to(PACKAGE)}: {node.name}"
                    for name in names
                    if name in ("cache", "functools.cache") or "maxsize=None" in name
                ]
    assert unbounded == []
