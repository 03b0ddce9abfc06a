"""The glossary defines each term once, and names places that exist in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "glossary.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| term")
]
PLACES = sorted({place for _, _, cell in ROWS for place in re.findall(r"`([\w.]+)`", cell)})


def names_of(module: Path) -> set[str]:
    """Return the names that a module defines at its top level."""
    names = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_a_term_has_one_meaning() -> None:
    terms = [term for cell, _, _ in ROWS for term in cell.split(", ")]
    assert len(terms) > 50 and len(terms) == len(set(terms))


@pytest.mark.parametrize("place", PLACES)
def test_the_code_has_what_the_glossary_names(place: str) -> None:
    parts = place.split(".")
    base = ROOT / "deploy" if parts[0] == "edgeprune_target" else ROOT
    if base.joinpath(*parts).with_suffix(".py").is_file() or base.joinpath(*parts, "__init__.py").is_file():
        return
    module = base.joinpath(*parts[:-1])
    module = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    assert module.is_file() and parts[-1] in names_of(module), f"docs/glossary.md: no {place}"
