"""Nodes that torch has no call for, each run by ONNX Runtime as a model of its own; what reaches them is protected."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeprune.errors import ModelError, one_line
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.numbers import ElementTypes
from edgeprune.onnx_graph.operands import Shared, SharedList


class Alone(nn.Module):
    """One node, control flow included, as a model that ONNX Runtime runs.

    Args:
        file: the file that the node is of.
        node: the node.
        inputs: names of the values that it reads, those of its subgraphs too; constants are not among them.
        constants: names of the constants that it reads.
        types: element type of each value, as far as it is known.
        reason: why torch does not run it.
    """

    def __init__(
        self, file: OnnxFile, node: onnx.NodeProto, inputs: Sequence[str], constants: Sequence[str],
        types: ElementTypes, reason: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kept_whole = reason
        self._file, self._nodes, self._types = file, SharedList([node]), types
        self.inputs, self._constants = list(inputs), list(constants)
        self._outputs = [name for name in node.output if name]
        self._sessions = Shared()

    def forward(self, *values: Any) -> tuple[Tensor, ...]:
        """Run the node; floating-point results come in the type of the first floating-point input."""
        floats = [v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()]
        dtype = floats[0] if floats else torch.float32
        arrays = [self._array(name, value) for name, value in zip(self.inputs, values, strict=True)]
        kinds = tuple(int(helper.np_dtype_to_tensor_dtype(array.dtype)) for array in arrays)
        session = self._session(kinds)
        results = session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        device = next((v.device for v in values if isinstance(v, Tensor)), torch.device("cpu"))
        return tuple(_tensor(result, dtype, device) for result in results)

    def _array(self, name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.float() if value.dtype == torch.bfloat16 else value  # which numpy lacks
        array = np.asarray(value)
        kind = self._types.get(name)
        if not np.issubdtype(array.dtype, np.floating):
            return array
        return array.astype(helper.tensor_dtype_to_np_dtype(kind or TensorProto.FLOAT))

    def _session(self, kinds: tuple[int, ...]) -> Any:
        """Return the session for inputs of these element types."""
        if kinds not in self._sessions:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            content = self._model(kinds).SerializeToString()
            try:
                session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                domain = f" of the domain {self._nodes[0].domain}" if self._nodes[0].domain else ""
                raise ModelError(
                    f"{self._file.name}: ONNX Runtime does not know the operator {self._nodes[0].op_type}{domain} "
                    f"({one_line(error)[:90]}): a network with it cannot be run, so it cannot be pruned"
                ) from error
            self._sessions[kinds] = session
        return self._sessions[kinds]

    def _model(self, kinds: tuple[int, ...]) -> onnx.ModelProto:
        file = self._file
        inputs = [helper.make_tensor_value_info(n, k, None) for n, k in zip(self.inputs, kinds, strict=True)]
        outputs = [onnx.ValueInfoProto(name=name) for name in self._outputs]
        initializers = [numpy_helper.from_array(file.array(name), name) for name in self._constants]
        graph = helper.make_graph([self._nodes[0]], "alone", inputs, outputs, initializers)
        model = helper.make_model(
            graph, opset_imports=file.model.opset_import, functions=list(file.model.functions)
        )
        model.ir_version = file.model.ir_version
        return model


def _tensor(result: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    if not isinstance(result, np.ndarray) or result.dtype == object:
        raise ModelError(
            "an operator of this network gives sequences or text: such a network cannot be pruned"
        )
    tensor = torch.from_numpy(np.array(result))
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).to(device)
