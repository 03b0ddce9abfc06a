"""Two processes train as one does on the same batches."""

import json
import os
from pathlib import Path
from typing import Any

import fresh
import pytest
import torch

# Each process trains the same net on its half of each batch, and writes what it has come to.
TRAIN = """
import sys, json, torch
from torch import nn
torch.set_num_threads(1)
from edgeprune.processes.distributed import world
from edgeprune.training.norms import shared_statistics

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))

model = net().train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
generator = torch.Generator().manual_seed(1)
with shared_statistics(model):
    for _ in range(3):
        x, y = torch.randn(8, 3, 6, 6, generator=generator), torch.randn(8, 2, 2, 2, generator=generator)
        part = world().part(len(x))
        loss = (model(x[part]) - y[part]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        world().average([p.grad for p in model.parameters()]) if world().size > 1 else None
        optimizer.step()
main = world().broadcast(torch.tensor([float(world().rank)]))
state = {k: v.tolist() for k, v in model.state_dict().items()}
out = {"world": world().size, "main": main.item(), "state": state}
json.dump(out, open(f"{sys.argv[1]}/{world().rank}.json", "w"))
world().wait()
assert "forward" not in vars(model[1])
"""


def train(place: Path, processes: int, port: int) -> list[dict[str, Any]]:
    script = place / "train.py"
    script.write_text(TRAIN)
    place = place / str(processes)
    place.mkdir()
    started = []
    for rank in range(processes):
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        env = {**os.environ, **{k: str(v) for k, v in world.items()}, "MASTER_ADDR": "127.0.0.1"}
        env = env if processes > 1 else dict(os.environ)
        started.append(fresh.start([script, place], env=env))
    assert [process.wait().returncode for process in started] == [0] * processes
    return [json.loads((place / f"{rank}.json").read_text()) for rank in range(processes)]


def test_two_processes_train_as_one(tmp_path: Path, free_port: int) -> None:
    (alone,), (first, second) = train(tmp_path, 1, 0), train(tmp_path, 2, free_port)
    assert (alone["world"], first["world"]) == (1, 2)
    assert first["main"] == second["main"] == 0.0
    assert first["state"] == second["state"]
    for name, value in alone["state"].items():
        got, want = torch.tensor(first["state"][name]), torch.tensor(value)
        assert got.numpy() == pytest.approx(want.numpy(), rel=1e-4, abs=1e-5), name
