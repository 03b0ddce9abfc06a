"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import onnxruntime

from edgeprune_target.errors import TargetError

# ONNX type -> numpy type; anything else cannot be fed with generated numbers.
NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class OnnxRuntime:
    """One session, made on entering and freed on leaving."""

    def __init__(self, model: str, threads: int) -> None:
        """``threads`` is the size of the pool that one operator is spread over."""
        self.model = model
        self.threads = threads
        self.session: Any = None
        self.inputs: dict = {}
        self.outputs: list = []

    def __enter__(self) -> OnnxRuntime:
        if not Path(self.model).is_file():
            raise TargetError(f"no such model file: {self.model}")
        try:
            self.session = onnxruntime.InferenceSession(
                self.model, self._options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exception classes are not public in every version
            raise TargetError(
                f"onnxruntime {onnxruntime.__version__} cannot load {self.model}: {_first_line(error)}: "
                "export the model again, or install a newer onnxruntime"
            ) from error
        self.inputs = {node.name: _spec(node) for node in self.session.get_inputs()}
        self.outputs = [node.name for node in self.session.get_outputs()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session = None

    def infer(self, feed: dict) -> dict:
        """Run the model once; the answer is complete when this returns."""
        values = self.session.run(self.outputs, feed)
        return {name: values[index] for index, name in enumerate(self.outputs)}

    def synchronize(self) -> None:
        """Nothing to wait for: the CPU provider answers when it is done."""

    def versions(self) -> dict:
        """The library and its version."""
        return {"onnxruntime": onnxruntime.__version__}

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        return options


def _spec(node: Any) -> tuple:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return shape, NUMPY_TYPES.get(node.type, node.type)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
