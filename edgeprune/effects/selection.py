"""Which channels go: within a group by a criterion, between groups by what their loss does to the outputs."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.effects.agreement import compare, outputs_of
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.plan import Plan
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.reconstruct import Grams
from edgeprune.recording.taps import run_tapped
from edgeprune.rewrite.masking import masks

SHARES = (
    0.3,
    0.6,
    0.85,
)  # of a group's channels that are dropped to see what its loss does; then all but the fewest
Inputs = tuple[Tensor, ...]


def sensitivity_scores(
    graph: Graph,
    scores: NDArray[np.float64],
    grams: Grams | None,
    batches: Sequence[Inputs],
    *,
    shares: Sequence[float] = SHARES,
    floor: int = 2,
    per_flop: bool = True,
    progress: ProgressCallback = no_progress,
) -> NDArray[np.float64]:
    """Return scores under which the channels that go first cost the outputs least for each FLOP they save.

    Each group alone loses some shares of its channels, the layers that read it are fitted, and the outputs are
    compared with the unpruned network's. A channel's score is the error that its share adds for each FLOP it saves.

    Args:
        graph: of the network.
        scores: (classes,) of a criterion: they order the channels of a group.
        grams: normal equations of the layers, by which they are fitted; None to compare without fits.
        batches: inputs on which the outputs are compared.
        shares: of a group's channels.
        floor: fewest channels that a layer keeps: no more are dropped to see what their loss does.
        per_flop: whether a score is the error for each FLOP; else it is the error alone, as a knapsack adds it up.
        progress: called with (done, total, text).

    Returns:
        (classes,) float64.
    """
    reference = outputs_of(graph.model, batches)
    result = np.zeros(graph.classes)
    everything = np.ones(graph.classes, dtype=bool)
    full, groups = graph.flops(), graph.tied_groups
    for number, tied in enumerate(groups):
        progress(number, len(groups), f"effect of {tied.groups[0].name}")
        levels = tied.levels(scores)
        errors, saved, dropped = [0.0], [0.0], [0]
        # What the last channels are worth is seen, too: a wide layer before a classifier loses most of its channels
        # for nothing, and the rest for everything.
        most = max(len(levels) - tied.least(floor), 1)
        for count in sorted({*(min(most, round(share * len(levels))) for share in shares), most}):
            if count <= dropped[-1]:
                continue
            keep = everything.copy()
            keep[levels[len(levels) - count :].reshape(-1)] = False
            errors.append(_error(graph, keep, grams, batches, reference))
            saved.append(float(full - graph.flops(keep)) if per_flop else float(count))
            dropped.append(count)
        slopes = _slopes(len(levels), dropped, errors, saved)[:, None]
        result[levels] = slopes if per_flop else slopes / levels.shape[1]
    progress(len(groups), len(groups), "")
    return result


def _slopes(count: int, dropped: list[int], errors: list[float], saved: list[float]) -> NDArray[np.float64]:
    """Return what dropping each level, the best first, costs for each FLOP; no less than one dropped before."""
    slopes = np.zeros(count)
    steepest = 0.0
    for place in range(1, len(dropped)):
        gain = max(saved[place] - saved[place - 1], 1.0)
        steepest = max(steepest, (errors[place] - errors[place - 1]) / gain)
        slopes[count - dropped[place] : count - dropped[place - 1]] = steepest
    # What is left beyond the last share goes at a price that rises to four times.
    last = count - dropped[-1]
    slopes[:last] = max(steepest, 1e-30) * np.linspace(4, 1, last, endpoint=False) if last else 0
    return slopes + 1e-12 * max(steepest, 1e-30) * np.arange(count, 0, -1)


def _error(
    graph: Graph, keep: Bools, grams: Grams | None, batches: Sequence[Inputs], reference: list[Tensor]
) -> float:
    with nullcontext() if grams is None else grams.fitted(keep):
        return compare(reference, masked_outputs(graph, keep, batches)).relative_error


def masked_outputs(graph: Graph, keep: Bools, batches: Sequence[Inputs]) -> list[Tensor]:
    """Return the outputs of the network with dropped channels at zero.

    Args:
        graph: of the network.
        keep: (classes,) mask of kept classes.
        batches: inputs.
    """
    taps: Callable[[], object] = lambda: masks(graph, graph.flow, Plan.of(graph, keep))  # noqa: E731
    return outputs_of(_Tapped(graph, taps), batches)


class _Tapped(torch.nn.Module):
    def __init__(self, graph: Graph, taps: Callable[[], object]) -> None:
        super().__init__()
        self._graph, self._taps = [graph], taps

    def forward(self, *inputs: Tensor) -> object:
        return run_tapped(self._graph[0].model, inputs, self._taps())  # type: ignore[arg-type]
