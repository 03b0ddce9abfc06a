"""Options of an engine."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeprune_target.errors import TargetError

PRECISIONS = ("fp32", "fp16", "int8")


class EngineOptions(NamedTuple):
    """Options of the runtimes that build an engine; other runtimes ignore them.

    precision    fp32, fp16 or int8
    batch        images per inference
    shapes       {input: complete shape} for inputs with dynamic sizes besides the batch; "" is the first input
    workspace_mb upper limit of a kernel's scratch memory besides the tensors
    timing_cache a file of kernel timings from earlier builds; read and written, if given
    folder       where engines are stored; None is ``engine_folder()``
    calibration  a .npy of real images, N x C x H x W, for int8 if the ONNX has no scales
    root         the folder used in place of /
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
        """Check the options and return them.

        Raises:
            TargetError: they are invalid.
        """
        if self.precision not in PRECISIONS:
            raise TargetError(f"unknown precision {self.precision!r}: known are {', '.join(PRECISIONS)}")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise TargetError(
                f"a workspace of {self.workspace_mb} MB is too small: give 1 or more, or leave it out"
            )
        if self.batch < 1:
            raise TargetError(f"a batch of {self.batch} is too small: give 1 or more")
        return self
