"""The same ONNX file by ONNX Runtime here: its inputs, and outputs that a device's are compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edgeprune_target.errors import TargetError
from edgeprune_target.feeds import random_feed
from edgeprune_target.runtimes.onnxrt import OnnxRuntime

from edgeprune.backends.onnx_running import is_quantised
from edgeprune.errors import BenchError

Arrays = Mapping[str, np.ndarray]


class Reference(OnnxRuntime):
    """A file's session on this machine, in one thread; quantised files run unfused, as `backends.onnx_running` does."""

    def __init__(self, path: Path) -> None:
        """Load the file at ``path``.

        Raises:
            BenchError: ONNX Runtime cannot load it.
        """
        super().__init__(str(path), threads=1)
        self.path = path
        try:
            self.load()
        except TargetError as error:
            raise BenchError(str(error)) from error

    def feed(self, batch: int, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """Return the made-up input of every measurement, by input.

        Args:
            batch: images per inference.
            shapes: {input: shape} where sizes are free.

        Raises:
            BenchError: a size is free and not given, or the type cannot be made up.
        """
        try:
            made: Arrays = random_feed(self.inputs, batch, dict(shapes))
        except TargetError as error:
            raise BenchError(str(error)) from error
        return made

    def outputs_of(self, feed: Arrays) -> Arrays:
        """Return the outputs by name.

        Raises:
            BenchError: the file cannot run on this input.
        """
        try:
            values = self.infer(dict(feed))
        except Exception as error:  # onnxruntime's own exception classes are not public in every version
            raise BenchError(
                f"ONNX Runtime cannot run {self.path.name}: {str(error).splitlines()[0]}"
            ) from error
        return {name: np.ascontiguousarray(value) for name, value in values.items()}

    def _options(self) -> Any:
        options = super()._options()
        options.log_severity_level = 4
        if is_quantised(self.path):
            options.graph_optimization_level = self.onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return options
