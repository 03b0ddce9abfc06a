"""What engine is wanted."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeprune_target.errors import TargetError

PRECISIONS = ("fp32", "fp16", "int8")


class EngineOptions(NamedTuple):
    """Of the runtimes that build an engine; the others do not ask.

    precision    fp32, fp16 or int8
    batch        images per inference
    shapes       {input: whole shape} for inputs with free sizes beside the batch; "" is the first input
    workspace_mb memory that a kernel may use beside the tensors, at most
    timing_cache a file with the times of kernels tried before; read and written, if given
    folder       where engines are kept; None is ``engine_folder()``
    calibration  a .npy of real images, N x C x H x W, for int8 where the ONNX has no scales
    root         the folder that stands for /
    """

    precision: str = "fp16"
    batch: int = 1
    shapes: dict = {}
    workspace_mb: Any = None
    timing_cache: Any = None
    folder: Any = None
    calibration: Any = None
    root: str = "/"

    def checked(self) -> EngineOptions:
        """Itself; TargetError for what cannot be built."""
        if self.precision not in PRECISIONS:
            raise TargetError(f"unknown precision {self.precision!r}: known are {', '.join(PRECISIONS)}")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise TargetError(
                f"a workspace of {self.workspace_mb} MB is none: give 1 or more, or leave it out"
            )
        if self.batch < 1:
            raise TargetError(f"a batch of {self.batch} is none: give 1 or more")
        return self
