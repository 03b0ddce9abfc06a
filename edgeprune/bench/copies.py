"""Private copies of the files that are measured, so that all rounds are of the same bytes."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgeprune_target.scratch import scratch_folder

from edgeprune.errors import BenchError
from edgeprune.files.reading import sha256


@contextmanager
def private_copies(files: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Yield a copy of each file, under its own name; they are gone afterwards.

    Files that an ONNX model keeps its weights in go with it.

    Raises:
        BenchError: one cannot be read, or the copies do not fit on the disk.
    """
    with scratch_folder() as folder:
        copies = {}
        for name, path in files.items():
            place = Path(folder) / name
            try:
                place.mkdir()
                for part in (path, *external_files(path)):
                    target = place / part.relative_to(path.parent)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(part, target)
            except OSError as error:
                raise BenchError(
                    f"cannot copy {path} to {place} for measuring: {error.strerror or error}; free some "
                    "space there, or set TMPDIR to another folder"
                ) from error
            copies[name] = place / path.name
        yield copies


def external_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights; none for a file that onnx cannot read."""
    if path.suffix != ".onnx":
        return []
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception:  # the runtime says what is wrong with the file, and onnx has no exception of its own
        return []
    names = {ExternalDataInfo(tensor).location for tensor in graph.initializer if uses_external_data(tensor)}
    places = [
        path.parent / name for name in sorted(names) if not Path(name).is_absolute() and ".." not in name
    ]
    return [place for place in places if place.is_file()]


def stored_bytes(path: Path) -> int:
    """Return the size of a model file with the files beside it that hold its weights, in bytes."""
    return sum(part.stat().st_size for part in (path, *external_files(path)))


def changed_since(files: Mapping[str, Path], hashes: Mapping[str, str]) -> list[str]:
    """Return the names of files that are gone, or are not what they were.

    Args:
        files: name -> file.
        hashes: name -> its sha256 when measuring began.
    """
    return [name for name, path in files.items() if not path.is_file() or sha256(path) != hashes[name]]
