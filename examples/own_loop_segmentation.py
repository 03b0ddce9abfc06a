"""Prune a segmentation network in a training loop of one's own: torchvision's LR-ASPP on handwritten digits.

python examples/own_loop_segmentation.py [--steps 400]
"""

import argparse

import torch
from torch.nn import functional as F
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import edgeprune
from edgeprune.data.canvases import scene

arguments = argparse.ArgumentParser()
arguments.add_argument("--steps", type=int, default=400, help="of training; pruning ends after half of them")
arguments.add_argument("--batch", type=int, default=8)
options = arguments.parse_args()


def batch_of(numbers: range, part: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, 3, 96, 96) and masks (N, 96, 96): 0 is the ground, 1 to 10 are the digits."""
    scenes = [scene(number, part=part) for number in numbers]
    return torch.stack([canvas.image for canvas in scenes]), torch.stack([canvas.mask for canvas in scenes])


torch.manual_seed(0)
network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=11).train()
optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
pruner = edgeprune.Pruner(
    network, torch.zeros(2, 3, 96, 96), method="l1", prune_schedule="iterative", prune_steps=4, target="flops=0.5",
    steps=options.steps // 2, optimizer=optimizer,
)  # fmt: skip
for step in range(options.steps):
    images, masks = batch_of(range(step * options.batch, (step + 1) * options.batch))
    loss = F.cross_entropy(network(images)["out"], masks)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if pruner.step(loss)["removed"] or step % 50 == 0:
        print(f"step {step}: loss {float(loss.detach()):.3f}, FLOPs {100 * pruner.fraction:.0f} %")
small = pruner.finish().eval()
images, masks = batch_of(range(8), part="test")
with torch.no_grad():
    predicted = small(images)["out"].argmax(1)
print(pruner.report)
print(f"pixels that are right on test canvases: {100 * float((predicted == masks).float().mean()):.1f} %")
