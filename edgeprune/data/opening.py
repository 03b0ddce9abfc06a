"""Open a data set by name or path: read its parts, and hold images out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.data.boxes import Boxes, holds_boxes, read_boxed
from edgeprune.data.bundle import DataBundle, Split
from edgeprune.data.decode import LEFT_OUT
from edgeprune.data.folder import read_folder
from edgeprune.data.hub import read_hub
from edgeprune.data.known import HUB, check_data
from edgeprune.data.masks import holds_masks, read_masked
from edgeprune.data.named import READERS
from edgeprune.data.shards import names_shards, read_shards
from edgeprune.data.source import ReadOptions, Source
from edgeprune.data.split import stratified_split
from edgeprune.data.targets import Labels, Masks
from edgeprune.errors import DataError
from edgeprune.options.bounds import PIXELS, SHARE_BELOW_ONE
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records import check
from edgeprune.records.runs import DataSpec

HELD_OUT = 0.2  # of a folder without a test part
# Folders by the kind of their targets: how one is recognised, and what reads it. Any other holds labelled images.
FOLDERS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, ReadOptions], Source]]] = {
    Masks.kind: (holds_masks, read_masked),
    Boxes.kind: (holds_boxes, read_boxed),
}


class OtherKind(DataError):
    """Data whose targets are of another kind than expected; ``actual`` is theirs."""

    def __init__(self, name: str | Path, actual: str, expected: str) -> None:
        self.actual = actual
        super().__init__(f"{name} has {actual} as targets, where {expected} are needed: use other data")


def load_data(
    name_or_path: str | Path,
    *,
    root: str | Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    val_fraction: float = 0.05,
    seed: int = 0,
    kind: str | None = None,
    in_memory: bool | None = None,
    workers: int | None = 0,
    progress: ProgressCallback | None = None,
) -> DataBundle:
    """Load a data set by name, or a folder of images by path.

    Args:
        name_or_path: one of `edgeprune.data.data_names`, or a folder with train/CLASS/* and test/CLASS/* (or val/),
            or with CLASS/* alone, of which a fifth is then held out as test images; or a folder with
            train/images/* and train/masks/*.png, and test/ (or val/) likewise; or boxes in COCO's or YOLO's layout;
            or shards, as DIR/train-{0000..0099}.tar; or a data set of Hugging Face's, as hf:NAME or hf:DIR.
        root: where torchvision's data sets are kept; ~/.cache/edgeprune by default.
        download: whether they may be downloaded.
        image_size: side in pixels given to the model; by default the images' own where all are
            small and equal, else 224.
        val_fraction: share of the training images held out for validation, per class.
        seed: seed of that choice; the test images never depend on it.
        kind: of targets that is expected, such as "labels" or "masks"; any by default.
        in_memory: whether small images of one size are held in memory; by default where they take less than half
            of what is free. The batches are the same.
        workers: processes that read images from files; 0 reads in threads, None takes what suits the machine.
        progress: called with (done, total, text) while files are decoded.

    Raises:
        DataError: for an unknown name, a missing or malformed folder, a broken image, or targets of another kind.
    """
    _check(image_size, val_fraction)
    options = ReadOptions(Path(root) if root else None, download, image_size, None, progress, in_memory)
    key, source = _read(str(name_or_path), options, kind)
    actual = source.train.targets.kind
    if kind is not None and actual != kind:
        raise OtherKind(name_or_path, actual, kind)
    recipe: dict[str, Any] = {
        "data": key,
        "root": str(options.root.absolute()) if options.root else None,
        "image_size": image_size,
        "val_fraction": val_fraction,
        "seed": seed,
        "native_size": list(source.native) if source.native else None,
        "fingerprint": source.fingerprint,
        "images": len(source.train.targets) + (len(source.test.targets) if source.test else 0),
        "whites": dict(source.rendering.whites),
        "as_shown": source.rendering.as_shown,
    }
    if actual != Labels.kind:  # masks that are not read again do not say which classes there are
        recipe |= {"kind": actual, "classes": list(source.classes)}
    return _bundle(source, recipe, workers)


def load_from_spec(
    spec: dict[str, Any],
    *,
    in_memory: bool | None = None,
    workers: int | None = 0,
    progress: ProgressCallback | None = None,
) -> DataBundle:
    """Rebuild a bundle from its `DataBundle.spec`; a folder's images are decoded at first use.

    Args:
        spec: of an earlier bundle.
        in_memory: see `load_data`; the batches are the same.
        workers: see `load_data`; the batches are the same.
        progress: called with (done, total, text) while files are decoded.

    Raises:
        DataError: when the data set is gone, or no longer holds the same images.
    """
    check(spec, DataSpec, "the run's data_spec", error=DataError)
    root = Path(spec["root"]) if spec["root"] else None
    options = ReadOptions(root, False, spec["image_size"], spec, progress, in_memory)
    _, source = _read(spec["data"], options, spec.get("kind", Labels.kind))
    if source.fingerprint != spec["fingerprint"]:
        raise DataError(_changed(spec, source))
    return _bundle(source, spec, workers)


def _changed(spec: dict[str, Any], source: Source) -> str:
    now, then = (
        len(source.train.targets) + (len(source.test.targets) if source.test else 0),
        spec.get("images"),
    )
    counts = "" if then in (None, now) else f" ({now} images where it had {then})"
    return (
        f"{spec['data']} has changed since this run began{counts}: restore it, or start a new run; an image "
        f"that was deleted is left out where an empty file NAME{LEFT_OUT} stands in its place"
    )


def _check(image_size: int | None, val_fraction: float) -> None:
    SHARE_BELOW_ONE("`val_fraction`", val_fraction, DataError)
    if image_size is not None:
        PIXELS("`image_size`", image_size, DataError)


def _read(name_or_path: str, options: ReadOptions, kind: str | None) -> tuple[str, Source]:
    """Return the name or absolute path under which the source can be read again, and the source.

    A folder is read by the layout that it has, and by that of the expected kind where it has none of them.
    """
    if name_or_path in READERS:
        return name_or_path, READERS[name_or_path](options)
    if name_or_path.startswith(HUB):
        return read_hub(name_or_path, options)
    if names_shards(name_or_path):
        return read_shards(name_or_path, options)
    check_data(name_or_path)
    folder = Path(name_or_path).expanduser().absolute()
    actual = next((name for name, (holds, _) in FOLDERS.items() if holds(folder)), None)
    if actual is not None and kind not in (None, actual):  # before any image is read
        raise OtherKind(name_or_path, actual, str(kind))
    reader = FOLDERS.get(actual or kind or "", (None, read_folder))[1]
    return str(folder), reader(folder, options)


def _bundle(source: Source, recipe: dict[str, Any], workers: int | None) -> DataBundle:
    positions = np.arange(len(source.train.targets))
    notes, (absent, absent_of_test) = source.notes, source.left_out
    if source.test is None:
        positions, held = _hold_out(positions, source.train.targets.strata(), HELD_OUT, seed=0)
        notes += (
            f"no test images were given: {len(held)} of {len(source.train.targets)} are held out as such",
        )
        test_split = Split(source.train, _present(_mixed(held), absent))
    else:
        test_split = Split(source.test, _present(_mixed(np.arange(len(source.test.targets))), absent_of_test))
    train, val = _hold_out(
        positions, source.train.targets.strata(), recipe["val_fraction"], seed=recipe["seed"]
    )
    splits = {
        "train": Split(source.train, _replaced(_mixed(train), source.train.targets.strata(), absent)),
        "val": Split(source.train, _present(_mixed(val), absent)),
        "test": test_split,
    }
    return DataBundle(
        source.name, source.classes, source.shape, source.mean, source.std, splits, recipe, notes, workers
    )


def _present(positions: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Drop the positions of images that are left out."""
    return positions[~absent[positions]] if absent.any() else positions


def _replaced(positions: np.ndarray, labels: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Replace each image that is left out by another one of its class.

    An epoch therefore keeps its number of steps, and a run in which a file breaks can resume where it stopped.
    """
    if not absent.any():
        return positions
    positions, present = positions.copy(), np.sort(_present(positions, absent))
    for index in np.flatnonzero(absent[positions]):
        same = present[labels[present] == labels[positions[index]]]
        if not len(same):
            raise DataError("all training images of a class are left out: remove that class folder")
        positions[index] = same[np.searchsorted(same, positions[index]) % len(same)]
    return positions


def _hold_out(
    positions: np.ndarray, labels: np.ndarray, fraction: float, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into (kept, held), stratified; at least one image is held unless fraction is 0."""
    count = max(1, round(fraction * len(positions))) if fraction else 0
    kept, held = stratified_split(labels[positions], count, seed=seed)
    if len(held) < count:
        raise DataError(
            f"{len(positions)} images of {len(set(labels.tolist()))} classes are too few "
            f"to hold out {count}: add images, or hold out a smaller share"
        )
    return positions[kept], positions[held]


def _mixed(positions: np.ndarray) -> np.ndarray:
    """Shuffle positions in a fixed order that mixes the classes, so that a prefix represents the split."""
    return positions[np.random.RandomState(0).permutation(len(positions))]
