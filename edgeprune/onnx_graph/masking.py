"""The masked file: the original with zeros where a keep-plan drops, which a cut file must compute the same as."""

import numpy as np

from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import OnnxNetwork
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
    return file
