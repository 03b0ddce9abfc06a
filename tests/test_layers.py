"""Imports run downwards only: the house stays easy to see."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgeprune"

# Rooms from the ground up, as in CONTRIBUTING.md. A room may import what stands on a lower line, and itself.
FLOORS = [
    ["errors", "text", "pure"],
    ["ranks", "signals", "anchors", "registry"],
    ["files", "bounds", "limits", "graph_record", "recurrent", "trust"],
    ["locks", "records"],
    ["folders", "tensorfile", "earlier"],
    ["devices", "plan", "models", "data", "recording"],
    ["graph", "tasks"],
    ["rewrite", "arguments", "resources", "report"],
    ["budget", "importance", "backends", "console"],
    ["bench"],
    ["latency"],
    ["runs", "reconstruct"],
    ["training", "serialize", "restoring", "verification"],
    ["learned", "saving"],
    ["methods"],
    ["recipe", "steering"],
    ["goals", "judging", "effects"],
    ["stages"],
    ["pipeline", "inspection"],
    ["api", "host_options", "luts"],
    ["comparison"],
    ["search"],
    ["cli"],
    ["__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Stated exceptions: (room, what it may import although it is not below), each with its reason.
EXCEPTIONS = {
    ("plan", "graph"): "for type checking only",
    ("backends", "runs"): "opens the run it is given by path, inside one function",
    ("bench", "runs"): "opens the run it is given by path, inside one function",
}


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "edgeprune":
            names += [f"edgeprune.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("edgeprune.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return found


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR_OF, f"room {room!r} has no floor yet: add it to FLOORS"
    for other in imports(path) - {room}:
        allowed = FLOOR_OF[other] < FLOOR_OF[room] or (room, other) in EXCEPTIONS
        assert allowed, f"{path.name} (in {room}) imports {other}, which is not below it"


def test_the_runner_never_imports_edgeprune() -> None:
    for path in (ROOT / "deploy" / "edgeprune_target").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name != "edgeprune" and not name.startswith("edgeprune."), f"{path} imports {name}"


def test_every_room_is_in_the_house_plan() -> None:
    plan = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = {room_of(p) for p in modules()}
    missing = [room for room in rooms if f"`{room}" not in plan]
    assert not missing, f"CONTRIBUTING.md's table of rooms lacks {missing}"
