"""OpenVINO on the CPU."""

from __future__ import annotations

import time
from pathlib import PurePath
from statistics import median
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.packed import unpack
from edgeprune_target.runtimes.base import Runtime
from edgeprune_target.undisturbed import undisturbed

PARTS = ("model.xml", "model.bin")
# Left alone, a processor with bf16 or fp16 units computes in these, and a float32 file gives other numbers.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
FEWEST_RUNS, MOST_RUNS = 20, 2000  # of the pass that times the layers; the first warms up
REORDER = "Reorder"


class OpenVinoRuntime(Runtime):
    """One compiled model for each batch: a free batch axis would cost time in every layer."""

    name = library = "openvino"
    distribution = "openvino"

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Import the library."""
        import openvino

        super().__init__(model, threads, options)
        self.openvino = openvino
        self.network: Any = None
        self.requests: dict = {}

    def load(self) -> None:
        """Read the model, and compile it for the batch that is measured."""
        xml, weights = unpack(self.model, *PARTS)
        try:
            self.core = self.openvino.Core()
            self.network = self.core.read_model(xml, weights)
            self.inputs = {item.any_name: _spec(item) for item in self.network.inputs}
            self.outputs = [item.any_name for item in self.network.outputs]
        except Exception as error:  # OpenVINO raises RuntimeError, and subclasses that it does not document
            raise self._refusal(error) from error
        sizes = {name: shape for name, (shape, _) in self.inputs.items()}
        batch = self.options.batch if self.options else 1
        complete = {name: (batch, *shape[1:]) for name, shape in sizes.items() if shape}
        if all(size is not None for shape in complete.values() for size in shape):
            self._request(complete)

    def free(self) -> None:
        """Drop the compiled models."""
        self.network, self.requests = None, {}

    def infer(self, feed: dict) -> dict:
        """Run the model once, synchronously."""
        request = self._request({name: value.shape for name, value in feed.items()})
        results = request.infer(feed, share_inputs=True)
        return {name: results[index] for index, name in enumerate(self.outputs)}

    def layers(self, feed: dict, seconds: float) -> list:
        """Return every primitive that ran with its median time, from a separate compiled model: counting slows it."""
        shapes = {name: value.shape for name, value in feed.items()}
        request = self._compiled(shapes, PERF_COUNT=True)
        until, times, about, runs = time.monotonic() + seconds, {}, {}, 0  # type: float, dict, dict, int
        while runs < FEWEST_RUNS or (runs < MOST_RUNS and time.monotonic() < until):
            request.infer(feed, share_inputs=True)
            runs += 1
            for node in request.get_profiling_info():
                if node.status.name == "EXECUTED" and runs > 1:
                    times.setdefault(node.node_name, []).append(node.real_time.total_seconds() * 1e3)
                    about[node.node_name] = node
        origins = {
            node.get_friendly_name(): _text(node.get_rt_info(), "originalLayersNames").split(",")
            for node in request.get_compiled_model().get_runtime_model().get_ops()
        }
        return [_layer(about[name], origins.get(name, []), values) for name, values in times.items()]

    def versions(self) -> dict:
        """Return the library's version."""
        return {"openvino": self.installed()}

    def kernels(self) -> dict:
        """Return {kind of layer: {precision it computes in on this machine: number}}, of convolutions and products."""
        counts: dict = {}
        for request in list(self.requests.values())[:1]:
            for node in request.get_compiled_model().get_runtime_model().get_ops():
                about = node.get_rt_info()
                kind = _text(about, "layerType")
                if kind in ("Convolution", "Deconvolution", "FullyConnected", "MatMul"):
                    by_precision = counts.setdefault(kind, {})
                    precision = _text(about, "runtimePrecision")
                    by_precision[precision] = by_precision.get(precision, 0) + 1
        return counts

    def _request(self, shapes: dict) -> Any:
        key = tuple(sorted((name, tuple(shape)) for name, shape in shapes.items()))
        if key not in self.requests:
            self.requests[key] = self._compiled(shapes)
        return self.requests[key]

    def _compiled(self, shapes: dict, **more: Any) -> Any:
        settings = {
            **PRECISION,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            **more,
        }
        try:
            network = self.network.clone()
            network.reshape({name: list(shape) for name, shape in shapes.items()})
            return self.core.compile_model(network, "CPU", settings).create_infer_request()
        except Exception as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> TargetError:
        return TargetError(
            f"openvino {self.installed()} cannot load {PurePath(self.model).name}: {_reason(error)}: "
            "export the model again, or install a newer openvino"
        )


def _reason(error: Exception) -> str:
    """Return the last line of a message: those before it name places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".:") if lines else type(error).__name__


def _spec(item: Any) -> tuple:
    shape = tuple(size.get_length() if size.is_static else None for size in item.partial_shape)
    return shape, item.element_type.to_dtype().name


def _text(about: Any, key: str) -> str:
    return str(about[key].astype(str)) if key in about else ""


def _layer(node: Any, origins: list, times: list) -> dict:
    """Return one primitive as ``trt.layers`` describes a layer.

    Args:
        node: what OpenVINO tells of it.
        origins: names of the operators that it was made from; NNCF's have an ending of their own.
        times: of all runs, in ms.
    """
    return {
        "name": node.node_name,
        "kind": node.node_type,
        "onnx": [name.split("/")[0] for name in origins if name],
        "ms": median(times),
        "quiet_ms": undisturbed(times),
        "outputs": [],
        "formats": [node.exec_type],
        "reformat": node.node_type == REORDER,
    }
