"""What a group's channels are worth by the outputs: seen to the last of them, not guessed."""

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.effects.selection import sensitivity_scores
from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.reconstruct import Grams


class Redundant(nn.Module):
    """A wide layer that holds the same few numbers many times, in front of the classifier: MobileNet's last one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.wide, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 64, 1), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wide(self.body(x)).mean((2, 3)))


def test_the_last_channels_of_a_redundant_layer_are_dear() -> None:
    torch.manual_seed(0)
    model = Redundant().eval()
    batches = [(torch.randn(64, 3, 8, 8),)]
    graph = build_graph(model, batches[0])
    (wide,) = (group for group in graph.tied_groups if group.groups[0].name == "wide")
    scores = score(graph, "l2")
    levels = np.concatenate(wide.ranked(scores), 1)[:, 0]
    worth = sensitivity_scores(graph, scores, Grams(graph, batches, positions=36), batches)[levels]
    assert np.all(np.diff(worth) <= 0)  # the best first, as they are ranked
    # 8 numbers go in, so all but some 8 of the 64 can be fitted away; what is beyond them cannot.
    spare, last = worth[16:], worth[:3]
    assert last.min() > 100 * spare.max()
