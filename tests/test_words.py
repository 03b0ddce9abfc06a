"""Words: a name says what it holds, a docstring begins with a verb, and what has several parameters explains them.

python tests/test_words.py edgeprune/bench edgeprune/latency    # what there is to mend in some rooms
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = ("edgeprune", "deploy/edgeprune_target")
NAMED = (
    *PLACES,
    "deploy",
    "tests",
    "benchmarks",
    "examples",
    "docs",
)  # places of code whose names say what they hold
# Names that say nothing of what they hold (docs/glossary.md); "whole" and "settle" had seven and four meanings.
EMPTY = {
    "asked", "found", "given", "mine", "one", "said", "stuff", "tell", "there", "thing", "things", "told", "wanted",
    "whole",
}  # fmt: skip
MOST_PLAIN_PARAMETERS = 2  # from three on, Args says what each is


def empty_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every variable, parameter or attribute that is called by one of the words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in EMPTY:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg) and node.arg in EMPTY:
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef) and node.name.strip("_") in EMPTY:
            yield node.lineno, node.name


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield functions and methods that have a public name, in public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield inner


def parameters(function: ast.FunctionDef) -> list[str]:
    """Return the parameters that a caller gives."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]


def unexplained(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of public functions with three parameters or more and no Args."""
    for function in public_functions(tree):
        docstring = ast.get_docstring(function) or ""
        inherits = any("override" in ast.unparse(decorator) for decorator in function.decorator_list)
        if (
            len(parameters(function)) > MOST_PLAIN_PARAMETERS
            and "Args:" not in docstring
            and docstring
            and not inherits
        ):
            yield function.lineno, function.name


def verbless(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, docstring) of public functions whose docstring does not begin with a verb in the imperative."""
    for function in public_functions(tree):
        if any("property" in ast.unparse(decorator) for decorator in function.decorator_list):
            continue
        first = (ast.get_docstring(function) or "Return").split()[0].strip(",.:")
        if not re.fullmatch(r"[A-Z][a-z-]+", first) or first in NO_VERBS or first.endswith("s"):
            yield function.lineno, " ".join((ast.get_docstring(function) or "").split()[:6])


NO_VERBS = frozenset(
    # fmt: off
    [
        "A",
        "All",
        "An",
        "Anything",
        "As",
        "Both",
        "By",
        "Bytes",
        "Each",
        "Every",
        "For",
        "From",
        "Half",
        "How",
        "If",
        "Images",
        "In",
        "Its",
        "Labels",
        "Least",
        "Least-squares",
        "Like",
        "Mean",
        "Message",
        "Names",
        "None",
        "Nothing",
        "Number",
        "Of",
        "On",
        "One",
        "Options",
        "Path",
        "Per",
        "Rows",
        "Same",
        "Seconds",
        "Share",
        "Something",
        "Text",
        "That",
        "The",
        "There",
        "These",
        "This",
        "Those",
        "To",
        "True",
        "What",
        "When",
        "Where",
        "Whether",
        "Which",
        "Who",
        "Why",
        "With",
        "Without",
    ]
    # fmt: on
)


def nameless(path: Path) -> list[str]:
    """Return the names of a module that say nothing of what they hold, one line each."""
    names = empty_names(ast.parse(path.read_text()))
    return [f"{path}:{line}: the name {name!r} says nothing of what it holds" for line, name in names]


def findings(path: Path) -> list[str]:
    """Return what there is to mend in a module's docstrings, one line each."""
    tree = ast.parse(path.read_text())
    # The docstring of a command is the text of its --help.
    without_args = [] if "cli" in path.parts else unexplained(tree)
    return [
        *(f"{path}:{line}: {name} has three parameters or more and no Args" for line, name in without_args),
        *(f"{path}:{line}: begin with a verb: {text}" for line, text in verbless(tree)),
    ]


def modules(places: tuple[str, ...] = PLACES) -> list[Path]:
    """Return the Python files below some places."""
    return sorted(path for place in places for path in Path(ROOT, place).rglob("*.py"))


@pytest.mark.parametrize("place", NAMED)
def test_names_say_what_they_hold(place: str) -> None:
    assert [line for path in modules((place,)) for line in nameless(path)] == []


@pytest.mark.parametrize("place", PLACES)
def test_docstrings(place: str) -> None:
    assert [line for path in modules((place,)) for line in findings(path)] == []


if __name__ == "__main__":
    for module in modules(tuple(sys.argv[1:]) or PLACES):
        for line in (*nameless(module), *findings(module)):
            print(line)
