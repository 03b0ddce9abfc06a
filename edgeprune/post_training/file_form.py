"""An ONNX file with its network."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from edgeprune.onnx_graph.files import OnnxFile, write
from edgeprune.onnx_graph.network import OnnxNetwork


@dataclass(frozen=True)
class FileForm:
    """An ONNX file and its network."""

    file: OnnxFile
    network: OnnxNetwork

    @property
    def onnx(self) -> OnnxFile:
        """The file."""
        return self.file

    @property
    def timed(self) -> OnnxFile:
        """The file, of which a timer fixes the sizes."""
        return self.file

    @cached_property
    def params(self) -> int:
        """The floating-point numbers of the file's constants."""
        arrays = [self.file.array(name) for name in self.file.constants]
        return sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating))

    def write(self, path: str | Path, external: frozenset[str] = frozenset()) -> None:
        """Write the file; of ``external`` the constants that it still has lie beside it."""
        write(OnnxFile(self.file.model, str(path), external & set(self.file.constants)), path)

    def keep(self, path: Path) -> None:
        """Write the file for `FileSubject.kept`."""
        write(OnnxFile(self.file.model, self.file.name), path)
