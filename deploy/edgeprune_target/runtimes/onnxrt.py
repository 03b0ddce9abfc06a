"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime, first_line
from edgeprune_target.scratch import scratch_folder
from edgeprune_target.undisturbed import undisturbed

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
PLAIN_S = 0.15  # of runs without the profiler, by which its own time is known
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
        """Return every kernel with its median time, from a separate session: the profiler slows it down.

        What the profiler adds to each kernel, some microseconds, is taken off ``quiet_ms``; see `without_profiler`.
        """
        with scratch_folder() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(options)
            self._runs(session, feed, seconds)
            profile = Path(session.end_profiling()).read_text()
            plain_ms = undisturbed(self._runs(session, feed, min(PLAIN_S, seconds))[1:])
        return without_profiler(parse_kernels(profile), plain_ms)

    def _runs(self, session: Any, feed: dict, seconds: float) -> list:
        """Run a session for some time, and return what each run took, in ms."""
        times: list = []
        until = time.monotonic() + seconds
        while len(times) < FEWEST_RUNS or (len(times) < MOST_RUNS and time.monotonic() < until):
            began = time.perf_counter()
            session.run(self.outputs, feed)
            times.append((time.perf_counter() - began) * 1e3)
        return times

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
            "quiet_ms": undisturbed(kernel["us"][1:] or kernel["us"]) / 1e3,
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


def without_profiler(kernels: list, plain_ms: float) -> list:
    """Take the profiler's own time off each kernel's ``quiet_ms``.

    It is the same for each kernel: what all of them take beyond a run without the profiler, over their number. Where
    kernels take longer than it could tell, that difference is noise, and no kernel can be shorter than the profiler.
    Left in, it makes networks of small layers appear slower than they are, a ResNet-20 by more than a quarter.

    Args:
        kernels: as from `parse_kernels`.
        plain_ms: of a run without the profiler, undisturbed.
    """
    times = [kernel["quiet_ms"] for kernel in kernels]
    if not times:
        return kernels
    own = min(max(0.0, (sum(times) - plain_ms) / len(times)), min(times))
    return [{**kernel, "quiet_ms": kernel["quiet_ms"] - own} for kernel in kernels]


def _spec(node: Any) -> tuple:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return shape, NUMPY_TYPES.get(node.type, node.type)
