"""Prune a detector in a training loop of one's own: torchvision's SSDlite on handwritten digits, which lie on canvases.

python examples/own_loop_detection.py [--steps 600] [--side 96]
"""

import argparse

import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

import edgeprune
from edgeprune.data.canvases import Scene, scene

arguments = argparse.ArgumentParser()
arguments.add_argument(
    "--steps", type=int, default=600, help="of training; pruning ends after a third of them"
)
arguments.add_argument("--batch", type=int, default=8)
options = arguments.parse_args()


def batch_of(scenes: list[Scene]) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Return images and targets as torchvision's detectors take them; label 0 is the background."""
    return [canvas.image for canvas in scenes], [
        {"boxes": canvas.boxes, "labels": canvas.labels + 1} for canvas in scenes
    ]


torch.manual_seed(0)
detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=11).train()
optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9, weight_decay=4e-5)
example = batch_of([scene(0), scene(1)])  # images and targets: what forward takes in training
pruner = edgeprune.Pruner(
    detector, example, method="l1", prune_schedule="iterative", prune_steps=4, target="flops=0.5",
    steps=options.steps // 3, optimizer=optimizer,
)  # fmt: skip
for step in range(options.steps):
    numbers = range(step * options.batch, (step + 1) * options.batch)
    losses = detector(*batch_of([scene(number) for number in numbers]))
    loss = sum(losses.values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if pruner.step(loss)["removed"] or step % 50 == 0:
        print(f"step {step}: loss {float(loss.detach()):.2f}, FLOPs {100 * pruner.fraction:.0f} %")
small = pruner.finish().eval()
print(pruner.report)
with torch.no_grad():
    detections = small([scene(0, part="test").image])[0]
print(f"a test canvas: {len(detections['scores'])} boxes, the best {detections['labels'][:3].tolist()}")
