"""Prune a classifier in a training loop of one's own: AdamW, a schedule, an average of the weights, checkpoints.

python examples/own_loop_classification.py [--epochs 10] [--resume checkpoint.pt]
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import edgeprune

arguments = argparse.ArgumentParser()
arguments.add_argument("--epochs", type=int, default=10)
arguments.add_argument("--resume", type=Path)
arguments.add_argument("--out", type=Path, default=Path("pruned.safetensors"))
options = arguments.parse_args()

torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
net = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64),
    nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(64, 10),
)  # fmt: skip
average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
pruner = edgeprune.Pruner(
    net, images[:1], target="flops=0.5", steps=69, optimizer=optimizer, copies=[average]
)
parts = {"pruner": pruner, "net": net, "average": average, "optimizer": optimizer, "rates": rates}
first = 0
if options.resume:  # the pruner comes first: it cuts the network to what it was then
    saved = torch.load(options.resume, weights_only=True)
    first = saved["epoch"]
    for name, part in parts.items():
        part.load_state_dict(saved[name])
for epoch in range(first, options.epochs):
    net.train()
    for batch in torch.randperm(1440, generator=torch.Generator().manual_seed(epoch)).split(64):
        loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        average.update_parameters(net)
        pruner.step(loss)
    rates.step()
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"epoch": epoch + 1, **state}, options.out.with_suffix(".pt"))
    print(f"epoch {epoch + 1}: loss {float(loss):.3f}, FLOPs {100 * pruner.fraction:.0f} %")
small = pruner.finish()
right = (average.module.eval()(images[1440:]).argmax(1) == labels[1440:]).float().mean()
print(f"{pruner.report}\naccuracy {100 * right:.2f} %, saved as {edgeprune.save(small, options.out)}")
