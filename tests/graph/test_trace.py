import linecache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import TraceError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask
from graph.checks import error

IMAGE = torch.zeros(1, 3, 8, 8)


class Branch(nn.Module):
    """Python that depends on what is in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.mean() > 0:  # THE LINE
            return self.last(x)
        return self.last(-x)


class Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = x
        for value in x.sum():  # THE LINE
            total = total + value
        return total


class Content(nn.Module):
    """item() is a plain number, but it is the image's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * 2 if x.mean().item() + 1 > 0 else x  # THE LINE
        return self.last(x)


@pytest.mark.parametrize("model", [Branch(), Content()], ids=lambda m: type(m).__name__)
def test_content_that_steers_python_is_taken_as_it_went_and_named_by_line(model: nn.Module) -> None:
    """A mean over channels divides by their number: the code that branches on it would have to be written anew."""
    graph = build_graph(model, torch.ones(1, 3, 8, 8))
    done = compact(graph, Plan.of(graph, np.array([True, True, True, False])))
    (note,) = done.plan.notes
    place, _, _ = note.partition("test_trace.py:")[2].partition(":")
    assert "THE LINE" in linecache.getline(str(Path(__file__)), int(place)), note
    assert "steers Python" in note and done.plan.keep.all() and torch.equal(done.model(IMAGE), model(IMAGE))


def test_an_error_of_the_model_names_its_line() -> None:
    with pytest.raises(TraceError) as caught:
        build_graph(Loop(), torch.ones(1, 3, 8, 8))
    message = str(caught.value)
    place, _, code = message.partition("test_trace.py:")[2].partition(":")
    assert "THE LINE" in linecache.getline(str(Path(__file__)), int(place)), message
    assert len(message.splitlines()) == 1 and code


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(1, 4, 8, 8), "check the example's shape"),
        (torch.zeros(1, 3, 2, 2), "check the example's shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.long), "check the example's shape and type"),
        ((IMAGE, IMAGE), "takes 1 input(s) (x) but the example has 2"),
        ((), "takes 1 input(s) (x) but the example has 0"),
        (np.zeros((1, 3, 8, 8)), "(ndarray) holds no tensor"),
        ("resnet18", "(str) holds no tensor"),
        (None, "(NoneType) holds no tensor"),
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


def test_a_failed_run_puts_the_training_flags_back() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)).train()
    model[0].eval()
    with pytest.raises(TraceError, match="check the example's shape"):
        build_graph(model, IMAGE)
    assert model.training and not model[0].training and model[1].training


def test_the_copy_has_the_models_training_flags() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()), nn.Dropout()).eval()
    model[1].train()
    graph = build_graph(model, IMAGE)
    for copy in (compact(graph, Plan.everything(graph)).model, mask(graph, Plan.everything(graph)).network):
        assert not copy.training and not copy.get_submodule("0").training and copy.get_submodule("1").training


class Options(nn.Module):
    """Defaults of every kind, and a dict as input."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict({"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(2, 4, 1)})

    def forward(
        self, x: dict[str, Tensor], scale: float = 2.0, other: Tensor | None = None
    ) -> dict[str, Tensor]:
        result = {name: self.convs[name](value) * scale for name, value in x.items()}
        if other is not None:
            result["a"] = result["a"] + other
        return {"sum": result["a"] + result["b"], "keys": sum(x[k].mean() for k in x)}  # type: ignore[dict-item]


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
    graph = build_graph(model, IMAGE)
    assert torch.equal(compact(graph, Plan.everything(graph)).model(IMAGE), model(IMAGE))


def test_the_batch_stays_free() -> None:
    class Views(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            n, _, h, w = self.conv(x).shape
            return self.fc(self.conv(x).view(n, 4, h * w).reshape(x.shape[0], -1))

    graph = build_graph(Views().eval(), IMAGE)
    done = compact(graph, Plan.of(graph, np.array([True, False, True, True])))
    x = torch.randn(5, 3, 8, 8)
    assert done.rewritten == ("",) and error(mask(graph, done.plan)(x), done.model(x)) < 1e-6


def test_an_in_place_result_has_one_name() -> None:
    class Writes(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            x.mul_(2)
            return x + 1

    nodes = build_graph(Writes(), IMAGE).nodes
    add = next(n for n in nodes if op_name(n) == "add")
    assert op_name(add.args[0]) == "mul"
