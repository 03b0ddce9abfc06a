"""Training with compiled networks."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.data import DataBundle
from edgeprune.errors import TrainError
from edgeprune.training import Stage, TrainOptions

OPTIONS = TrainOptions(batch_size=8, lr=0.05, compile=True)


@pytest.fixture
def data(small_data: DataBundle) -> DataBundle:
    """8 images a batch, some four batches an epoch."""
    return small_data


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))


def trained(data: DataBundle, options: TrainOptions) -> dict[str, torch.Tensor]:
    """Return the weights of a network after two epochs with a teacher."""
    torch.manual_seed(0)
    model, teacher = Net(), Net()
    Stage("own", model, data, options, 2 * data.steps(8), teacher=teacher).train()
    return model.state_dict()


def test_networks_and_teachers_are_compiled_and_train_alike(
    data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(data, replace(OPTIONS, compile=False))
    compiled: list[nn.Module] = []
    traced_only = partial(torch.compile, backend="eager")

    def noting(model: nn.Module) -> Any:
        compiled.append(model)
        return traced_only(model)

    monkeypatch.setattr("torch.compile", noting)
    ours = trained(data, OPTIONS)
    assert [model.training for model in compiled] == [True, False]
    assert all(torch.equal(ours[name], value) for name, value in expected.items())


def test_more_networks_of_a_class_than_torch_compiles_train_compiled(
    data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[Any] = []

    def counting(graph: Any, _: Any) -> Any:
        frames.append(graph)
        return graph.forward

    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=counting))
    many = torch._dynamo.config.recompile_limit + 2
    for _ in range(many):
        Stage("own", Net(), data, OPTIONS, 1).train()
    assert len(frames) >= many


def test_a_machine_without_a_compiler_is_one_line(data: DataBundle, tmp_path: Path) -> None:
    from torch._inductor import config

    without = {"cpp.cxx": (str(tmp_path / "g++"),), "fx_graph_cache": False}
    with config.patch(without), pytest.raises(TrainError, match=r"the network here .*`compile` out") as error:
        trained(data, OPTIONS)
    assert "C++ compiler" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_compiled_code_trains_to_nearly_the_same_weights(data: DataBundle) -> None:
    expected = trained(data, replace(OPTIONS, compile=False))
    for name, value in trained(data, OPTIONS).items():
        assert torch.allclose(value, expected[name], rtol=1e-3, atol=1e-5), name
