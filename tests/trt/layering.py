"""What the stand-in says of an engine's layers: names, formats, and times that one can compute by hand.

Conv and the Relu behind it are one layer. In fp16 a tensor of a convolution has its channels in groups of
8, and the input is first reformatted. A layer takes 10 us, and 1 us more per 1000 numbers that it writes,
with padding.
"""

from dataclasses import dataclass
from typing import Any

import onnx
from onnx import shape_inference

GROUP = 8


@dataclass(frozen=True)
class EngineLayer:
    name: str
    kind: str
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    grouped: bool

    @property
    def ms(self) -> float:
        sizes = list(self.shape)
        if self.grouped and len(sizes) > 1:
            sizes[1] = -(-sizes[1] // GROUP) * GROUP
        count = 1
        for size in sizes:
            count *= size
        return 0.010 + count * 1e-6


def engine_layers(model: onnx.ModelProto, header: dict[str, Any]) -> list[EngineLayer]:
    """In the order of their running, at the sizes that the engine is best at."""
    half = "FP16" in header["flags"]
    batch = next((shapes[1][0] for shapes in header["profile"].values()), 1)
    shapes = {
        item.name: tuple(size.dim_value or batch for size in item.type.tensor_type.shape.dim)
        for item in shape_inference.infer_shapes(model).graph.value_info
    }
    shapes.update(
        (item.name, tuple(size.dim_value or batch for size in item.type.tensor_type.shape.dim))
        for item in [*model.graph.input, *model.graph.output]
    )
    users: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    layers, taken = [], set()
    for node in model.graph.node:
        if node.name in taken:
            continue
        nodes, last = [node], node
        following = users.get(node.output[0], [])
        if node.op_type == "Conv" and len(following) == 1 and following[0].op_type == "Relu":
            last = following[0]
            nodes.append(last)
            taken.add(last.name)
        name = " + ".join(node.name for node in nodes)
        if half and node.op_type == "Conv" and node.input[0] in {item.name for item in model.graph.input}:
            shape = shapes[node.input[0]]
            layers.append(
                EngineLayer(
                    f"Reformatting CopyNode for Input Tensor 0 to {name}", "Reformat", (), shape, True
                )
            )
        kind = "CaskConvolution" if node.op_type == "Conv" else node.op_type
        grouped = half and node.op_type == "Conv"
        layers.append(
            EngineLayer(
                name, kind, tuple(node.name for node in nodes), shapes.get(last.output[0], ()), grouped
            )
        )
    return layers


def information(model: onnx.ModelProto, header: dict[str, Any], major: int) -> dict[str, Any]:
    """The inspector's JSON, in the form of this version."""
    layers = engine_layers(model, header)
    names = [item.name for item in [*model.graph.input, *model.graph.output]]
    if not header["detailed"]:
        result: list[Any] = [layer.name for layer in layers]
    else:
        result = [described(layer, major) for layer in layers]
    if major >= 11:
        return {"Layers": result, "I/O Tensors": [{"Name": name, "IOMode": "kINPUT"} for name in names]}
    return {"Layers": result, "Bindings": names}


def described(layer: EngineLayer, major: int) -> dict[str, Any]:
    grouped = f"Channel major FP16 format where C % {GROUP} == 0"
    plain = "Row major linear FP32"
    tensor: dict[str, Any] = {"Name": "out", "Location": "Device", "Dimensions": list(layer.shape)}
    words = grouped if layer.grouped else plain
    if major >= 11:
        tensor.update({"Format": words, "Datatype": "Half" if layer.grouped else "Float"})
    else:
        tensor["Format/Datatype"] = words
    about: dict[str, Any] = {"Name": layer.name, "LayerType": layer.kind, "Inputs": [], "Outputs": [tensor]}
    if major >= 10:
        about["Metadata"] = "\x1e".join(f"[ONNX Layer: {name}]" for name in layer.nodes)
    return about
