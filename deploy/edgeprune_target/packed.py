"""One file of several parts: an uncompressed .zip, which any program unpacks, for formats of more than one file.

A model is then one file, with one digest and one size, here and on the way to a board.
"""

from __future__ import annotations

import zipfile

from edgeprune_target.errors import TargetError


def pack(path: str, parts: dict) -> None:
    """Write ``{name: bytes}`` to ``path``; the same parts give the same bytes at any time.

    Args:
        path: of the .zip.
        parts: name in the .zip -> content.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name), content)  # dated 1980


def unpack(path: str, *names: str) -> list:
    """Return the contents of the named parts.

    Args:
        path: of a file that `pack` wrote.
        names: of the parts.

    Raises:
        TargetError: there is no such file, it is no such .zip, or it lacks a part.
    """
    try:
        with zipfile.ZipFile(path) as file:
            parts = [file.getinfo(name) for name in names]
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise zipfile.BadZipFile("its parts are compressed")
            return [file.read(part) for part in parts]
    except FileNotFoundError as error:
        raise TargetError(f"no such model file: {path}") from error
    except KeyError as error:
        raise TargetError(f"{path} has no part {_missing(error)}: export the model again") from error
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise TargetError(
            f"cannot load {path}, which is not a file that edgeprune packed ({error}): export the model again"
        ) from error


def _missing(error: KeyError) -> str:
    return str(error.args[0]).split("'")[1] if "'" in str(error.args[0]) else str(error.args[0])
