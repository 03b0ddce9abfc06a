"""Schema of the index beside a shard of images."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from edgeprune.errors import EdgePruneError
from edgeprune.records.base import FileRecord
from edgeprune.records.fields import Side

Place = Annotated[int, Meta(ge=0, le=2**53)]


class ShardIndex(FileRecord, frozen=True):
    """SHARD.tar.index.json: where the images of a shard lie, so that any of them can be read without the others.

    Attributes:
        shard_bytes: size of the shard that was indexed.
        modified_ns: time of its last change.
        members: name of each image's member.
        offsets: of each image's first byte in the shard.
        lengths: of each image, in bytes.
        labels: class of each.
        sizes: (height, width) that occur.
        extents: kind, least and largest value of images deeper than 8 bits.
    """

    shard_bytes: Place
    modified_ns: Annotated[int, Meta(ge=-(2**62), le=2**62)]
    members: tuple[str, ...]
    offsets: tuple[Place, ...]
    lengths: tuple[Place, ...]
    labels: tuple[Annotated[int, Meta(ge=0, lt=100_000)], ...]
    sizes: tuple[tuple[Side, Side], ...]
    extents: tuple[tuple[str, float, float], ...] = ()

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:
        """Raise ``error`` unless all lists are equally long, and all images lie within the shard.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        columns = (self.offsets, self.lengths, self.labels)
        if any(len(column) != len(self.members) for column in columns) or bool(self.sizes) != bool(
            self.members
        ):
            raise error(f"{where} has lists of several lengths: {hint}")
        if any(start + length > self.shard_bytes for start, length in zip(*columns[:2], strict=True)):
            raise error(f"{where} has images beyond the end of the shard: {hint}")
