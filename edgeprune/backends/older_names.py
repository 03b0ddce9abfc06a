"""Give the files of torch's older exporter the names of the newer's, by which layers are told from each other.

The older one names a node after the modules it lies in, "/layer1/layer1.0/conv1/Conv", and a weight that took in
a norm after a number, "onnx::Conv_45"; the newer names nodes by number and each weight after its module.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

NUMBERED = "onnx::"  # begins the name of a weight that the exporter computed
PARTS = ("weight", "bias")  # of a layer, from its second input on


def name_by_modules(content: "ModelProto", modules: Iterable[str]) -> None:
    """Rename the nodes and the computed weights of a graph.

    Args:
        content: the file's content, which is changed.
        modules: names of all modules of the network.
    """
    graph, known = content.graph, set(modules)
    stored = {tensor.name for tensor in graph.initializer}
    new_names: dict[str, str] = {}
    for number, node in enumerate(graph.node):
        module = module_of(node.name)
        for part, name in zip(PARTS, list(node.input)[1:], strict=False):
            new_name = f"{module}.{part}"
            is_free = new_name not in stored and new_name not in new_names.values()
            if name in stored and name.startswith(NUMBERED) and module in known and is_free:
                new_names.setdefault(name, new_name)
        node.name = f"node_{node.op_type}_{number}"
    for node in graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = new_names.get(tensor.name, tensor.name)


def module_of(node: str) -> str:
    """Return the module that a node of the older exporter lies in.

    >>> module_of("/layer1/layer1.0/conv1/Conv")
    'layer1.0.conv1'
    """
    path: list[str] = []
    for scope in node.strip("/").split("/")[:-1]:
        if path and scope.startswith(f"{path[-1]}."):
            path.pop()  # an item of a container: its scope repeats the container's
        path.append(scope)
    return ".".join(path)
