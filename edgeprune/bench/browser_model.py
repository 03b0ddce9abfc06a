"""A model file as a browser gets it, and its outputs there beside those of ONNX Runtime here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.backends.parity import Parity, parity_over
from edgeprune.bench.copies import external_files
from edgeprune.bench.reference import Arrays, Reference
from edgeprune.files.reading import sha256

MADE_UP, IMAGES = "made-up input", "test images"


@dataclass
class Compared:
    """Outputs of a model in the browser beside those of ONNX Runtime here.

    Attributes:
        inputs: what they are of.
        expected: by ONNX Runtime here, for each call.
        got: by the browser.
    """

    inputs: str = MADE_UP
    expected: list[Arrays] = field(default_factory=list)
    got: list[Arrays] = field(default_factory=list)

    def add(self, inputs: str, expected: Arrays, got: Arrays) -> None:
        """Add a call; those on real images take the place of made-up ones.

        Args:
            inputs: what they are of.
            expected: by ONNX Runtime here.
            got: by the browser.
        """
        if inputs != self.inputs:
            self.inputs, self.expected, self.got = inputs, [], []
        self.expected.append(expected)
        self.got.append(got)

    def parity(self) -> Parity:
        """Return how far they are apart; not finite where an output is not."""
        return parity_over(self.expected, self.got)


@dataclass
class BrowserModel:
    """A model file as the browser gets it.

    Attributes:
        reference: its session here.
        blobs: name -> the file and those that hold its weights.
        external: path within the model and name of each of the latter.
        compared: its outputs.
        image_bytes: of an image and its outputs, by the last call.
    """

    reference: Reference
    blobs: Mapping[str, Path]
    external: Sequence[Mapping[str, str]]
    compared: Compared = field(default_factory=Compared)
    image_bytes: int = 1

    @classmethod
    def of(cls, path: Path) -> "BrowserModel":
        """Return the model of a file."""
        parts = external_files(path)
        hashes = {part: sha256(part) for part in (path, *parts)}
        external = [
            {"path": part.relative_to(path.parent).as_posix(), "blob": hashes[part]} for part in parts
        ]
        return cls(Reference(path), {digest: part for part, digest in hashes.items()}, external)

    @property
    def name(self) -> str:
        """The name of its file among the blobs."""
        return next(iter(self.blobs))
