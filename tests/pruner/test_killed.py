"""A loop of one's own, with AdamW, AMP and an average of the weights, is killed at random moments and resumed."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 20

# One step of training is one checkpoint, written aside and renamed.
LOOP = """
import os, sys, torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
import edgeprune

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.BatchNorm2d(12),
                    nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=5)
method = sys.argv[1]
more = {} if method == "learned" else {"prune_schedule": "iterative", "prune_steps": 4}
pruner = edgeprune.Pruner(net, torch.zeros(1, 3, 14, 14), method=method, target="flops=0.5", steps=16,
                          optimizer=optimizer, scaler=scaler, copies=[average], **more)
parts = {"pruner": pruner, "net": net, "average": average, "optimizer": optimizer, "scaler": scaler}
first = 0
if os.path.exists("checkpoint.pt"):
    saved = torch.load("checkpoint.pt", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    first = saved["step"]
print("ready", flush=True)
for step in range(first, 24):
    torch.manual_seed(step)
    x, y = torch.randn(8, 3, 14, 14), torch.randint(0, 2, (8,))
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(net(x).float(), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    average.update_parameters(net)
    pruner.step(loss)
    torch.save({"step": step + 1, **{name: part.state_dict() for name, part in parts.items()}}, "aside.pt")
    os.replace("aside.pt", "checkpoint.pt")
small = pruner.finish()
torch.save([*small.state_dict().values(), *average.state_dict().values()], "end.pt")
print("end", flush=True)
"""


def start(folder: Path, method: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOOP, method]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)


def end_of(folder: Path) -> str:
    import torch

    tensors = torch.load(folder / "end.pt", weights_only=True)
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["learned", "l1"])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(method: str, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    began = time.monotonic()
    assert start(undisturbed, method).wait(300) == 0
    seconds, draw = time.monotonic() - began, random.Random(0)
    for number in range(KILLS // 2):  # ten of each method
        folder = killed.with_name(f"killed{number}")
        folder.mkdir()
        process = start(folder, method)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.4 * seconds))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert start(folder, method).wait(300) == 0
        assert end_of(folder) == end_of(undisturbed), f"kill {number}"
