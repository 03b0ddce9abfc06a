import linecache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.compaction import mask
from edgeprune.errors import TraceError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.labels import tensors_in
from edgeprune.plan import Plan
from graph.checks import error

IMAGE = torch.zeros(1, 3, 8, 8)


class Branch(nn.Module):
    """Python that depends on what is in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.mean() > 0:  # THE LINE
            return x
        return -x


class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * int(x.sum())  # THE LINE


class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x
        for value in x.sum():  # THE LINE
            total = total + value
        return total


class Content(nn.Module):
    """item() is a plain number, but it is the image's."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean().item() + 1 > 0 else x  # THE LINE


class Assigns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, 0] = 0  # THE LINE
        return y


@pytest.mark.parametrize(
    "model", [Branch(), Item(), Loop(), Content(), Assigns()], ids=lambda m: type(m).__name__
)
def test_content_that_steers_python_is_named_by_line(model: nn.Module) -> None:
    with pytest.raises(TraceError) as caught:
        build_graph(model, torch.ones(1, 3, 8, 8))
    message = str(caught.value)
    place, _, code = message.partition("test_trace.py:")[2].partition(":")
    assert "THE LINE" in linecache.getline(str(Path(__file__)), int(place)), message
    assert "cannot trace" in message and len(message.splitlines()) == 1 and code


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(1, 4, 8, 8), "check the example's shape"),
        (torch.zeros(1, 3, 2, 2), "check the example's shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.long), "check the example's shape and type"),
        ((IMAGE, IMAGE), "takes 1 input(s) (x) but the example has 2"),
        ((), "takes 1 input(s) (x) but the example has 0"),
        (np.zeros((1, 3, 8, 8)), "of type ndarray, not a tensor"),
        ("resnet18", "of type str, not a tensor"),
        (None, "of type NoneType, not a tensor"),
    ],
)
def test_bad_example_says_what_to_do(inputs: object, words: str) -> None:
    with pytest.raises(TraceError) as caught:
        build_graph(nn.Sequential(), inputs) if inputs is None else build_graph(Plain(), inputs)  # type: ignore[arg-type]
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def test_a_failed_trace_puts_the_training_flags_back() -> None:
    model = Branch().train()
    model.conv.eval()
    with pytest.raises(TraceError):
        build_graph(model, IMAGE)
    assert model.training and not model.conv.training


def test_the_copy_has_the_models_training_flags() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()), nn.Dropout()).eval()
    model[1].train()
    traced = build_graph(model, IMAGE).module
    assert (
        not traced.training and not traced.get_submodule("0").training and traced.get_submodule("1").training
    )


class Options(nn.Module):
    """Defaults of every kind, and a dict as input."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict({"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(2, 4, 1)})

    def forward(
        self, x: dict[str, Tensor], scale: float = 2.0, other: Tensor | None = None
    ) -> dict[str, Tensor]:
        found = {name: self.convs[name](value) * scale for name, value in x.items()}
        if other is not None:
            found["a"] = found["a"] + other
        return {"sum": found["a"] + found["b"], "keys": sum(x[k].mean() for k in x)}  # type: ignore[dict-item]


def test_dict_inputs_and_defaults() -> None:
    model, inputs = Options().eval(), ({"a": torch.randn(1, 3, 4, 4), "b": torch.randn(1, 2, 4, 4)},)
    graph = build_graph(model, inputs)
    masked = mask(graph, Plan.everything(graph))
    assert error(model(*inputs), masked(*inputs)) == 0
    assert len(tensors_in(masked(*inputs))) == 2


def test_a_default_that_is_a_tuple() -> None:
    class Sized(Plain):
        def forward(self, x: Tensor, size: tuple[int, int] = (4, 4), *, more: bool = False) -> Tensor:
            return F.interpolate(self.conv(x), size=size) * (2 if more else 1)

    model = Sized().eval()
    assert torch.equal(build_graph(model, IMAGE).module(IMAGE), model(IMAGE))


def test_the_batch_stays_free() -> None:
    class Views(Plain):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = self.conv(x).shape
            return self.conv(x).view(n, c, h * w).reshape(x.shape[0], -1)

    model = Views().eval()
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(build_graph(model, IMAGE).module(x), model(x))


def test_functions_that_draw_become_layers_that_still_draw() -> None:
    class Drops(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(self.conv(x), 0.4, training=self.training) + F.dropout(
                self.conv(x), 0.1, training=True
            )

    traced = build_graph(Drops().train(), IMAGE).module
    found = [layer for layer in traced.modules() if isinstance(layer, nn.Dropout)]
    assert [(layer.p, layer.training) for layer in found] == [(0.4, True)]


def test_an_in_place_result_has_one_name() -> None:
    class Writes(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x.mul_(2)
            return x + 1

    traced = build_graph(Writes(), IMAGE).module
    add = next(n for n in traced.graph.nodes if n.name == "add")
    assert add.args[0].target == "mul_"
