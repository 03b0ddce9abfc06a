"""The pruner under DistributedDataParallel, and before networks that are sharded."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fresh
import pytest
import torch
import torch.distributed as dist
from torch import nn

import edgeprune
from edgeprune.errors import ModelError

LOOP = Path(__file__).with_name("parallel_loop.py")
FIRST_REMOVALS = {"learned": 6, "taylor": 3, "l1": 4}


@pytest.mark.parametrize(
    "method", ["learned", *[pytest.param(name, marks=pytest.mark.slow) for name in ("taylor", "l1")]]
)
def test_two_processes_prune_alike_in_mid_training(tmp_path: Path, method: str) -> None:
    """Each has data of its own; l1 removes where the mean of both losses levels off."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"import runpy; runpy.run_path({str(LOOP)!r}, run_name='__main__')"
    started = [
        fresh.start(
            ["-c", code, method, str(tmp_path / "store"), str(rank), str(tmp_path / f"{rank}.pt")],
            env=env,
            cwd=tmp_path,
        )
        for rank in range(2)
    ]
    ended = [process.wait() for process in started]
    assert [process.returncode for process in ended] == [0, 0], ended
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["plans"] == second["plans"] and first["fraction"] <= 0.5
    assert (
        first["removed"] == second["removed"] and first["removed"].index(True) + 1 == FIRST_REMOVALS[method]
    )
    for name, weight in first["weights"].items():
        if "running" not in name:  # statistics of the last step are each process's own
            assert torch.equal(weight, second["weights"][name]), name
    # Gradients are averaged before and after the removal, and the user's hook on the wrapper runs all the time.
    assert all(first["same_gradients"]) and first["hooked"] == 14
    assert [tuple(momentum.shape) for momentum in first["momentum"]] == first["shapes"]
    assert all(float(momentum.abs().sum()) > 0 for momentum in first["momentum"])


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def refused(action: Any) -> None:
    with pytest.raises(ModelError, match="sharded over processes .FSDP.: train with") as error:
        action()
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("alone")
def test_a_sharded_network_is_refused_with_a_way_out() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (1,))
    sharded = fully_shard(network(), mesh=mesh)
    refused(lambda: edgeprune.Pruner(sharded, torch.zeros(1, 4)))
    refused(lambda: edgeprune.prune(sharded, torch.zeros(1, 4)))
    refused(lambda: edgeprune.trace(sharded, torch.zeros(1, 4)))
    later = network()
    pruner = edgeprune.Pruner(later, torch.zeros(1, 4), method="l1", moment="epoch:1", steps_per_epoch=1)
    fully_shard(later, mesh=mesh)
    refused(pruner.step)
