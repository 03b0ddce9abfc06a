"""Write folders beside their path and rename them into place; decide what `--force` may replace."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edgeprune.errors import EdgePruneError, RunError, StorageError
from edgeprune.files.anchors import check_in_place
from edgeprune.files.locks import LOCK, check_unused, held, is_held
from edgeprune.files.paths import explain_os_error, explained, is_leftover, is_part
from edgeprune.files.reading import read_json, sha256
from edgeprune.records import export

OLD = ".old.part"  # suffix of a folder while it is being replaced
SHOWN = 3  # files that a message names
LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A kind of folder that edgeprune writes.

    Attributes:
        name: for messages, as in "is not a run folder".
        marker: the JSON file with a schema that identifies the kind.
        own: patterns of the relative paths that edgeprune writes, such as "export/*.onnx".
        option: by which a command is told another path, for messages.
    """

    name: str
    marker: str
    own: tuple[str, ...]
    option: str = "--out"

    def within(self, folder: str) -> tuple[str, ...]:
        """Return the patterns for a folder of this kind that is nested in another as ``folder``."""
        return tuple(f"{folder}/{pattern}" for pattern in self.own)

    def matches(self, path: Path) -> bool:
        """Return whether the folder at ``path`` is of this kind."""
        try:
            content = read_json(path / self.marker)
        except (EdgePruneError, OSError):
            return False
        return isinstance(content, dict) and "schema" in content

    def owns(self, relative: Path) -> bool:
        """Return whether edgeprune writes files of this relative path."""
        if any(is_leftover(Path(part)) for part in relative.parts) or relative.name in LEFT_BY_SYSTEMS:
            return True
        return any(_fits(relative.parts, tuple(pattern.split("/"))) for pattern in self.own)

    def strangers(self, path: Path) -> list[str]:
        """Return the relative paths of files in the folder at ``path`` that edgeprune did not write."""
        strange = []
        for folder, folders, files in os.walk(path):  # links to folders are listed, but not followed
            here = Path(folder).relative_to(path)
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            strange += [
                str(here / name)
                for name in files
                if not self.owns(here / name) and not _is_in_export_record(path / here / name)
            ]
            strange += [str(here / name) for name in links if not self._owns_folder(here / name)]
        return sorted(strange)

    def _owns_folder(self, relative: Path) -> bool:
        count = len(relative.parts)
        return any(_fits(relative.parts, tuple(pattern.split("/"))[:count]) for pattern in self.own)


def _is_in_export_record(path: Path) -> bool:
    """Return whether the export record beside a file lists it with its digest: another package's backend wrote it."""
    if path.is_symlink() or not path.with_name(export.FILE).is_file():
        return False
    try:
        artifacts = export.ExportFile.read(path.with_name(export.FILE)).artifacts
        digests = [artifact.sha256 for artifact in artifacts if artifact.file == path.name]
        return bool(digests) and path.is_file() and sha256(path) in digests
    except (EdgePruneError, OSError):
        return False


def check_folder_free(path: Path, kind: Kind, *, force: bool, inputs: Iterable[str | None] = ()) -> None:
    """Check that `folder_aside` may make a folder at ``path``; nothing is changed.

    Args:
        path: of the new folder.
        kind: of folder.
        force: whether a folder of that kind may be replaced.
        inputs: paths that are read while the folder is made, or later: they must not be deleted with the old one.

    Raises:
        RunError: something else is at ``path``, ``force`` is off, or the folder may not be replaced.
    """
    with explained(path):
        if not is_occupied(path) and not is_occupied(path.resolve()):  # "missing/.." is this folder
            return
    if not path.resolve().is_dir() or not kind.matches(path):
        raise RunError(f"{path} exists and is not a {kind.name}: choose another {kind.option}")
    if not force:
        raise RunError(
            f"{path} exists: go on with --resume, start it anew with --force, or choose another {kind.option}"
        )
    with explained(path):
        _check_replaceable(path, kind, inputs)


def is_occupied(path: Path) -> bool:
    """Return whether something is at ``path``; an empty folder and half-written files do not count."""
    if path.is_dir():
        return any(not is_leftover(item) for item in path.iterdir())
    return os.path.lexists(path)


