"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime, first_line
from edgeprune_target.scratch import scratch_folder

# ONNX type -> numpy type; inputs of other types cannot be generated.
NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


KERNEL = "_kernel_time"  # suffix of the relevant events of a profile
REORDERS = ("ReorderInput", "ReorderOutput")  # between plain tensors and blocks of channels
FEWEST_RUNS = 20  # of the pass that times the layers; the first warms up
MOST_RUNS = 2000  # more runs enlarge the profile's file without changing the medians


class OnnxRuntime(Runtime):
    """One session; ``threads`` is the size of the pool that computes an operator."""

    name = library = "onnxruntime"

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Import the library."""
        import onnxruntime

        super().__init__(model, threads, options)
        self.onnxruntime = onnxruntime
        self.session: Any = None
        self.outputs: list = []

    def load(self) -> None:
        """Create the session."""
        if not Path(self.model).is_file():
            raise TargetError(f"no such model file: {self.model}")
        self.session = self._session(self._options())
        self.inputs = {node.name: _spec(node) for node in self.session.get_inputs()}
        self.outputs = [node.name for node in self.session.get_outputs()]

    def _session(self, options: Any) -> Any:
        onnxruntime = self.onnxruntime
        try:
            return onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception classes are not public in every version
            raise TargetError(
                f"onnxruntime {onnxruntime.__version__} cannot load {self.model}: {first_line(error)}: "
                "export the model again, or install a newer onnxruntime"
            ) from error

    def free(self) -> None:
        """Drop the session."""
        self.session = None

    def infer(self, feed: dict) -> dict:
        """Run the model once, synchronously."""
        values = self.session.run(self.outputs, feed)
        return {name: values[index] for index, name in enumerate(self.outputs)}

    def layers(self, feed: dict, seconds: float) -> list:
        """Return every kernel with its median time, from a separate session: the profiler slows it down."""
        with scratch_folder() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(options)
            until, runs = time.monotonic() + seconds, 0
            while runs < FEWEST_RUNS or (runs < MOST_RUNS and time.monotonic() < until):
                session.run(self.outputs, feed)
                runs += 1
            return parse_kernels(Path(session.end_profiling()).read_text())

    def versions(self) -> dict:
        """Return the library's version."""
        return {"onnxruntime": self.onnxruntime.__version__}

    def _options(self) -> Any:
        onnxruntime = self.onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        return options


def parse_kernels(text: str) -> list:
    """Parse ONNX Runtime's profile to its kernels in execution order, as ``trt.layers`` describes them.

    The first inference is left out: it allocates. ``quiet_ms`` is the mean of the fastest quarter: the time of a
    kernel without noisy co-tenants, and finer than the profile's integer microseconds.
    ``outputs`` are the shapes that were actually computed, including padded channels.
    """
    kernels: dict = {}
    for event in json.loads(text):
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(KERNEL):
            continue
        about = event.get("args", {})
        kernel = kernels.setdefault((about.get("node_index"), name), {"about": about, "us": []})
        kernel["us"].append(event["dur"])
    return [
        {
            "name": name[: -len(KERNEL)],
            "kind": kernel["about"].get("op_name"),
            "onnx": [],
            "ms": median(kernel["us"][1:] or kernel["us"]) / 1e3,
            "quiet_ms": mean(_fastest(kernel["us"][1:] or kernel["us"])) / 1e3,
            "outputs": [
                list(shape)
                for output in kernel["about"].get("output_type_shape", [])
                for shape in output.values()
            ],
            "formats": [],
            "reformat": kernel["about"].get("op_name") in REORDERS,
        }
        for (_, name), kernel in kernels.items()
    ]


def _fastest(times: list) -> list:
    """Return the fastest quarter, at least one."""
    return sorted(times)[: max(1, len(times) // 4)]


def _spec(node: Any) -> tuple:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return shape, NUMPY_TYPES.get(node.type, node.type)
