"""The index of a shard: written when it is first read, and used for as long as the shard stays as it is."""

import contextlib
import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeprune.data.checking import examine
from edgeprune.data.decode import PackedImage, shown
from edgeprune.data.layout import SUFFIXES
from edgeprune.errors import DataError, EdgePruneError, one_line
from edgeprune.records.shards import ShardIndex

CACHE = Path("~/.cache/edgeprune/shards")  # for indices of shards whose folder cannot be written
LABEL = "cls"
LONGEST_LABEL = 32  # bytes
KINDS = "jpg, png or another kind of image"


class Member(PackedImage):
    """An image in a shard.

    Args:
        shard: the tar file.
        name: of the member.
        offset: of its first byte.
        length: in bytes.
    """

    __slots__ = ("length", "name", "offset", "shard")
    remedy = "write the shard anew, with a whole image or without it"

    def __init__(self, shard: Path, name: str, offset: int, length: int) -> None:
        self.shard, self.name, self.offset, self.length = shard, name, offset, length

    def __str__(self) -> str:
        """Return the shard's path and the member's name."""
        return f"{self.shard}: {self.name}"

    @property
    def identity(self) -> str:
        """The name in the data set, wherever that lies."""
        return f"{self.shard.name}/{self.name}"

    def read(self) -> bytes:
        """Return its bytes; fewer where the shard was cut short meanwhile."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


def index_of(shard: Path) -> ShardIndex:
    """Return the index of a shard, made and kept where there is none that fits.

    Raises:
        DataError: the shard is missing or damaged, a sample lacks its image or label, or an image is broken.
    """
    try:
        status = shard.stat()
    except OSError as error:
        raise DataError(f"cannot read shard {shown(shard)}: {error.strerror}") from error
    digest = hashlib.sha256(str(shard.absolute()).encode("utf-8", "surrogateescape")).hexdigest()
    places = (shard.with_name(f"{shard.name}.index.json"), CACHE.expanduser() / f"{digest[:32]}.json")
    for place in places:
        with contextlib.suppress(EdgePruneError):  # a stale or damaged index is made anew
            index = ShardIndex.read(place, error=DataError)
            if (index.shard_bytes, index.modified_ns) == (status.st_size, status.st_mtime_ns):
                return index
    index = _made(shard, status.st_size, status.st_mtime_ns)
    for place in places:
        with contextlib.suppress(EdgePruneError, OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            index.write(place)
            break
    return index


@dataclass
class _Sample:
    image: tarfile.TarInfo | None = None
    label: int | None = None


def _made(shard: Path, size: int, modified_ns: int) -> ShardIndex:
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in _members(archive, shard, size):
                _add(samples, archive, shard, info)
    except tarfile.ReadError as error:
        with shard.open("rb") as file:
            packed = file.read(6)[:2] in (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")
        remedy = (
            "unpack it to a plain tar, whose images can be read in any order" if packed else "copy it anew"
        )
        what = "is compressed" if packed else f"is damaged ({one_line(error)})"
        raise DataError(f"shard {shown(shard)} {what}: {remedy}") from error
    except OSError as error:
        raise DataError(f"cannot read shard {shown(shard)}: {error.strerror or error}") from error
    images, labels = [], []
    for key, sample in samples.items():
        if sample.image is None:
            raise DataError(f"shard {shown(shard)}: {key!r} has a label and no image: add its {KINDS}")
        if sample.label is None:
            raise DataError(
                f"shard {shown(shard)}: {key!r} has no label: add {key}.{LABEL}, the number of its class"
            )
        images.append(sample.image)
        labels.append(sample.label)
    examined = examine([Member(shard, info.name, info.offset_data, info.size) for info in images])
    return ShardIndex(
        shard_bytes=size,
        modified_ns=modified_ns,
        members=tuple(info.name for info in images),
        offsets=tuple(info.offset_data for info in images),
        lengths=tuple(info.size for info in images),
        labels=tuple(labels),
        sizes=tuple(sorted(examined.sizes)),
        extents=tuple((extent.kind, extent.least, extent.largest) for extent in examined.extents),
    )


def _members(archive: tarfile.TarFile, shard: Path, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the files of an archive; raises tarfile.ReadError where it ends early, which tarfile itself passes over."""
    for info in archive:
        if info.offset_data + info.size > size:
            raise tarfile.ReadError(f"it ends within {info.name}")
        if info.isreg():
            yield info
    with shard.open("rb") as file:
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"no valid header at byte {archive.offset}")


def _add(samples: dict[str, _Sample], archive: tarfile.TarFile, shard: Path, info: tarfile.TarInfo) -> None:
    """Add a member to its sample, by WebDataset's rule: the key ends at the first dot of the file name."""
    folder, _, name = info.name.rpartition("/")
    stem, _, suffix = name.partition(".")
    suffix = suffix.lower()
    if not stem or (suffix != LABEL and f".{suffix}" not in SUFFIXES):
        return
    key = f"{folder}/{stem}" if folder else stem
    sample = samples.setdefault(key, _Sample())
    if suffix == LABEL:
        content = archive.extractfile(info)
        text = content.read(LONGEST_LABEL) if content and info.size <= LONGEST_LABEL else b""
        if not re.fullmatch(rb"\s*[0-9]{1,5}\s*", text):
            raise DataError(
                f"shard {shown(shard)}: {info.name} is not the number of a class, 0 to 99999: write it so"
            )
        sample.label = int(text)
    elif sample.image is not None:
        raise DataError(
            f"shard {shown(shard)}: {key!r} has two images, {sample.image.name} and {info.name}: keep one"
        )
    else:
        sample.image = info
