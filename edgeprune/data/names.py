"""Names of classes in a file of their own."""

from pathlib import Path

from edgeprune.errors import DataError

NAMES = "classes.txt"  # one name a line, in the order of the classes' numbers


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names in classes.txt, empty without it; raises DataError if they are not at least two, each once."""
    path = folder / NAMES
    if not path.exists():
        return ()
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: write one class name a line, in UTF-8") from error
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{path} must hold at least two names, each once, one a line")
    return names
