"""What the phases of a pruner are given: the network as it is by now, the budget, the data."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import Batches
from edgeprune.methods import MethodOptions
from edgeprune.methods.phase import Context
from edgeprune.processes.progress import ProgressCallback
from edgeprune.pruner.networks import Networks


class Contexts:
    """Makes the context of each phase.

    Attributes:
        graph: of the network, which becomes smaller with each removal.
        remaining: what is left of the target's quantity, as a fraction.
    """

    def __init__(
        self,
        networks: Networks,
        graph: Graph,
        options: MethodOptions,
        budget: Budget,
        *,
        batches: Batches | None,
        loss: Callable[[Any, Any], Tensor] | None,
        per_epoch: int,
        seed: int,
        progress: ProgressCallback,
    ) -> None:
        """Note the unpruned network.

        Args:
            networks: the user's network, its copies and its optimizer.
            graph: of that network.
            options: of the method, resolved.
            budget: of the unpruned network.
            batches: an iterable of (x, y), or a function that returns one.
            loss: of (the model's output, y); None for cross-entropy.
            per_epoch: steps of an epoch.
            seed: of criteria that use random numbers.
            progress: called with lines of text on the current work.
        """
        self._networks, self._options, self._budget = networks, options, budget
        self._batches, self._loss = batches, loss or nn.functional.cross_entropy
        self._per_epoch, self._seed, self._progress = per_epoch, seed, progress
        self._original = {
            name: value.detach().cpu().clone() for name, value in networks.model.named_parameters()
        }
        self._note(graph)

    def note_size(self) -> None:
        """Note that the network has become smaller."""
        self._note(self._networks.graph())

    def _note(self, graph: Graph) -> None:
        self.graph = graph
        self.remaining = self._budget.remaining(graph, Plan.everything(graph).keep)

    def of_phase(self, steps: int) -> Context:
        """Return the context of a phase of so many steps that begins now."""
        link = self._networks.link
        return Context(
            model=self._networks.model,
            example=self._networks.inputs,
            options=self._options,
            budget=lambda: self._budget,
            original=lambda: self._original,
            batches=self._scored,
            fit_batches=self._scored,
            loss=self._loss,
            steps=steps,
            per_epoch=self._per_epoch,
            learning_rate=lambda step: link.planned_rate,  # noqa: ARG005
            momentum=link.momentum,
            device=str(self._networks.device),
            seed=self._seed,
            report=lambda text: self._progress(0, 1, text),
            graph=self.graph,
        )

    def _scored(self) -> Any:
        batches = self._batches() if callable(self._batches) else self._batches
        yield from (
            batch for batch, _ in zip(batches or (), range(self._options.score_batches), strict=False)
        )
