"""Write the table of rooms into docs/architecture.md and draw docs/rooms.svg.

    python docs/rooms.py [--check]

`FLOORS` is the house's plan: a room may import what stands on a lower floor, and itself. tests/test_layers.py holds
the code against it. What a room is for is the first line of its own docstring.
"""

import argparse
import ast
import functools
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgeprune"
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "rooms.svg"
BEGIN, END = "<!-- rooms: made by docs/rooms.py -->", "<!-- end of rooms -->"

# From the ground up. Each floor has a word for what its rooms share.
FLOORS: list[tuple[str, list[str]]] = [
    ("ground", ["errors"]),
    ("ground", ["options", "processes", "registry", "serving"]),
    ("ground", ["files"]),
    ("ground", ["records"]),
    ("inputs", ["devices", "data", "models", "browser", "studies"]),
    ("axes", ["tasks"]),
    ("network", ["recording"]),
    ("network", ["graph", "quantization"]),
    ("axes", ["resources", "backends"]),
    ("network", ["rewrite"]),
    ("choosing", ["importance", "budget", "reporting"]),
    ("network", ["saving", "reconstruct", "onnx_graph"]),
    ("choosing", ["effects"]),
    ("measuring", ["bench"]),
    ("measuring", ["latency"]),
    ("runs", ["runs"]),
    ("training", ["training"]),
    ("training", ["learned"]),
    ("training", ["methods"]),
    ("front", ["pruner"]),
    ("front", ["api", "train_prune", "integrations", "post_training", "sensitivity"]),
    ("front", ["comparison"]),
    ("front", ["search", "report"]),
    ("front", ["watch"]),
    ("front", ["cli"]),
    ("front", ["__main__"]),
]
FLOOR_OF = {room: floor for floor, (_, rooms) in enumerate(FLOORS) for room in rooms}

# What a room may import although it is not below, each with its reason.
EXCEPTIONS = {
    ("backends", "runs"): "opens the run it is given by path, inside one function",
}


def room_of(path: Path) -> str:
    """Return the room that a file of the package lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Return every module of the package but its own `__init__`."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text())


@functools.cache
def imported_rooms(path: Path) -> frozenset[str]:
    """Return the rooms that a module names in its imports, those inside functions too."""
    dotted: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            dotted.add(node.module or "")
            if node.module == "edgeprune":
                dotted |= {f"edgeprune.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
    return frozenset(name.split(".")[1] for name in dotted if name.startswith("edgeprune."))


def purpose(room: str) -> str:
    """Return the first sentence or paragraph of a room's docstring."""
    path = PACKAGE / room / "__init__.py"
    docstring = ast.get_docstring(parsed(path if path.exists() else PACKAGE / f"{room}.py"))
    assert docstring, f"{room} has no docstring: say in one line what it is for"
    return " ".join(docstring.split("\n\n")[0].split())


def arrows() -> dict[str, set[str]]:
    """Return for each room the other rooms that it imports."""
    uses: dict[str, set[str]] = {room: set() for room in FLOOR_OF}
    for path in modules():
        room = room_of(path)
        uses[room] |= imported_rooms(path) - {room}
    return uses


def table() -> str:
    """Return the table of rooms, the top floor first."""
    rows = ["| floor | room | what it is for |", "|---|---|---|"]
    for floor, (_, rooms) in reversed([*enumerate(FLOORS)]):
        rows += [f"| {floor} | `{room}` | {purpose(room)} |" for room in rooms]
    return "\n".join(rows)


def svg() -> str:
    """Return the picture: floors as rows, rooms as boxes, arrows to what a room needs, less those that others imply."""
    width, height, step = 128, 30, 50
    top = len(FLOORS) - 1
    middle: dict[str, tuple[float, float]] = {}
    boxes = []
    for floor, (kind, rooms) in enumerate(FLOORS):
        for index, room in enumerate(rooms):
            x = 480 + (index - (len(rooms) - 1) / 2) * (width + 70) + 45 * (floor % 3 - 1)
            y = 24 + (top - floor) * step
            middle[room] = (x, y)
            boxes.append(
                f'<g><title>{escape(purpose(room))}</title><rect class="{kind}" x="{x - width / 2:.0f}" y="{y:.0f}" '
                f'width="{width}" height="{height}" rx="6"/><text x="{x:.0f}" y="{y + 20:.0f}">{room}</text></g>'
            )
    lines = []
    for room, needed in nearest(arrows()).items():
        for other in sorted(needed):
            (x, y), (x_below, y_below) = middle[room], middle[other]
            lines.append(f'<path d="M{x:.0f} {y + height:.0f} L{x_below:.0f} {y_below:.0f}"/>')
    colours = {
        "ground": "#e8e8e8", "inputs": "#fdebc8", "network": "#cfe8d5", "axes": "#f6d5e2", "choosing": "#d8e3f8",
        "measuring": "#fbd9c0", "runs": "#e3daf3", "training": "#d3eef2", "front": "#ffffff",
    }  # fmt: skip
    style = "".join(f".{kind}{{fill:{colour}}}" for kind, colour in colours.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {24 + top * step + 54}" font-family="sans-serif" '
        f'font-size="14"><style>rect{{stroke:#444}}text{{text-anchor:middle;fill:#111}}'
        f"path{{stroke:#999;fill:none}}{style}</style>"
        f'<rect x="0" y="0" width="960" height="{24 + top * step + 54}" fill="#fafafa" stroke="none"/>\n'
        + "\n".join(lines + boxes)
        + "\n</svg>\n"
    )


def nearest(uses: dict[str, set[str]]) -> dict[str, set[str]]:
    """Drop the arrows that other arrows imply, so that the picture shows the order and not each import."""
    below: dict[str, set[str]] = {}
    for room in sorted(uses, key=FLOOR_OF.__getitem__):
        down = {other for other in uses[room] if FLOOR_OF[other] < FLOOR_OF[room]}
        below[room] = down.union(*(below[other] for other in down))
    return {
        room: {
            other
            for other in uses[room]
            if FLOOR_OF[other] < FLOOR_OF[room] and not any(other in below[third] for third in uses[room])
        }
        for room in uses
    }


def page() -> str:
    """Return docs/architecture.md with its table made anew."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Write both files, or only say whether they are up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where a file is out of date"
    )
    if parser.parse_args().check:
        sys.exit(0 if (page(), svg()) == (PAGE.read_text(), PICTURE.read_text()) else 1)
    PAGE.write_text(page())
    PICTURE.write_text(svg())


if __name__ == "__main__":
    main()
