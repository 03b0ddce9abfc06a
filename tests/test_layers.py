"""Imports run downwards only: the house stays easy to see."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def _house() -> Any:
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOUSE = _house()


def test_imports_run_downwards() -> None:
    upwards = []
    for path in HOUSE.modules():
        room = HOUSE.room_of(path)
        assert room in HOUSE.FLOOR_OF, f"room {room!r} has no floor yet: add it to FLOORS in docs/rooms.py"
        for other in HOUSE.imported_rooms(path) - {room}:
            if HOUSE.FLOOR_OF[other] >= HOUSE.FLOOR_OF[room] and (room, other) not in HOUSE.EXCEPTIONS:
                upwards.append(f"{path} (in {room}) imports {other}, which is not below it")
    assert not upwards, "\n".join(upwards)


def test_imports_are_absolute() -> None:
    relative = [
        f"{path}:{node.lineno}"
        for path in HOUSE.modules()
        for node in ast.walk(HOUSE.parsed(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, relative


def test_the_runner_never_imports_edgeprune() -> None:
    for path in (ROOT / "deploy" / "edgeprune_target").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name != "edgeprune" and not name.startswith("edgeprune."), f"{path} imports {name}"


def test_the_plan_of_the_house_is_up_to_date() -> None:
    """The table in docs/architecture.md and the picture are what docs/rooms.py makes of today's tree."""
    rooms = {HOUSE.room_of(path) for path in HOUSE.modules()}
    assert rooms == set(HOUSE.FLOOR_OF)
    assert HOUSE.page() == HOUSE.PAGE.read_text(), "run: python docs/rooms.py"
    assert HOUSE.svg() == HOUSE.PICTURE.read_text(), "run: python docs/rooms.py"


def test_every_exception_is_needed() -> None:
    uses = HOUSE.arrows()
    assert all(other in uses[room] for room, other in HOUSE.EXCEPTIONS)
