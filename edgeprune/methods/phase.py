"""Training up to a removal: its context, its callback, and how the removal is made."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.data import Batch
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import accepts, needs_batches, score
from edgeprune.learned.scale import restore_scale
from edgeprune.methods.course import Removal
from edgeprune.methods.options import MethodOptions
from edgeprune.methods.penalties import lr_integral
from edgeprune.methods.removal import Removed, Scorer, Scores, agreed, remove
from edgeprune.methods.schedules import SCHEDULES, Schedule
from edgeprune.runs.training_state import TrainingState
from edgeprune.training import Callback, Plateau

if TYPE_CHECKING:
    from edgeprune.methods.base import Method

BatchSource = Callable[[], Iterator[Batch]]


@dataclass(frozen=True)
class Context:
    """The network, data and settings of the training that a phase is part of: `train-prune`, or any other loop.

    Attributes:
        model: as the last removal left it, on the CPU.
        example: an input, batch included, or a tuple of the arguments of forward.
        options: the user's, resolved.
        budget: returns the budget of the unpruned model.
        original: returns the unpruned model's weights by name.
        batches: returns training images and labels to score channels on.
        fit_batches: returns those that layers are refitted on after a removal.
        loss: (the model's output, y) -> scalar, for a criterion that needs gradients.
        steps: of this phase.
        per_epoch: steps of an epoch.
        learning_rate: at a step of this phase.
        momentum: of the optimizer.
        device: torch's, where the training runs.
        precision: in which it computes; a name in `edgeprune.training.PRECISIONS`.
        seed: of the run.
        run: the folder through which the phase is steered, where there is one.
        report: called with a line of text on the current work.
        graph: of ``model``, if that is the user's own network, on which masks act in place; None for a network of the
            phase's own.
    """

    model: nn.Module
    example: Tensor | tuple[Any, ...]
    options: MethodOptions
    budget: Callable[[], Budget]
    original: Callable[[], Mapping[str, Tensor]]
    batches: BatchSource
    fit_batches: BatchSource
    loss: Callable[[Any, Any], Tensor]
    steps: int
    per_epoch: int
    learning_rate: Callable[[int], float]
    momentum: float = 0.0
    device: str = "cpu"
    precision: str = "fp32"
    seed: int = 0
    run: TrainingState | None = None
    report: Callable[[str], None] = lambda text: None  # noqa: ARG005
    graph: Graph | None = None


class Phase:
    """Training up to one removal, and that removal.

    The training loop makes the optimizer over `model`, calls `begin` for the callback, trains, and calls `remove`.

    Args:
        method: the pruning method.
        context: the network, data and settings of the training.
        removal: the one at its end.

    Attributes:
        callback: of the training loop; None before `begin`.
        recalibrates: whether BatchNorm's statistics must be measured anew before the model is evaluated.
    """

    recalibrates = False

    def __init__(self, method: "Method", context: Context, removal: Removal) -> None:
        self.method, self.context, self.removal = method, context, removal
        self.graph: Graph = self._graph()
        self.callback: Callback | None = None

    def _graph(self) -> Graph:
        context = self.context
        return context.graph or build_graph(
            context.model, context.example, opaque=context.options.opaque or ()
        )

    @property
    def model(self) -> nn.Module:
        """The network in training."""
        return self.graph.model

    @property
    def schedule(self) -> Schedule:
        """The schedule that the user chose, or the method's own."""
        return SCHEDULES[self.context.options.prune_schedule or self.method.schedule]

    @property
    def lr_integral(self) -> float:
        """Integral of the learning rate over this phase; see `penalties.lr_integral`."""
        return lr_integral(self.context.learning_rate, self.context.steps, self.context.momentum)

    def begin(self) -> Callback:
        """Make and return the callback, once the optimizer holds the model's parameters."""
        self.callback = self.method.callback(self)
        return self.callback

    def own_parameters(self) -> list[nn.Parameter]:
        """Return parameters that the phase trains besides the network's."""
        return []

    def own_state(self) -> dict[str, Tensor]:
        """Return the tensors that resuming needs besides the network's own and the callback's state."""
        return {}

    def restore_own(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `own_state` returned, before the callback's state is restored."""

    def abandon(self) -> None:
        """Undo the phase's changes to the network, before any training."""
        self.method.withdraw(self)

    def follow(self, other: nn.Module) -> None:
        """Apply the weight changes that `remove` made before the cut to a copy of the network, such as an average."""

    def scorer(self) -> Scorer:
        """Return the removal's criterion with the user's options, on the main process's training images."""
        criterion, context = self.removal.criterion, self.context
        chosen = {name: getattr(context.options, name) for name in ("reduction", "normalise")}
        options = {name: value for name, value in chosen.items() if value is not None}
        data = context.batches if needs_batches(criterion) else None
        if accepts(criterion, "loss"):
            options["loss"] = context.loss
        if accepts(criterion, "seed") and data is None:  # images are sampled the same way every time
            options["seed"] = context.seed
        return lambda graph: agreed(score(graph, criterion, batches=data, **options))

    def scores(self) -> Scores:
        """Return the scores of the removal's criterion now."""
        self.context.report(f"scoring channels by {self.removal.criterion}")
        return self.scorer()(self.graph)

    def remove(self, momenta: Mapping[str, Tensor]) -> Removed:
        """Score, select, fit the next layers and cut; the model is on the CPU.

        Args:
            momenta: the optimizer's, by parameter name; they are cut with the channels.

        Raises:
            TargetError: the target cannot be reached.
        """
        context = self.context
        scores, fit = self.method.scores(self), context.options.reconstruct or "none"
        context.report("choosing channels" if fit == "none" else "choosing channels, fitting the next layers")
        removed = remove(
            self.graph,
            scores,
            context.budget().at_progress(self.removal.progress),
            fit=fit,
            batches=context.fit_batches,
            momentum=momenta,
        )
        self.restore_size(removed.model)
        return removed

    def restore_size(self, smaller: nn.Module) -> None:
        """Restore the scale of shrunk weights, whose effective learning rate would be higher than before."""
        if self.schedule.shrinks:
            restore_scale(smaller, self.context.example, dict(self.context.original()))


class LeadIn(Phase):
    """Training until the loss levels off; nothing is removed at its end."""

    def begin(self) -> Callback:
        """Return the callback that ends the stage."""
        self.callback = Plateau(self.context.per_epoch)
        return self.callback

    def remove(self, momenta: Mapping[str, Tensor]) -> Removed:
        """Return the network as it is, with all its channels."""
        return Removed(self.graph.model, Plan.everything(self.graph), dict(momenta))
