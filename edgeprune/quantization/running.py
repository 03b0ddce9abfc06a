"""Run an ONNX graph by ONNX Runtime: any of its tensors, over batches of images, or node by node."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.files.onnx_nodes import names_read
from edgeprune.quantization.layers import copied, input_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MOST_BYTES = 1 << 28  # of the tensors that one run gives


def session_of(model: "ModelProto") -> Any:
    """Return a session that computes Q/DQ nodes as they stand.

    Optimised, biases become int32, and fused kernels saturate on processors without VNNI.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def exposing(model: "ModelProto", names: Iterable[str]) -> "ModelProto":
    """Return a copy of a model whose outputs are these tensors alone."""
    import onnx

    copy = copied(model)
    known = {value.name: value for value in [*model.graph.output, *model.graph.value_info]}
    del copy.graph.output[:]
    copy.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in names)
    return copy


def tensors_of(
    model: "ModelProto", names: Sequence[str], batches: Iterable[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield some tensors of a model by name, for parts of the batches that are small enough to hold them.

    Args:
        model: with one input.
        names: of tensors that nodes compute.
        batches: float32 (n, C, H, W).
    """
    if not names:
        return
    session = session_of(exposing(model, names))
    feed = session.get_inputs()[0].name
    size = None
    for batch in batches:
        if size is None:
            first = session.run(list(names), {feed: batch[:1]})
            size = max(1, MOST_BYTES // max(1, sum(array.nbytes for array in first)))
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            yield dict(zip(names, session.run(list(names), {feed: part}), strict=True))


def largest_of_channels(
    model: "ModelProto", names: Sequence[str], batches: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel of some tensors (N, C, ...) over all images.

    Args:
        model: with one input.
        names: of tensors that nodes compute.
        batches: float32 (n, C, H, W).
    """
    largest: dict[str, np.ndarray] = {}
    for part in tensors_of(model, names, batches):
        for name, values in part.items():
            channels = np.abs(values).max(tuple(axis for axis in range(values.ndim) if axis != 1))
            largest[name] = np.maximum(largest.get(name, 0.0), channels)
    return largest


def outputs_of(model: "ModelProto", batches: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return each output of a model for all images, (N, ...)."""
    session = session_of(model)
    feed = session.get_inputs()[0].name
    results = [session.run(None, {feed: batch}) for batch in batches]
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


class Piecewise:
    """Runs a model node by node, for all images at once, so that its constants can change on the way.

    Attributes:
        values: tensor -> its numbers, as long as later nodes read it.

    Args:
        model: whose constants are read when their node is run.
        images: float32 (N, C, H, W).
    """

    def __init__(self, model: "ModelProto", images: np.ndarray) -> None:
        self.model = model
        self.values: dict[str, np.ndarray] = {input_of(model): images}
        self._last: dict[str, int] = {}
        for number, node in enumerate(model.graph.node):
            self._last |= dict.fromkeys(names_read(node), number)
        self._next = 0

    def run_until(self, output: str) -> None:
        """Run all nodes up to the one that gives ``output``, that one included."""
        nodes = self.model.graph.node
        end = next(number for number, node in enumerate(nodes) if output in node.output) + 1
        if end > self._next:
            self._run(list(nodes[self._next : end]), end - 1, output)
            self._next = end

    def _run(self, nodes: "list[NodeProto]", last: int, output: str) -> None:
        """Run some nodes as a model of their own, and keep what later ones read."""
        import onnx
        from onnx import helper

        reads = {name for node in nodes for name in names_read(node)}
        made = [name for node in nodes for name in node.output if name]
        later = [name for name in made if self._last.get(name, -1) > last or name == output]
        inputs = [name for name in self.values if name in reads]
        graph = helper.make_graph(
            nodes,
            "part",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(self.values[name].dtype), None
                )
                for name in inputs
            ],
            [onnx.ValueInfoProto(name=name) for name in later],
            [tensor for tensor in self.model.graph.initializer if tensor.name in reads],
        )
        part = helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        results = session_of(part).run(later, {name: self.values[name] for name in inputs})
        self.values |= dict(zip(later, results, strict=True))
        self.values = {
            name: array
            for name, array in self.values.items()
            if self._last.get(name, -1) > last or name == output
        }
