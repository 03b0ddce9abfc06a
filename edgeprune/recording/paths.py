"""Paths of modules in a network."""


def is_inside(path: str, other: str) -> bool:
    """Return whether module ``path`` is ``other`` or lies in it; "" is the network itself."""
    return other == "" or path == other or path.startswith(f"{other}.")
