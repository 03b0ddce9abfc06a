"""Small networks in which the content of tensors decides what runs next: boxes that are kept, loops, branches.

A cut network computes other numbers than the one that was watched, so it would choose otherwise; none of that costs
channels.
"""

import torch
from torch import Tensor, nn

from rewrite.networks import Body, case, conv


class Scored(Body):
    """Two heads on one body, one of scores and one of boxes, for each place of the image."""

    width = 5

    def build(self) -> None:
        self.a, self.scores, self.boxes = conv(8, 10), conv(10, 6, 1), conv(10, 4, 1)
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x).relu()).relu()
        scores = self.scores(x).permute(0, 2, 3, 1).flatten(1, 2)
        boxes = self.boxes(x).permute(0, 2, 3, 1).flatten(1, 2)
        return self.choose(scores.softmax(-1), boxes)

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        """Make the result of what is picked."""
        raise NotImplementedError


@case()
class LoopOverKinds(Scored):
    """Whatever kinds are there get a step of a loop each, as in torchvision's suppression by class."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        kinds = scores.argmax(-1)
        total = torch.zeros_like(boxes[:, 0])
        for kind in torch.unique(kinds):
            total = total + (boxes * (kinds == kind)[..., None]).sum(1) * (1 + kind)
        return self.head(self.last(total).relu())


@case(left_alone=True)
class LoopWithAWidth(LoopOverKinds):
    """A forward with a loop by content cannot be written anew: only what the width in it stops is given back."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        return super().choose(scores, boxes + boxes.new_zeros(len(boxes), 1, 4))


@case()
class TwoStages(Scored):
    """What is kept of the first stage goes through layers of its own, as many rows as there are."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        best, order = scores.amax(-1).topk(12, dim=1)
        rows, places = torch.where(best > best.mean())
        picked = boxes[rows, order[rows, places]]
        rated = self.head(self.last(picked * best[rows, places, None]).relu())
        return torch.stack([rated[rows == row].sum(0) for row in range(len(boxes))])


@case()
class CornersAsNumbers(Scored):
    """Corners are rounded and read as Python's integers: an image is filled at them."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        corners = (boxes.tanh().mean(1) * 3 + 4).round().to(torch.int64)
        weights = self.head(self.last(boxes.mean(1) + scores.mean((1, 2))[:, None]).relu())
        maps = []
        for corner, weight in zip(corners, weights, strict=True):
            side = max(int(corner[2] - corner[0] + 1), int(corner[3] - corner[1] + 1), 1)
            canvas = torch.zeros(16, dtype=boxes.dtype)
            canvas[: min(side, 16)] = weight[0]
            maps.append(canvas * weight[1])
        return torch.stack(maps)


@case()
class LoopOverPlaces(Scored):
    """Places are listed by content, and Python goes over the list."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        rows = []
        for row, score in enumerate(scores.amax(-1)):
            places = torch.nonzero(score > score.mean())[:, 0].tolist()
            rows.append(sum(self.last(boxes[row, place]).relu() for place in places))
        return self.head(torch.stack(rows))


@case()
class ScaleReadByNumpy(Scored):
    """A scale is computed outside of torch, from what a tensor holds."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        scale = float(scores.detach().numpy().max()) + scores.max().item()
        return self.head(self.last(boxes.mean(1) * scale).relu())


@case()
class BranchOnScores(Scored):
    """Which way a branch goes depends on scores; both ways give the same."""

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        boxes = boxes.mean(1)
        twice = boxes + boxes if scores.std() > 0.1 or bool(scores.mean() < 0) else boxes.mul(2)
        return self.head(self.last(twice).relu())


@case(rewritten=None, left_alone=True)
class BackgroundUnread(Scored):
    """Of the boxes for each kind the first are never used: nothing but these is given back."""

    def build(self) -> None:
        super().build()
        self.boxes = conv(10, 12, 1)

    def choose(self, scores: Tensor, boxes: Tensor) -> Tensor:
        kept = torch.nonzero(scores.flatten(0, 1)[:, 0] >= 0)[:, 0]
        flat = boxes.flatten(0, 1)
        x, y = flat[:, 0::4], flat[:, 1::4]
        pairs = torch.stack([x, y], 2)[:, 1:]
        return pairs[kept].flatten(1)


__all__ = ["Scored"]
