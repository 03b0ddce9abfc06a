"""The interface of a pruning method: its options, the steps of its removals, and its training callback."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from edgeprune.errors import TrainError
from edgeprune.methods.course import Course, Removal
from edgeprune.methods.options import IN_SEQUENCE, MethodOptions
from edgeprune.methods.schedules import SCHEDULES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.graph.classes import Graph
    from edgeprune.methods.phase import Context, Phase
    from edgeprune.methods.removal import Scores
    from edgeprune.training import Callback

MOST_STEPS, MOST_OF_ALL = 4000, 0.4  # of a phase: the learned method's source has 4,000
LEARNED_ONLY = ("mask_images", "offset", "allocation")
NOT_SCORED = {"score_batches": "no images are scored by this method"}


class Method:
    """Removals by the scores of criteria, under a schedule; a subclass overrides what it does otherwise.

    A method must define at least its `name` and `scores`, or its `criteria`. Its state for resuming is that of its
    callback: numbers and tensors, which a checkpoint holds.

    Attributes:
        name: in `edgeprune.methods` and on the command line.
        help: one line.
        criteria: names of the criteria that score channels; the second of two is used after the switch.
        schedule: that of its source, a name in `SCHEDULES`.
        schedules: those it can follow; empty for all.
        reconstruct: how its source refits the next layers; a name in `edgeprune.reconstruct.WAYS`.
        steerable: whether its phase can be steered from a second terminal.
    """

    name: str = ""
    help: str = ""
    criteria: tuple[str, ...] = ()
    schedule: str = "one-shot"
    schedules: tuple[str, ...] = ()
    reconstruct: str = "none"
    steerable: ClassVar[bool] = False

    # --- what it needs -------------------------------------------------------------------------------

    @property
    def needs_data(self) -> bool:
        """Whether its criteria need training images."""
        if not self.criteria:  # criteria need torch, which takes seconds to import
            return False
        from edgeprune.importance import CRITERIA, needs_batches

        return any(criterion in CRITERIA and needs_batches(criterion) for criterion in self.criteria)

    @property
    def needs_gradients(self) -> bool:
        """Whether its criteria need labels, and gradients of the task's loss."""
        from edgeprune.importance import CRITERIA, needs_loss

        return any(criterion in CRITERIA and needs_loss(criterion) for criterion in self.criteria)

    # --- options -------------------------------------------------------------------------------------

    def defaults(self, options: MethodOptions) -> dict[str, Any]:
        """Return the values of options that were left open, by name."""
        return {
            "prune_schedule": options.prune_schedule or self.schedule,
            "reconstruct": options.reconstruct or self.reconstruct,
        }

    def training_defaults(self, options: MethodOptions) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of `train-prune`'s fine-tuning that suit this method, for those that were left open.

        Args:
            options: of `train-prune`, with the defaults of its data.
        """
        return {}

    def check(self, options: MethodOptions, *, pretrained: bool = True) -> None:  # noqa: ARG002
        """Refuse what makes no sense with this method.

        Args:
            options: as they were typed; each is known to be one of its own values.
            pretrained: whether pruning begins with a trained network.

        Raises:
            TrainError: names the option and says why.
        """
        chosen = options.prune_schedule or self.schedule
        if self.schedules and chosen not in self.schedules:
            raise TrainError(f"{self.name} has no schedule but {', '.join(self.schedules)}")
        if options.moment == "end" and SCHEDULES[chosen].takes_time:
            raise TrainError(
                f"`moment=end` leaves no steps for the schedule {chosen}: add `prune_schedule=one-shot`"
            )
        for name in ("reduction", "normalise"):
            if getattr(options, name) is not None:
                self._check_accepted(name)

    def _check_accepted(self, option: str) -> None:
        """Raise TrainError unless every criterion takes the option."""
        from edgeprune.importance import CRITERIA, accepts

        for criterion in self.criteria or (self.name,):
            if criterion not in CRITERIA or not accepts(criterion, option):
                raise TrainError(f"{criterion} takes no `{option}`: leave it out")

    def idle(self, options: MethodOptions) -> dict[str, str]:
        """Return the options that change nothing with this method, each with the reason."""
        chosen = options.prune_schedule or self.schedule
        if chosen not in SCHEDULES:
            return {}
        schedule = SCHEDULES[chosen]
        idle = dict.fromkeys(LEARNED_ONLY, "it is for the learned method")
        if not schedule.repeats:
            idle["prune_steps"] = f"the schedule is {chosen}, and only iterative has several removals"
        if not schedule.shrinks:
            idle["shrink"] = f"the schedule is {chosen}, and only regularised shrinks weights"
        if not schedule.takes_time:
            idle["prune_iterations"] = f"a {chosen} schedule prunes at a single step"
        if len(self.criteria) < 2 or not schedule.repeats:
            idle["switch"] = "only saliency-similarity with an iterative schedule changes its criterion"
        return idle if self.reads_batches(options) else {**idle, **NOT_SCORED}

    def reads_batches(self, options: MethodOptions) -> bool:
        """Return whether a criterion, or the fit after a removal, reads training images by the batch."""
        return self.needs_data or (options.reconstruct or self.reconstruct) not in ("none", *IN_SEQUENCE)

    # --- pruning -------------------------------------------------------------------------------------

    def phase_steps(self, total: int) -> int:
        """Return the steps of the pruning phase where the user says nothing.

        Args:
            total: steps of the run, fine-tuning included.
        """
        return min(MOST_STEPS, round(MOST_OF_ALL * total))

    def course(self, options: MethodOptions, *, per_epoch: int, total: int) -> Course:
        """Return the steps of the removals.

        Args:
            options: resolved ones.
            per_epoch: steps of an epoch.
            total: steps of the run, fine-tuning included.

        Raises:
            TrainError: the moment and the phase do not fit into the run.
        """
        return Course(
            criteria=self.criteria or (self.name,),
            schedule=SCHEDULES[options.prune_schedule or self.schedule],
            moment=options.moment,
            per_epoch=per_epoch,
            total=total,
            window=options.prune_iterations or 1,
            count=options.prune_steps,
            switch=options.switch,
        )

    def prunable(self, model: "nn.Module", example: "Tensor", opaque: Iterable[str] = ()) -> "Graph":
        """Return the graph of what this method may prune of a model.

        Args:
            model: any network; it is not changed.
            example: an input, batch included.
            opaque: modules that are not pruned.

        Raises:
            TraceError, ModelError: this method cannot prune it.
        """
        from edgeprune.graph.classes import build_graph

        return build_graph(model, example, opaque=opaque)

    def phase(self, context: "Context", removal: Removal) -> "Phase":
        """Return training up to a removal.

        Args:
            context: the network, data and settings of the training.
            removal: the one at its end.
        """
        from edgeprune.methods.phase import LeadIn, Phase

        return (Phase if removal.progress else LeadIn)(self, context, removal)

    def callback(self, phase: "Phase") -> "Callback":
        """Return the training callback up to a removal; that of the schedule by default."""
        return phase.schedule.callback(phase)

    def withdraw(self, phase: "Phase") -> None:
        """Undo the callback's changes to the network, before any training."""

    def penalty(self, phase: "Phase") -> "Callback":
        """Return the penalty that shrinks channels under a regularised schedule."""
        from edgeprune.methods.penalties import GroupLasso

        return GroupLasso(phase.graph, phase.lr_integral, phase.context.options.shrink)

    def scores(self, phase: "Phase") -> "Scores":
        """Return (classes,) scores at the end of a phase, higher for more important channels."""
        return phase.scores()
