"""Cut pads of zero channels."""

import numpy as np
from onnx import NodeProto, helper

from edgeprune.graph.flow import Remap
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.onnx_graph.operands import attributes_of


def cut_pad(values: CutValues, node: NodeProto, remap: Remap) -> None:
    """Pad by as many zero channels as are left, or else pick channels from what is padded by one.

    Args:
        values: of the file.
        node: the pad.
        remap: what the graph knows of it.

    Raises:
        Immovable: its numbers follow from sizes.
    """
    place = {index: position for position, index in enumerate(values.survivors.order_of(remap.inputs))}
    source = [place.get(int(remap.source[i]), -1) for i in values.survivors.order_of(remap.outputs)]
    passing = [position for position, i in enumerate(source) if i >= 0]
    low = passing[0] if passing else 0
    high = len(source) - low - len(place)
    plain = source == [-1] * low + list(range(len(place))) + [-1] * max(high, 0) and high >= 0
    _set_pads(values, node, remap.axis, (low, high) if plain else (0, 1))
    if plain:
        return
    key = node.output[0]
    padded_name = values.edits.free_name(f"{key}_padded")
    values.edits.node(key).output[0] = padded_name
    index = np.array([len(place) if i < 0 else i for i in source], dtype=np.int64)
    indices = values.edits.file.add(f"{key}_channels", index)
    name = values.edits.free_name(f"{node.name or key}_channels")
    gather = helper.make_node("Gather", [padded_name, indices], [key], name=name, axis=remap.axis)
    values.edits.insert_after(key, gather)


def _set_pads(values: CutValues, node: NodeProto, axis: int, pair: tuple[int, int]) -> None:
    attributes = attributes_of(node)
    if values.network.file.opset < 11:
        pads = list(attributes["pads"])
        pads[axis], pads[axis + len(pads) // 2] = pair
        values.edits.set_attribute(node.output[0], "pads", pads)
        return
    count = len(values.numbers(node.input[1])) // 2
    axes = (
        [int(a) for a in values.numbers(node.input[3])]
        if len(node.input) > 3 and node.input[3]
        else list(range(count))
    )
    rank = values.before.labels[node.input[0]].dim()
    where = [a % rank for a in axes].index(axis)
    if values.overwrite(node, 1, {where: pair[0], where + count: pair[1]}) is None:
        raise values.refusal([node.input[0], node.output[0]], node, "their padding follows from sizes")
