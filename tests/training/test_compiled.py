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


def net() -> nn.Module:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, 3))


def trained(data: DataBundle, options: TrainOptions) -> dict[str, torch.Tensor]:
    """Return the weights of a network after two epochs with a teacher."""
    torch.manual_seed(0)
    model, teacher = net(), net()
    Stage("own", model, data, options, 2 * data.steps(8), teacher=teacher).train()
    return model.state_dict()


def test_networks_and_teachers_are_compiled_and_train_alike(
    small_data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(small_data, replace(OPTIONS, compile=False))
    compiled: list[nn.Module] = []
    traced_only = partial(torch.compile, backend="eager")

    def noting(model: nn.Module) -> Any:
        compiled.append(model)
        return traced_only(model)

    monkeypatch.setattr("torch.compile", noting)
    ours = trained(small_data, OPTIONS)
    assert [model.training for model in compiled] == [True, False]
    assert all(torch.equal(ours[name], value) for name, value in expected.items())


def test_more_networks_of_a_class_than_torch_compiles_train_compiled(
    small_data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[Any] = []

    def counting(graph: Any, _: Any) -> Any:
        frames.append(graph)
        return graph.forward

    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=counting))
    many = torch._dynamo.config.recompile_limit + 2
    for _ in range(many):
        Stage("own", net(), small_data, OPTIONS, 1).train()
    assert len(frames) >= many


def test_a_machine_without_a_compiler_is_one_line(small_data: DataBundle, tmp_path: Path) -> None:
    from torch._inductor import config

    without = {"cpp.cxx": (str(tmp_path / "g++"),), "fx_graph_cache": False}
    with config.patch(without), pytest.raises(TrainError, match=r"the network here .*`compile` out") as error:
        trained(small_data, OPTIONS)
    assert "C++ compiler" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_compiled_code_trains_to_nearly_the_same_weights(small_data: DataBundle) -> None:
    expected = trained(small_data, replace(OPTIONS, compile=False))
    for name, value in trained(small_data, OPTIONS).items():
        assert torch.allclose(value, expected[name], rtol=1e-3, atol=1e-5), name
