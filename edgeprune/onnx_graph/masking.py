"""The masked file: the original with zeros where a keep-plan drops, which a cut file must compute the same as."""

import numpy as np
from onnx import helper

from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import OnnxNetwork
from edgeprune.recording.record import CALL, VALUE
from edgeprune.rewrite.tensors import kept_indices


def masked_file(network: OnnxNetwork, graph: Graph, plan: Plan) -> OnnxFile:
    """Return a copy of a network's file with zeros in its constants wherever the plan drops.

    Each node that reads a constant gets its own, since two of them may drop different channels.

    Args:
        network: of the file.
        graph: of the network.
        plan: of the graph.
    """
    file = network.file.copy()
    nodes = {node.output[0]: node for node in file.model.graph.node}
    for name, axes in kept_indices(graph, plan.keep, {}).items():
        form = network.forms[name]
        array = file.array(form.constant).copy()
        for axis, kept in axes.items():
            dropped = np.setdiff1d(np.arange(array.shape[form.axes[axis]]), kept)
            array[(slice(None),) * form.axes[axis] + (dropped,)] = 0
        if form.position is None:
            file.put(form.constant, array)
        else:
            nodes[form.reader].input[form.position] = file.add(f"{form.constant}_masked", array)
    _mask_reductions(file, network, graph, plan)
    return file


def _mask_reductions(file: OnnxFile, network: OnnxNetwork, graph: Graph, plan: Plan) -> None:
    """Put zeros before sums and means over channels: no constant of theirs could have them."""
    readers = {path: node.output[0] for node, path in network.steps if path is not None}
    nodes = file.model.graph.node
    for consumer in graph.flow.consumers:
        classes = graph.classes_of(consumer.labels)
        keep = np.where(classes >= 0, plan.keep[classes], True)
        key = readers.get(consumer.node.meta[CALL].path)
        place = next((n for n, node in enumerate(nodes) if node.output[0] == key), None)
        if consumer.weight is not None or place is None or keep.all():
            continue
        reader, rank = nodes[place], consumer.source.meta[VALUE].dim()
        shape = [-1 if axis == consumer.axis else 1 for axis in range(rank)]
        mask = file.add(f"{key}_mask", keep.astype(file.float_type).reshape(shape))
        masked = helper.make_node("Mul", [reader.input[0], mask], [f"{key}_masked"], name=f"{key}_masked")
        reader.input[0] = masked.output[0]
        nodes.insert(place, masked)
