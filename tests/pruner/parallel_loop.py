"""A loop of the user's own under DistributedDataParallel; each process writes what it ended with."""

import sys
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import edgeprune


class Net(nn.Module):
    """Two convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.inside, self.head = nn.Conv2d(12, 16, 3, padding=1), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        return self.head(self.inside(self.norm(self.stem(x)).relu()).relu().mean((2, 3)))


def batches(rank: int, size: int, count: int = 3) -> list[tuple[Tensor, Tensor]]:
    """Batches of this process's own."""
    generator = torch.Generator().manual_seed(rank)
    y = torch.arange(8) % 3
    return [
        (torch.randn(8, 3, size, size, generator=generator) + y.view(-1, 1, 1, 1), y) for _ in range(count)
    ]


METHODS: dict[str, dict[str, Any]] = {
    "learned": {"steps": 6},
    "taylor": {"steps": 6, "prune_steps": 2},
    "l1": {"moment": "plateau", "steps_per_epoch": 2, "total_steps": 14, "steps": 2},
}


def main(method: str, store: str, rank: int, out: str, device: str = "cpu") -> None:
    """Train with masks or scores, remove in mid-training, and go on."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # the wrapper gives all processes the first one's weights
    wrapped = DistributedDataParallel(Net().to(device))
    hooked: list[int] = []
    wrapped.register_forward_hook(lambda *_: hooked.append(1))
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.05, momentum=0.9)
    pruner = edgeprune.Pruner(
        wrapped, torch.zeros(2, 3, 8, 8, device=device), method=method, target="flops=0.5", optimizer=optimizer,
        batches=batches(rank, 8), **METHODS[method],
    )  # fmt: skip
    removed, same_gradients = [], []
    for step in range(14):
        x, y = batches(rank * 100 + step, 8, 1)[0]
        loss = F.cross_entropy(wrapped(x.to(device)), y.to(device))
        loss.backward()
        own = torch.cat([p.grad.flatten() for p in wrapped.parameters() if p.grad is not None]).cpu()
        both = [torch.empty_like(own) for _ in range(2)]
        dist.all_gather(both, own)
        same_gradients.append(torch.equal(*both))
        optimizer.step()
        optimizer.zero_grad()
        removed.append(pruner.step(loss)["removed"])
    small = pruner.finish()
    torch.save(
        {
            "plans": pruner.state_dict()["plans"],
            "weights": {name: value.cpu() for name, value in small.state_dict().items()},
            "momentum": [optimizer.state[p]["momentum_buffer"].cpu() for p in small.parameters()],
            "shapes": [tuple(p.shape) for p in small.parameters()],
            "removed": removed,
            "same_gradients": same_gradients,
            "fraction": pruner.report.fraction_got,
            "hooked": len(hooked),
        },
        out,
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
