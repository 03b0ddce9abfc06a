"""One record says all that is known of an operation, and one may be added from outside."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.graph import pointwise
from edgeprune.graph.ops import OPS, spec_of_layer
from edgeprune.graph.plan import Plan


@torch.library.custom_op("edgeprune_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    """Stands for a kernel of somebody's own."""
    return 2 * x


@torch.library.custom_op("edgeprune_tests::relu", mutates_args=())
def reversed_channels(x: Tensor) -> Tensor:
    """Has the name of an operation of torch's, and does something else."""
    return x.flip(1).clone()


class Net(nn.Module):
    """Two convolutions with an operation between them."""

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 4)
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 4)."""
        kernel = getattr(torch.ops.edgeprune_tests, self.kernel)
        return self.head(self.second(kernel(self.first(x))).mean((2, 3)))


@pytest.fixture
def registered() -> Iterator[edgeprune.OpSpec]:
    spec = edgeprune.OpSpec("edgeprune_tests::twice", pointwise.pointwise, elementwise=True, keeps_zero=True)
    edgeprune.register_op(spec)
    yield spec
    del OPS[spec.name]


def test_an_unknown_operation_protects_what_reaches_it_and_is_named() -> None:
    graph = edgeprune.trace(Net("twice"), torch.rand(1, 3, 12, 12))
    assert [group.name for group in graph.groups] == ["second"]
    assert "no rule for edgeprune_tests::twice" in [part.reason for part in graph.protected]


def test_a_registered_operation_is_pruned_through(registered: edgeprune.OpSpec) -> None:
    model, x = Net("twice").eval(), torch.rand(1, 3, 12, 12)
    graph = edgeprune.trace(model, x)
    assert [group.name for group in graph.groups] == ["first", "second"]
    plan = edgeprune.select(graph, range(graph.classes), "flops=0.5")
    cut = edgeprune.compact(model, graph, plan)
    assert cut.first.out_channels < 8
    torch.testing.assert_close(cut(x), edgeprune.mask(model, graph, plan)(x))


def test_a_name_of_torch_in_another_library_is_not_torch() -> None:
    graph = edgeprune.trace(Net("relu"), torch.rand(1, 3, 12, 12))
    assert [group.name for group in graph.groups] == ["second"]


def test_a_name_is_registered_once(registered: edgeprune.OpSpec) -> None:
    with pytest.raises(edgeprune.EdgePruneError, match="twice' is in the table already: add replace=True"):
        edgeprune.register_op(registered)
    edgeprune.register_op(registered, replace=True)
    with pytest.raises(edgeprune.EdgePruneError, match="has no name"):
        edgeprune.register_op(edgeprune.OpSpec(""))


class Derived(nn.BatchNorm2d):
    """A layer of somebody's own, derived from one of torch's."""


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.ReLU(), "relu"), (nn.Conv2d(1, 1, 1), "conv2d"), (nn.ConvTranspose1d(1, 1, 1), "conv_transpose1d"),
        (Derived(3), "batch_norm"), (nn.AdaptiveAvgPool3d(1), "adaptive_avg_pool2d"), (nn.Bilinear(1, 1, 1), ""),
    ],
)  # fmt: skip
def test_layers_are_known_by_what_they_are(layer: nn.Module, name: str) -> None:
    assert spec_of_layer(layer).name == name


@pytest.mark.parametrize(
    "name", ["relu", "add", "conv2d", "linear", "batch_norm", "cat", "view", "mean", "zeros"]
)
def test_the_table_knows_the_common_operations(name: str) -> None:
    assert OPS[name].rule is not None or OPS[name].creates


def test_zero_stays_zero_where_the_table_says_so() -> None:
    """Each activation that is said to keep zeros does, and no other one."""
    zeros = torch.zeros(3)
    for name, spec in OPS.items():
        function = getattr(torch.nn.functional, name, None)
        if (
            not spec.elementwise
            or function is None
            or spec.random
            or "threshold" in name
            or "dropout" in name
        ):
            continue
        try:
            result = function(zeros)
        except TypeError:
            continue
        assert bool((result == 0).all()) == spec.keeps_zero or name == "hardtanh", name


def test_a_call_that_its_rule_does_not_fit_protects_what_reaches_it(registered: edgeprune.OpSpec) -> None:
    def wrong(flow: object, call: object) -> Tensor:
        return torch.zeros(2).expand(3, 4, 5, 7)

    edgeprune.register_op(edgeprune.OpSpec(registered.name, wrong), replace=True)
    graph = edgeprune.trace(Net("twice"), torch.rand(1, 3, 12, 12))
    assert [group.name for group in graph.groups] == ["second"]
    assert any("does not fit this call" in part.reason for part in graph.protected)


class Named(nn.Module):
    """Gives a moving operation its tensor by name."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.move = move

    def forward(self, x: Tensor) -> Tensor:
        """(2, 3, 4, 4) -> (2, 4, 4, 4)."""
        return self.second(self.move(self.first(x)))


@pytest.mark.parametrize(
    "move",
    [
        lambda x: torch.clone(input=x),
        lambda x: torch.reshape(input=x, shape=(2, -1, 16)).view(2, -1, 4, 4),
        lambda x: torch.flatten(input=x, start_dim=2).unflatten(2, (4, 4)),
        lambda x: torch.cat(tensors=[part.sin() for part in torch.chunk(input=x, chunks=2, dim=1)], dim=1),
        lambda x: torch.cat(torch.split(tensor=x, split_size_or_sections=4, dim=1)[::-1], 1),
    ],
    ids=["clone", "reshape", "flatten", "chunk", "split"],
)
def test_the_tensor_that_moves_may_be_given_by_name(move: Callable[[Tensor], Tensor]) -> None:
    model, x = Named(move).double().eval(), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    graph = edgeprune.trace(model, x)
    assert graph.classes == 8
    plan = Plan.of(graph, np.array([True, False, True, False, False, True, True, True]))
    cut, masked = edgeprune.compact(model, graph, plan), edgeprune.mask(model, graph, plan)
    assert cut.first.out_channels == 5
    assert torch.allclose(cut(x), masked(x), atol=1e-12)
