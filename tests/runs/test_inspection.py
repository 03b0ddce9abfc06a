"""edgeprune inspect: any model by name."""

import json

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.errors import ModelError
from edgeprune.runs.inspection import inspected_graph
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


def test_the_table_names_layers_and_reasons() -> None:
    result = CliRunner().invoke(main, ["inspect", "resnet20", "--ignore", "layer1"])
    assert result.exit_code == 0, result.output
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
