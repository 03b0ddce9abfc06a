"""Read shards in WebDataset's layout, tar files of KEY.jpg and KEY.cls: train-{0000..0099}.tar, and val- likewise.

A shard is indexed once, beside it or in the cache: then each image is read by its offset, in any order. So an epoch
is shuffled as that of a folder is, resumed, and divided among processes.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeprune.data.checking import Examined, survey_of
from edgeprune.data.decode import shown
from edgeprune.data.depth import Extent
from edgeprune.data.folder import read_layout
from edgeprune.data.layout import Layout, Listing
from edgeprune.data.names import class_names
from edgeprune.data.paths import PackedPaths
from edgeprune.data.shard_index import Member, index_of
from edgeprune.data.source import ReadOptions, Source, fingerprint_of
from edgeprune.data.targets import Labels
from edgeprune.errors import DataError
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.shards import ShardIndex

TEST_PARTS = ("test", "val", "validation", "valid")  # the first that there is holds the test images
RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
PART = re.compile(r"(?<![a-z])train(?![a-z])")
MOST_SHARDS = 100_000
FORM = "DIR/train-{0000..0099}.tar, DIR/train-*.tar, or the folder of such shards"


def names_shards(text: str) -> bool:
    """Return whether ``text`` is a pattern of tar files, or a folder that holds some and no folders of classes."""
    if text.endswith(".tar"):
        return True
    folder = Path(text).expanduser()
    if not folder.is_dir() or not any(folder.glob("*.tar")):
        return False
    return not any(entry.is_dir() and not entry.name.startswith((".", "_")) for entry in folder.iterdir())


def read_shards(pattern: str, options: ReadOptions) -> tuple[str, Source]:
    """Read shards of labelled images; return the absolute pattern, too.

    Test images are those of test-, val- or validation- shards beside the train- shards. Names of the classes are in a
    classes.txt beside the shards, one a line; else they are their numbers.

    Raises:
        DataError: a shard is missing or damaged, or a sample lacks its image or its label; names shard and member.
    """
    place = Path(pattern).expanduser().absolute()
    train, test, notes = _parts(place)
    indices = _indices((*train, *test), options.progress or no_progress)
    folder = place if place.is_dir() else place.parent
    labels = [np.array(index.labels, np.int64) for index in indices]
    classes = _classes(folder, [*train, *test], labels)
    listings = [
        _listing(folder, classes, shards, indices[start : start + len(shards)])
        for shards, start in ((train, 0), (test, len(train)))
        if shards
    ]
    layout = Layout(listings[0], listings[1] if test else None, notes)
    examined = survey_of(_examined(index) for index in indices)
    source = read_layout(
        folder, layout, options, classes, lambda part: Labels(part.labels), examined=examined
    )
    digest = fingerprint_of([source.fingerprint, *(str(values.tolist()) for values in labels)])
    return str(place), replace(source, fingerprint=digest)


def _parts(place: Path) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return the shards of train and of test, and notes."""
    folder = place if place.is_dir() else place.parent
    if not place.is_dir():
        train = _expanded(place)
    else:
        train = sorted(shard for shard in place.glob("*.tar") if PART.search(shard.name))
        train = train or sorted(place.glob("*.tar"))
    if not all(PART.search(shard.name) for shard in train):
        return train, [], ()
    pattern = re.sub(r"\d+", "*", train[0].name)
    held = {part: sorted(folder.glob(PART.sub(part, pattern))) for part in TEST_PARTS}
    present = [part for part in TEST_PARTS if held[part]]
    notes = tuple(
        f"{part} shards are not used: validation images are taken from train" for part in present[1:]
    )
    return train, held[present[0]] if present else [], notes


def _expanded(pattern: Path) -> list[Path]:
    """Return the shards of a pattern: each of a range must be there.

    Raises:
        DataError: one is missing, or there are none.
    """
    span = RANGE.search(pattern.name)
    if not span:
        shards = sorted(pattern.parent.glob(pattern.name))
        if not shards:
            raise DataError(f"no such shard: {shown(pattern)}: give {FORM}")
        return shards
    first, last, digits = int(span[1]), int(span[2]), len(span[1])
    if not first <= last < first + MOST_SHARDS:
        raise DataError(f"{span[0]} is not a range of shards: write it as {{0000..0099}}")
    names = [RANGE.sub(f"{number:0{digits}d}", pattern.name, 1) for number in range(first, last + 1)]
    return [shard for name in names for shard in _expanded(pattern.parent / name)]


def _indices(shards: Sequence[Path], progress: ProgressCallback) -> list[ShardIndex]:
    """Return the index of each shard; processes that train together begin at different ones, and share the work."""
    count, own = len(shards), world()
    begin = own.rank * count // own.size
    indices: dict[int, ShardIndex] = {}
    for done, number in enumerate([*range(begin, count), *range(begin)]):
        indices[number] = index_of(shards[number])
        progress(done + 1, count, "indexing shards")
    return [indices[number] for number in range(count)]


def _classes(folder: Path, shards: Sequence[Path], labels: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Return the names of the classes, or their numbers; raises DataError if there are fewer than two."""
    names = class_names(folder)
    most = max((int(values.max()) for values in labels if len(values)), default=-1)
    if names and most >= len(names):
        shard = next(path for path, values in zip(shards, labels, strict=True) if most in values)
        raise DataError(
            f"{shown(shard)} has class {most}, and classes.txt {len(names)} names: add those that miss"
        )
    if most < 1:
        what = "no samples" if most < 0 else "only class 0"
        raise DataError(f"{shown(shards[0])} and the others have {what}: at least two classes are needed")
    return names or tuple(str(number) for number in range(most + 1))


def _examined(index: ShardIndex) -> Examined:
    return Examined(frozenset(index.sizes), tuple(Extent(*extent) for extent in index.extents))


def _listing(
    folder: Path, classes: tuple[str, ...], shards: Sequence[Path], indices: Sequence[ShardIndex]
) -> Listing:
    members = Members(shards, indices)
    labels = np.concatenate([np.array(index.labels, np.int64) for index in indices])
    return Listing(folder, classes, members, labels, np.zeros(len(members), bool))


class Members(Sequence[Member]):
    """The images of all shards, in order, in a few arrays that worker processes share.

    Args:
        shards: the tar files.
        indices: of each.
    """

    def __init__(self, shards: Sequence[Path], indices: Sequence[ShardIndex]) -> None:
        self._shards = tuple(shards)
        self._ends = np.cumsum([len(index.members) for index in indices])
        self._names = PackedPaths(Path(name) for index in indices for name in index.members)
        self._spans = np.concatenate(
            [np.array([index.offsets, index.lengths], np.int64).reshape(2, -1) for index in indices], 1
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._names)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return an image, or those of a slice."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        shard = self._shards[int(np.searchsorted(self._ends, index, side="right"))]
        offset, length = self._spans[:, index].tolist()
        return Member(shard, str(self._names[index]), offset, length)
