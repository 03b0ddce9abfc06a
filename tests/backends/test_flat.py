"""Models with any inputs and outputs, as files whose inputs and outputs have names of their own."""

from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeprune.backends.flat import Example, example_of, named_outputs
from edgeprune.backends.onnx_export import export_model
from edgeprune.backends.onnx_running import run_named
from edgeprune.backends.parity import named_arrays, parity_over
from edgeprune.errors import ExportError


@dataclass
class Detections:
    boxes: Tensor
    scores: list[Tensor]


Both = namedtuple("Both", "left right")
A, B = torch.zeros(2, 3), torch.ones(2)


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (A, ["logits"]),
        ((A, B), ["output_0", "output_1"]),
        ([A], ["output_0"]),
        ({"out": A, "aux": B}, ["out", "aux"]),
        (Detections(A, [B, A]), ["boxes", "scores_0", "scores_1"]),
        (Both(A, {"deep": B}), ["left", "right_deep"]),
        ([{"boxes": A}, {"boxes": B}], ["output_0_boxes", "output_1_boxes"]),
        ({"out": A, "nothing": None, "number": 3}, ["out"]),
        ({"a b": A, "a_b": B}, ["a_b", "a_b_2"]),
    ],
)
def test_names_of_outputs(output: Any, names: list[str]) -> None:
    assert list(named_outputs(output)) == names


def test_an_output_called_as_an_input_gets_another_name() -> None:
    assert list(named_outputs({"x": A}, taken=["x"])) == ["x_2"]
    with pytest.raises(ExportError, match="returns a str, in which there is no tensor"):
        named_outputs("nothing")


class Many(nn.Module):
    """Two arguments, one of them a dict; a dict, a list and a dataclass come out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embedding = nn.Conv2d(3, 4, 3), nn.Embedding(10, 4)

    def forward(self, image: Tensor, words: dict[str, Tensor]) -> dict[str, Any]:
        maps = self.conv(image)
        word = self.embedding(words["ids"]).mean(1) * words["weight"]
        return {
            "maps": maps,
            "heads": [maps.mean((2, 3)) + word, word],
            "found": Detections(word * 2, [maps]),
        }


def many_arguments(batch: int) -> tuple[Any, ...]:
    torch.manual_seed(batch)
    ids = torch.randint(0, 10, (batch, 5))
    return torch.randn(batch, 3, 8, 8), {"ids": ids, "weight": torch.randn(batch, 1)}


def test_a_model_with_any_inputs_and_outputs(tmp_path: Path) -> None:
    model = Many().eval()
    example = example_of(model, many_arguments(1))
    assert example.names == ("image", "words_ids", "words_weight")
    file = export_model(model, example, tmp_path / "m.onnx")
    assert file.inputs == example.names
    assert file.outputs == ("maps", "heads_0", "heads_1", "found_boxes", "found_scores_0")
    assert file.batch is None and "forward" not in vars(model)
    names = {tensor.name for tensor in onnx.load(file.path).graph.initializer}
    assert {"conv.weight", "conv.bias"} <= names  # by which layers of two files are joined
    arguments = many_arguments(3)
    parity = parity_over(named_arrays(model, [arguments]), run_named(file.path, [arguments]))
    assert 0 < parity.max_rel_diff < 1e-5 and parity.images == 3
    maps = next(run_named(file.path, [arguments]))["maps"]
    np.testing.assert_allclose(maps, model.conv(arguments[0]).detach().numpy(), atol=1e-5)


def test_a_model_whose_batch_is_its_own_number(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(12).sum(0, keepdim=True)

    file = export_model(Fixed(), Example((torch.zeros(1, 12),), ("x",)), tmp_path / "m.onnx")
    assert file.batch == 1 and file.inputs == ("x",) and file.outputs == ("logits",)


def test_parity_is_that_of_the_worst_output() -> None:
    expected = [{"a": np.array([[1.0, 2.0]]), "b": np.array([4.0, 8.0])}] * 2
    got = [expected[0], {**expected[0], "a": np.array([[3.0, 2.0]])}]
    parity = parity_over(expected, got)
    assert (parity.max_abs_diff, parity.max_rel_diff, parity.top1_agreement) == (2.0, 1.0, 0.5)
    with pytest.raises(ExportError, match="the exported model gives a, the reference a, b"):
        parity_over(expected[:1], [{"a": np.array([[1.0, 2.0]])}])