def _check_replaceable(path: Path, kind: Kind, inputs: Iterable[str | None]) -> None:
    """Raise RunError if replacing the folder at ``path`` would delete more than edgeprune's own files."""
    instead = f"choose another {kind.option}"
    if path.is_symlink():
        raise RunError(f"{path} is a symbolic link, which --force does not replace: name {path.resolve()}")
    place, here = path.resolve(), Path.cwd().resolve()
    if here == place or place in here.parents:
        raise RunError(f"--force cannot replace {path}, the folder you work in or one above it: {instead}")
    mounts = [folder for folder, _, _ in os.walk(path) if os.path.ismount(folder)]
    if mounts:
        raise RunError(f"--force cannot replace {path}: {mounts[0]} is a mount point; {instead}")
    needed = next((name for name in inputs if name and _is_within(Path(name), place)), None)
    if needed:
        raise RunError(f"--force would delete {needed}, which is read: move it out of {path}, or {instead}")
    strangers = kind.strangers(path)
    if strangers:
        more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        raise RunError(
            f"--force would delete files in {path} that edgeprune did not write "
            f"({', '.join(strangers[:SHOWN])}{more}): move them out of it, or {instead}"
        )
    check_unused(path)


@contextmanager
def folder_aside(path: Path, kind: Kind, *, force: bool, inputs: Iterable[str | None] = ()) -> Iterator[Path]:
    """Yield a new folder beside ``path``, which is renamed into place when the block ends without an error.

    A folder that is replaced is moved aside first, and deleted once the new folder is in place. An existing empty
    folder is filled instead: it may be the working folder or a mount point.

    Args:
        path: of the new folder.
        kind: of folder.
        force: whether a folder of that kind may be replaced.
        inputs: paths that must not be deleted with the old one.

    Raises:
        RunError: a folder exists and ``force`` is off, or it may not be replaced.
        StorageError: the file system fails.
    """
    check_in_place(path)
    check_folder_free(path, kind, force=force, inputs=inputs)
    place = path.resolve()
    filled = place.is_dir() and not is_occupied(place)
    parents = [parent for parent in place.parents if not parent.exists()]
    name = f".{place.name or 'folder'}.{os.getpid()}.part"
    aside = place / name if filled else place.with_name(name)
    with explained(path):
        _sweep_beside(place)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    try:
        with held(aside, sweep=False):
            yield aside
        _publish(aside, path, place, kind, force=force, filled=filled)
    except StorageError as error:  # names the path that the user gave
        raise StorageError(str(error).replace(str(aside), str(path))) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # a folder that is not empty stays, and so do its parents
            for parent in parents:
                parent.rmdir()


def _publish(aside: Path, path: Path, place: Path, kind: Kind, *, force: bool, filled: bool) -> None:
    """Move the finished folder into place."""
    check_folder_free(path, kind, force=force)  # minutes may have passed
    with explained(path), ExitStack() as stack:
        if filled:
            for item in sorted(aside.iterdir(), key=lambda item: item.name == kind.marker):
                item.replace(place / item.name)
            for item in place.iterdir():
                if is_part(item) and item.is_file():  # a killed process left it
                    item.unlink(missing_ok=True)
            return
        if not is_occupied(place):
            aside.replace(place)
            return
        stack.enter_context(held(place, sweep=False))
        old = place.with_name(f".{place.name}.{os.getpid()}{OLD}")
        place.replace(old)
        try:
            aside.replace(place)
        except BaseException:
            old.replace(place)
            raise
    _remove_old(old)


def _remove_old(old: Path) -> None:
    try:
        shutil.rmtree(old)
    except OSError as error:
        _log.warning("the replaced folder is left at %s: %s", old, explain_os_error(error, old))


def _sweep_beside(place: Path) -> None:
    """Remove what killed processes left of a folder at ``place``; a folder that they moved aside is restored."""
    with suppress(OSError, StorageError):
        for item in sorted([*place.parent.glob(f".{place.name}.*.part"), *place.glob(".*.part")]):
            if item.is_symlink() or not item.is_dir() or is_held(item):
                continue
            if item.name.endswith(OLD) and not place.exists():
                item.replace(place)
            elif item.name.endswith(OLD) or (item / LOCK).exists():  # edgeprune's have a lock
                shutil.rmtree(item, ignore_errors=True)


def _is_within(path: Path, folder: Path) -> bool:
    resolved = path.expanduser().resolve()
    return resolved.exists() and (resolved == folder or folder in resolved.parents)


def _fits(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
