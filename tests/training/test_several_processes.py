"""A stage under torchrun: each process reads its own slices, and the updates are one process's, in parts or not."""

import json
import os
from pathlib import Path
from typing import Any

import fresh
import pytest
import torch
from PIL import Image

TRAIN = """
import json, sys, torch
from torch import nn
torch.set_num_threads(1)
from edgeprune.data import load_data
from edgeprune.processes.distributed import world
from edgeprune.training import Stage, TrainOptions

place, accumulate = sys.argv[1], int(sys.argv[2])
data = load_data(place + "/images", image_size=16, val_fraction=0.1, workers=1)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
if accumulate > 1:
    model[1] = nn.Identity()
seen = []
class Spy(type(data)):
    def train_batches(self, *args, **options):
        for x, y in super().train_batches(*args, **options):
            blue = (x[:, 2, 8, 8] * 0.225 + 0.406) * 255
            seen.append([round(v) for v in blue.tolist()])
            yield x, y
object.__setattr__(data, "__class__", Spy)
stage = Stage("own", model, data, TrainOptions(batch_size=8, lr=0.05, accumulate=accumulate), 2 * data.steps(8))
stage.train()
state = {k: v.tolist() for k, v in model.state_dict().items()}
json.dump({"seen": seen, "state": state}, open(f"{place}/{world().size}-{accumulate}-{world().rank}.json", "w"))
world().wait()
"""


def train(place: Path, processes: int, accumulate: int, port: int) -> list[dict[str, Any]]:
    script = place / "train.py"
    script.write_text(TRAIN)
    started = []
    for rank in range(processes):
        launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        env = {**os.environ, **{k: str(v) for k, v in launched.items()}, "MASTER_ADDR": "127.0.0.1"}
        env = env if processes > 1 else dict(os.environ)
        started.append(fresh.start([script, place, str(accumulate)], env=env))
    ended = [process.wait() for process in started]
    assert [process.returncode for process in ended] == [0] * processes, ended
    names = [f"{processes}-{accumulate}-{rank}.json" for rank in range(processes)]
    return [json.loads((place / name).read_text()) for name in names]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_slices_are_disjoint_and_the_update_is_one_process_s(
    tmp_path: Path, free_port: int, accumulate: int
) -> None:
    for number in range(32):  # the blue of each image is its number
        path = tmp_path / "images" / f"class{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 36), (number * 8, 255 - number * 8, number)).save(path)
    (alone,) = train(tmp_path, 1, accumulate, 0)
    both = train(tmp_path, 2, accumulate, free_port)
    per_epoch = len(alone["seen"]) // 2
    assert per_epoch >= 2
    for batch, first, second in zip(alone["seen"], *(process["seen"] for process in both), strict=True):
        assert first + second == batch and len(first) == len(second) == 4
    for epoch in (alone["seen"][:per_epoch], alone["seen"][per_epoch:]):
        images = [number for batch in epoch for number in batch]
        assert len(set(images)) == len(images)  # none is seen twice
    assert both[0]["state"] == both[1]["state"]
    for name, value in alone["state"].items():
        got, want = torch.tensor(both[0]["state"][name]), torch.tensor(value)
        assert got.numpy() == pytest.approx(want.numpy(), rel=1e-3, abs=1e-5), name
