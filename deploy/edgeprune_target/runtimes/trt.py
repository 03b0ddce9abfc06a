"""TensorRT through its Python module: an engine, its tensors on the device, one stream.

For an ONNX file, it uses the engine that was built from it on this machine, or builds one (``prepare``).
"""

from __future__ import annotations

import time
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgeprune_target.cuda import CudaError, open_gpu
from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.tensorrt import TensorRtRuntime
from edgeprune_target.trt import layers, store
from edgeprune_target.trt.device_memory import device_memory
from edgeprune_target.trt.library import create, make_logger
from edgeprune_target.trt.making import engine_for
from edgeprune_target.trt.options import EngineOptions
from edgeprune_target.trt.tensors import engine_tensors

ENGINES = (".engine", ".plan", ".trt")
FEWEST_RUNS = 20  # of a pass that times the GPU or its layers


class TensorRtPythonRuntime(TensorRtRuntime):
    """One engine. A sample of ``infer`` includes: input to the device, the inference, output to the host."""

    def __init__(self, trt: Any, model: str, threads: int, options: EngineOptions) -> None:
        """Store the arguments.

        Args:
            trt: the module ``tensorrt``.
            model: an ONNX file, or an engine.
            threads: not used.
            options: of the engine.
        """
        super().__init__(model, threads, options.checked())
        self.trt = trt
        self.logger = make_logger(trt)
        self.record: dict = {}
        self._place: Path | None = None
        self._gpu: Any = None
        self._versions = {"tensorrt": str(trt.__version__)}

    def prepare(self) -> bool:
        """Find or build the engine; return whether it was built now."""
        if Path(self.model).suffix in ENGINES:
            if not Path(self.model).is_file():
                raise TargetError(f"no such model file: {self.model}")
            self._place, self.record = Path(self.model), _record_beside(Path(self.model))
            return False
        self._place, self.record = engine_for(self.trt, self.model, self.options)
        return bool(self.record["built_now"])

    def load(self) -> None:
        """Load the engine, and build it first if necessary."""
        if self._place is None:
            self.prepare()
        assert self._place is not None
        self.warnings = list(self.record.get("warnings", []))
        self._gpu = open_gpu()
        try:
            self._load(self._place)
        except BaseException:
            self.free()
            raise

    def infer(self, feed: dict) -> dict:
        """Run once, synchronously. A feed smaller than the batch is padded."""
        rows = self._fill(feed)
        for name, array in self._host.items():
            if name in self.inputs:
                self._gpu.upload(self._addresses[name], array)
        self._launch()
        for name in self._tensors.outputs:
            self._gpu.download(self._host[name], self._addresses[name])
        self._gpu.synchronize()
        return {name: self._host[name][:rows].copy() for name in self._tensors.outputs}

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._gpu.synchronize()

    def versions(self) -> dict:
        """Return TensorRT's version; after entry also CUDA's, and the library of the memory."""
        return dict(self._versions)

    def engine_report(self) -> dict:
        """Return the engine's record, and whether it is launched as a graph."""
        return {
            **super().engine_report(),
            "cuda_graph": self._graph is not None,
            "cuda_graph_reason": self._graph_reason,
            "samples": "host clock: copy in, inference, copy out, wait for the stream",
        }

    def device_memory(self) -> dict:
        """Return the engine's memory in bytes; see `device_memory`."""
        return device_memory(self.trt, self._engine, self._size, self._used)

    def gpu_pass(self, feed: dict, seconds: float) -> dict:
        """Return times in ns from a separate pass without transfers.

        ``gpu_ns`` is measured by events around the inference, ``enqueue_ns`` on the processor until it is enqueued.
        """
        self._fill(feed)
        gpu_ns: list = []
        enqueue_ns: list = []
        until = perf_counter_ns() + int(seconds * 1e9)
        while perf_counter_ns() < until or len(gpu_ns) < FEWEST_RUNS:
            first, start = self._gpu.mark(), perf_counter_ns()
            self._launch()
            enqueue_ns.append(perf_counter_ns() - start)
            last = self._gpu.mark()
            self._gpu.synchronize()
            gpu_ns.append(round(1e6 * self._gpu.elapsed_ms(first, last)))
        return {"gpu_ns": gpu_ns, "enqueue_ns": enqueue_ns}

    def layers(self, feed: dict, seconds: float) -> list:
        """Return every layer with its median time, from a separate pass: the profiler slows it down."""
        self._fill(feed)
        profiler = layers.make_profiler(self.trt)
        reports_on_request = layers.attach(self._context, profiler)
        until, runs = time.monotonic() + seconds, 0
        while time.monotonic() < until or runs < FEWEST_RUNS:
            self._enqueue()
            self._gpu.synchronize()
            if reports_on_request:
                self._context.report_to_profiler()
            runs += 1
        return layers.timed_layers(layers.inspect_layers(self.trt, self._engine), profiler.times)

    def _load(self, place: Path) -> None:
        free, _ = self._gpu.memory_info()
        content = place.read_bytes()
        self._size = len(content)
        self._runtime = create(self.trt, self.logger, self.trt.Runtime)
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            if self._place != Path(self.model):
                store.forget(place)  # a stored engine that does not load: the next call builds it again
            raise TargetError(
                f"TensorRT {self.trt.__version__} cannot load the engine {place.name}: "
                f"{self.logger.last_error()}: an engine runs only where it was built; give the ONNX file"
            )
        context = engine.create_execution_context()
        if context is None:
            raise TargetError(f"no memory for the engine {place.name}: {self.logger.last_error()}")
        self._engine, self._context = engine, context
        self._tensors = engine_tensors(self.trt, engine, context)
        self._tensors.fit({name: self._shape(name) for name in self._tensors.input_names})
        self.inputs = self._tensors.inputs
        self._allocate()
        self._versions.update(self._gpu.versions(), memory=self._gpu.name)
        self._used = max(0, free - self._gpu.memory_info()[0])
        self._capture()

    def _shape(self, name: str) -> tuple:
        """Return the shape of an input: that of the options, else the shape for which the engine is optimised."""
        first = name == self._tensors.input_names[0]
        fixed_shape = self.options.shapes.get(name, self.options.shapes.get("") if first else None)
        if fixed_shape:
            return tuple(fixed_shape)
        smallest, usual, largest = self._tensors.limits(name)
        return (self.options.batch, *usual[1:]) if smallest[:1] != largest[:1] else usual

    def _allocate(self) -> None:
        tensors = {**self._tensors.inputs, **self._tensors.outputs}
        self._host = {name: self._gpu.host_array(shape, kind) for name, (shape, kind) in tensors.items()}
        self._addresses = {name: self._gpu.allocate(array.nbytes) for name, array in self._host.items()}
        self._tensors.bind(self._addresses)

    def _capture(self) -> None:
        """Run once, so that nothing is allocated while capturing; then capture a graph, if that is possible."""
        self._graph, self._graph_reason = None, None
        self._enqueue()
        self._gpu.synchronize()
        try:
            self._graph = self._gpu.capture(self._enqueue)
        except TargetError as error:
            self._graph_reason = str(error)
            self.warnings.append(
                {
                    "code": "no_cuda_graph",
                    "message": f"launched kernel by kernel, as there is no CUDA graph: {error}",
                }
            )

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph()
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._tensors.enqueue(self._gpu.stream):
            raise CudaError(f"TensorRT did not run: {self.logger.last_error()}")

    def _fill(self, feed: dict) -> int:
        """Copy the feed into page-locked memory, and return the number of its images."""
        rows = 0
        for name, (shape, _) in self.inputs.items():
            value = feed[name]
            if len(value) > shape[0] or tuple(value.shape[1:]) != tuple(shape[1:]):
                raise TargetError(f"the engine takes {name!r} as {shape}, not {tuple(value.shape)}")
            rows = len(value)
            self._host[name][:rows] = value
            self._host[name][rows:] = 0
        return rows

    def free(self) -> None:
        """Release TensorRT's objects first: they free memory on the device, which needs the context."""
        self._graph = self._context = self._tensors = self._engine = self._runtime = None
        self._host = {}
        if self._gpu is not None:
            self._gpu.close()
            self._gpu = None


def _record_beside(engine: Path) -> dict:
    """Return the record beside an engine that the user gave, if it matches; else an empty one."""
    import json

    try:
        record: dict = json.loads(store.record_path(engine).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    fits = isinstance(record, dict) and record.get("engine_sha256") == store.sha256_of(engine)
    return record if fits else {}
