"""edgeprune inspect: any model by name."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from edgeprune.api import describe
from edgeprune.cli import main
from edgeprune.errors import ModelError
from edgeprune.graph.classes import build_graph
from edgeprune.runs.inspection import inspected_graph, size_of_inputs
from edgeprune.runs.subject_options import SubjectOptions


def test_a_zoo_model_as_json() -> None:
    result = CliRunner().invoke(main, ["inspect", "resnet20", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    # ResNet-20: three streams of 16/32/64 and nine block insides, three of each width.
    assert content["classes"] == 4 * (16 + 32 + 64)
    assert len(content["groups"]) == 12
    assert content["params"] == 269_722
    assert content["protected"] == [
        {"layers": ["linear"], "channels": 10, "reason": "output of the network", "where": "output"}
    ]
    shares = [group["flops_share"] for group in content["groups"]]
    assert all(0 < share < 1 for share in shares)


class Dense(nn.Module):
    """A residual stream of 8 channels through two convolutions that read and write it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1, bias=False)
        self.a, self.b = (nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2))
        self.head = nn.Conv2d(8, 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.a(x).relu()
        x = x + self.b(x).relu()
        return self.head(x).mean((2, 3))


def test_what_goes_with_a_group_is_at_most_all() -> None:
    """The whole network goes with the stream, whose convolutions were counted once as read and once as written."""
    description = describe(build_graph(Dense(), torch.zeros(1, 3, 4, 6)))
    (stream,) = description["groups"]
    assert description["params"] == 3 * 8 + 2 * 8 * 8 * 9 + 8 * 2
    assert stream["params_share"] == stream["flops_share"] == 1.0
    assert description["inputs"] == [[1, 3, 4, 6]] and size_of_inputs(description) == "1x3x4x6"


def test_the_shares_of_a_chain_are_those_of_its_layers() -> None:
    """1x1 convolutions 2 -> 4 -> 8 -> 2 have 8, 32 and 16 weights."""
    chain = nn.Sequential(*(nn.Conv2d(i, o, 1, bias=False) for i, o in ((2, 4), (4, 8), (8, 2))))
    groups = describe(build_graph(chain, torch.zeros(1, 2, 4, 4)))["groups"]
    assert [group["params_share"] for group in groups] == pytest.approx([40 / 56, 48 / 56])
    assert [group["flops_share"] for group in groups] == pytest.approx([40 / 56, 48 / 56])


def test_the_table_names_layers_and_reasons() -> None:
    result = CliRunner().invoke(main, ["inspect", "resnet20", "--ignore", "layer1"])
    assert result.exit_code == 0, result.output
    assert "FLOPs are for an input of 1x3x32x32; --input sets another" in result.stdout
    assert "on the ignore list" in result.stdout
    assert "layer2.0.conv1" in result.stdout


@pytest.mark.parametrize(
    ("name", "params"),
    # The sizes decide nothing here but that the model runs: the number of classes does, 10 or 1000.
    [("vgg16_cifar", 14_987_210), ("mobilenetv1_cifar", 3_217_226), ("mobilenetv1", 4_231_976)],
)
def test_models_come_with_their_own_example(name: str, params: int) -> None:
    assert inspected_graph(name).params() == params


def test_unknown_and_untraceable() -> None:
    assert CliRunner().invoke(main, ["inspect", "resnet21"]).exit_code == 1
    with pytest.raises(ModelError):
        inspected_graph("torchvision:resnet18", SubjectOptions(inputs=["3x1x"]))


def test_names_of_layers_stay_whole_in_80_columns() -> None:
    result = CliRunner().invoke(main, ["inspect", "resnet20"], env={"COLUMNS": "80"})
    assert "448 units that can be pruned" in result.stdout
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│ layer1.0.conv1")]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "layer1.0.conv1", "16", "layer1.0.conv1", "layer1.0.conv2", "1.7 %", "11.6 %"
    ]  # fmt: skip
