"""Costly calls that are not computed while they are recorded, and networks for which they are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.graph.classes import build_graph
from edgeprune.recording.network import watch
from edgeprune.recording.record import VALUE
from edgeprune.recording.uncomputed import stand_in, written_in_place

CONVOLUTIONS: list[tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (torch.conv2d, (2, 4, 9, 11), (6, 4, 3, 3), {}),
    (torch.conv2d, (1, 4, 9, 11), (6, 2, 3, 5), {"groups": 2, "stride": 2, "padding": (1, 2)}),
    (torch.conv2d, (1, 4, 16, 16), (4, 1, 3, 3), {"groups": 4, "dilation": 2, "padding": 2}),
    (torch.conv2d, (1, 4, 16, 16), (4, 4, 3, 3), {"stride": (2, 1), "padding": [1, 0]}),
    (torch.conv1d, (2, 3, 17), (5, 3, 4), {"stride": 3, "padding": 1}),
    (torch.conv1d, (2, 3, 17), (5, 3, 4), {"stride": (3,), "dilation": (2,)}),
    (torch.conv3d, (1, 2, 6, 7, 8), (3, 2, 2, 3, 1), {"padding": (1, 0, 2)}),
]


@pytest.mark.parametrize(("function", "shape", "weight", "options"), CONVOLUTIONS)
def test_convolutions_have_the_shape_that_torch_gives(function, shape, weight, options) -> None:  # type: ignore[no-untyped-def]
    x, w = torch.randn(shape), torch.randn(weight)
    result = stand_in(function, (x, w), options)
    assert result is not None and result.shape == function(x, w, **options).shape
    assert result.dtype == x.dtype and not result.any()


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (torch.conv2d, (torch.randn(1, 3, 8, 8), torch.randn(4, 2, 3, 3)), {}),  # raises
        (torch.conv2d, (torch.randn(1, 3, 2, 2), torch.randn(4, 3, 5, 5)), {}),  # raises
        (torch.conv2d, (torch.randn(3, 8, 8), torch.randn(4, 3, 3, 3)), {}),  # no batch
        (torch.conv2d, (torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)), {"padding": "same"}),
        (torch.conv2d, (), {"input": torch.randn(1, 3, 8, 8), "weight": torch.randn(4, 3, 3, 3)}),
        (
            torch.conv2d,
            (torch.randn(1, 3, 8, 8).to(memory_format=torch.channels_last), torch.randn(4, 3, 3, 3)),
            {},
        ),
        (torch.conv2d, (torch.randn(1, 3, 8, 8).half(), torch.randn(4, 3, 3, 3)), {}),  # raises
        (F.linear, (torch.randn(2, 3), torch.randn(5, 4)), {}),  # raises
        (F.relu, (torch.randn(2, 3),), {"inplace": True}),
        (
            F.batch_norm,
            (torch.randn(2, 3, 4, 4), torch.zeros(3), torch.ones(3), None, None, True),
            {},
        ),  # counts
        (torch.add, (torch.randn(2), torch.randn(2)), {}),
        (F.adaptive_avg_pool2d, (torch.randn(2, 3, 4, 4), (None, 2)), {}),
        (F.adaptive_avg_pool2d, (torch.randn(3, 4, 4), 2), {}),
        (F.adaptive_avg_pool2d, (torch.randn(2, 3, 0, 4), 2), {}),  # raises
        (F.adaptive_avg_pool2d, (torch.randn(2, 3, 4, 4), (2, 2, 2)), {}),  # raises
    ],
)
def test_what_has_to_be_called_to_know(function, args, kwargs) -> None:  # type: ignore[no-untyped-def]
    assert stand_in(function, args, kwargs) is None


def test_other_calls_that_are_not_computed() -> None:
    x = torch.randn(2, 3, 4, 5)
    for result in (
        stand_in(F.silu, (x,), {}),
        stand_in(F.batch_norm, (x, torch.zeros(3), torch.ones(3)), {"training": False}),
    ):
        assert result is not None and result.shape == x.shape
    linear = stand_in(F.linear, (x, torch.randn(7, 5), torch.randn(7)), {})
    assert linear is not None and linear.shape == (2, 3, 4, 7)


def test_what_writes_over_its_input_is_marked_as_a_write() -> None:
    x = torch.randn(2, 3)
    before = x.clone()
    assert written_in_place(F.relu, (x,), {"inplace": True}) is x
    assert x._version == 1 and torch.equal(x, before)
    assert written_in_place(F.relu, (x,), {"inplace": False}) is None
    assert written_in_place(torch.add, (x, x), {}) is None


class Scaled(nn.Module):
    """Computes numbers from a parameter by an operation that is not computed on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 1), nn.Parameter(torch.tensor([-1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True) * F.relu(self.scale)[:, None, None]


def test_numbers_that_the_input_does_not_decide_are_computed() -> None:
    record = watch(Scaled(), (torch.randn(1, 3, 8, 8),))
    assert record.content_free
    relus = [n for n in record.graph.nodes if n.name.startswith("relu")]
    assert not relus[0].meta[VALUE].any()
    assert relus[1].meta[VALUE].tolist() == [0.0, 2.0, 3.0, 4.0]


class Net(nn.Module):
    def __init__(self, tail: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.head, self.tail = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), tail

    def forward(self, x: Tensor) -> Any:
        return self.tail(self.head(self.conv(x).mean((2, 3))))


def _caught(y: Tensor) -> Tensor:
    try:
        return y if float(y.sum()) == 0 else y * 2
    except Exception:
        return y


ASKING: dict[str, Callable[[Tensor], Any]] = {
    "branch": lambda y: y * 2 if y.abs().sum() > 0 else y,
    "item": lambda y: y * y.max().item(),
    "caught": _caught,
    "tolist": lambda y: y + len([v for v in y.flatten().tolist() if v > 0]),
    "numpy": lambda y: y + float(y.numpy().sum()),
    "index": lambda y: y[:, y.argmax(1)[0]],
    "mask": lambda y: y[y > 0],
    "nonzero": lambda y: y.flatten()[y.flatten().nonzero()],
    "mask returned": lambda y: (y, y > 0),
    "places returned": lambda y: y.topk(2),
    "format": lambda y: y + len(str(y.tolist())),
}


@pytest.mark.parametrize("name", ASKING)
def test_networks_that_ask_for_content_are_computed(name: str) -> None:
    torch.manual_seed(3)
    model, image = Net(ASKING[name]), torch.randn(2, 3, 8, 8)
    record = watch(model, (image,))
    assert not record.content_free
    build_graph(model, image)


def test_shapes_are_those_of_the_run() -> None:
    torch.manual_seed(0)
    model, image = Net(lambda y: y.softmax(1)), torch.randn(2, 3, 8, 8)
    record = watch(model, (image,))
    assert record.content_free
    values = [tuple(n.meta[VALUE].shape) for n in record.graph.nodes if n.op == "call_function"]
    assert values == [(2, 6, 6, 6), (2, 6), (2, 4), (2, 4)]
    assert model(image).any()


@pytest.mark.parametrize("size", [1, 7, (3, 2), [2, 9]])
def test_adaptive_pools_have_the_shape_that_torch_gives(size: Any) -> None:
    x = torch.randn(2, 3, 6, 5)
    result = stand_in(F.adaptive_avg_pool2d, (x, size), {})
    assert result is not None and result.shape == F.adaptive_avg_pool2d(x, size).shape
