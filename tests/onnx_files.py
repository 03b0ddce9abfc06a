"""ONNX files made by hand, with the inputs that a test asks for."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def summing_onnx(path: Path, *, weight: float = 1.0, **inputs: tuple) -> Path:
    """Write a file that adds up all of its inputs, each cast to float and reduced, times a weight.

    Args:
        path: of the file.
        weight: a constant of the file.
        **inputs: name -> sizes, None for a free one, and at the end perhaps a type.
    """
    values, nodes, sums = [], [], []
    for name, sizes in inputs.items():
        kind = sizes[-1] if isinstance(sizes[-1], str) else "float32"
        shape = [
            f"{name}_{axis}" if size is None else size for axis, size in enumerate(sizes) if size != kind
        ]
        values.append(helper.make_tensor_value_info(name, KINDS[kind], shape))
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceSum", [f"{name}_float"], [f"{name}_sum"], keepdims=0))
        sums.append(f"{name}_sum")
    nodes.append(helper.make_node("Sum", sums, ["total"]))
    nodes.append(helper.make_node("Mul", ["total", "weight"], ["result"]))
    weights = [numpy_helper.from_array(np.float32(weight), "weight")]
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "summing", values, [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return path
