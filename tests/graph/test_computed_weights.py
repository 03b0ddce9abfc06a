"""Weights that a network computes from its parameters, and the names of tensors."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.graph.computed_weights import ComputedWeights
from edgeprune.graph.nodes import static_nodes
from edgeprune.graph.tensor_names import TensorNames
from edgeprune.recording.network import watch
from edgeprune.recording.record import Record


class Masked(nn.Module):
    """A convolution whose weight is multiplied by a mask and a scale, element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 3, 1, 1))
        self.gain = nn.Parameter(torch.ones(4, 1, 1, 1))
        self.register_buffer("mask", torch.ones(4, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel * self.mask * self.gain)


class Standardised(nn.Module):
    """A convolution whose weight is centred over its inputs: no input channel stands for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(4, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel - self.kernel.mean((1, 2, 3), keepdim=True))


def _weights(model: nn.Module) -> tuple[ComputedWeights, Record]:
    record = watch(model, (torch.zeros(1, 3, 4, 4),))
    nodes = record.graph.nodes
    return ComputedWeights(nodes, static_nodes(nodes), (), TensorNames(model)), record


def test_a_masked_weight_goes_by_its_parameters_name() -> None:
    weights, record = _weights(Masked())
    convolution = next(
        n for n in record.graph.nodes if len(n.all_input_nodes) > 1 and n.args[0].op == "placeholder"
    )
    assert weights.elementwise == {convolution.args[1]: "kernel"}
    assert sorted(weights.partners["kernel"]) == ["gain", "mask"]
    assert {n.target for n in weights.planes} == {"kernel", "gain", "mask"}
    assert len(weights.computing) == 2


def test_a_centred_weight_has_an_output_axis_alone() -> None:
    weights, record = _weights(Standardised())
    assert not weights.elementwise and not weights.computing
    kernel = next(n for n in record.graph.nodes if n.op == "get_attr")
    assert weights.axis_made_by(kernel) == 0


def test_nothing_that_follows_the_input_is_static() -> None:
    _, record = _weights(Masked())
    static = static_nodes(record.graph.nodes)
    assert [n.op for n in record.graph.nodes if n not in static] == ["placeholder", "call_function", "output"]


def test_a_tensor_has_its_first_name() -> None:
    layer = nn.Linear(2, 2)
    names = TensorNames(nn.Sequential(layer, nn.ReLU(), layer))
    assert names.of(layer.weight) == "0.weight" and names.tensors["2.weight"] is layer.weight
    assert names.of(torch.zeros(1)) is None and names.of(None) is None and names.read_by(3) is None
