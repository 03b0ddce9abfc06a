"""What channels add to the next layer's output, against that layer run on single channels."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.nodes import weight_node
from edgeprune.importance.contributions import products_of
from edgeprune.recording.record import VALUE

EVERYWHERE = 10**6


def contributions(graph: Graph, layer: nn.Module, x: Tensor) -> Tensor:
    """(classes, output elements): a layer without a bias, run on one class's channels at a time."""
    reader = next(r for r in graph.flow.consumers if weight_node(r.node).meta[VALUE] is layer.weight)
    classes = torch.from_numpy(graph.classes_of(reader.labels))
    view = [1] * x.dim()
    view[reader.axis] = -1
    return torch.stack(
        [layer(x * (classes == c).view(view)).flatten() for c in classes[classes >= 0].unique()]
    )


class Layers(nn.Module):
    """One layer that writes 6 channels, and ``reader`` that reads them."""

    def __init__(self, reader: nn.Module, flatten: bool = False, dims: int = 2) -> None:
        super().__init__()
        self.writer = (nn.Linear(3, 6), nn.Conv1d(3, 6, 1), nn.Conv2d(3, 6, 1))[dims]
        self.reader, self.flatten = reader, flatten

    def inner(self, x: Tensor) -> Tensor:
        x = torch.relu(self.writer(x))
        return x.flatten(1) if self.flatten else x

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.inner(x))


READERS: list[tuple[Layers, tuple[int, ...]]] = [
    (Layers(nn.Conv2d(6, 4, 3, padding=1, bias=False)), (2, 3, 5, 6)),
    (
        Layers(nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 2), bias=False)),
        (2, 3, 7, 6),
    ),
    (Layers(nn.Conv2d(6, 4, 3, padding="same", dilation=2, bias=False)), (2, 3, 5, 6)),
    (Layers(nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect", bias=False)), (2, 3, 5, 6)),
    (Layers(nn.Conv2d(6, 4, 3, groups=2, bias=False)), (2, 3, 5, 6)),
    (Layers(nn.Conv1d(6, 4, 3, stride=2, padding=1, bias=False), dims=1), (2, 3, 9)),
    (Layers(nn.Linear(6 * 6, 4, bias=False), flatten=True), (2, 3, 2, 3)),
    (Layers(nn.Linear(6, 4, bias=False), dims=0), (5, 3)),
    (Layers(nn.Linear(6, 4, bias=False), dims=0), (5, 7, 3)),
]


@pytest.mark.parametrize(("model", "shape"), READERS, ids=lambda v: str(getattr(v, "reader", v)))
def test_products_are_those_of_the_contributions(model: Layers, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape)
    graph = build_graph(model, x)
    (products,) = products_of(graph, [x[:1], x[1:]], "thinet", None, EVERYWHERE, 0)
    with torch.no_grad():
        parts = contributions(graph, model.reader, model.inner(x)).double()
        output = model.reader(model.inner(x)).double()
    np.testing.assert_allclose(products.gram, (parts @ parts.T).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(products.energy, float(output.square().sum()), rtol=1e-4)


def test_a_functional_convolution_and_protected_channels() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.writer = nn.Conv2d(3, 4, 1)
            self.weight = nn.Parameter(torch.randn(2, 7, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([x, self.writer(x)], 1)  # three protected channels and four that are free
            return F.conv2d(both, self.weight, stride=2, padding=1)

    torch.manual_seed(0)
    model, x = Functional(), torch.randn(2, 3, 6, 6)
    graph = build_graph(model, x)
    (products,) = products_of(graph, [x], "thinet", None, EVERYWHERE, 0)
    assert products.gram.shape == (4, 4)
    np.testing.assert_allclose(products.energy, float(model(x).detach().double().square().sum()), rtol=1e-4)


def test_sampled_places_estimate_all_of_them() -> None:
    torch.manual_seed(0)
    model, x = Layers(nn.Conv2d(6, 4, 3, bias=False)), torch.randn(64, 3, 8, 8)
    graph = build_graph(model, x)
    (some,), (every,) = (products_of(graph, [x], "thinet", None, n, 0) for n in (10, EVERYWHERE))
    np.testing.assert_allclose(
        some.gram / (64 * 10), every.gram / (64 * 36), atol=0.1 * every.gram.max() / (64 * 36)
    )


def test_every_pair_of_padding_and_kernel_agrees_with_torch() -> None:
    for kernel, padding, stride in itertools.product((1, 2, 3), (0, 1), (1, 2)):
        model = Layers(nn.Conv2d(6, 2, kernel, stride=stride, padding=padding, bias=False))
        x = torch.randn(1, 3, 5, 4)
        (products,) = products_of(build_graph(model, x), [x], "thinet", None, EVERYWHERE, 0)
        np.testing.assert_allclose(
            products.energy, float(model(x).detach().double().square().sum()), rtol=1e-4
        )
