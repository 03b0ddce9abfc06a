"""Methods that prune by a criterion, each with the schedule and reconstruction of its source."""

from typing import TYPE_CHECKING

from edgeprune.errors import TrainError
from edgeprune.methods.base import Method
from edgeprune.methods.options import MethodOptions

if TYPE_CHECKING:
    from edgeprune.methods.phase import Phase
    from edgeprune.methods.removal import Scores
    from edgeprune.training import Callback


class ByCriterion(Method):
    """Prunes by the scores of a criterion.

    Args:
        name: of the criterion, and of the method.
        help: one line.
        schedule: that of its source.
        reconstruct: that of its source: none, scale, fold or kernel.
        criteria: if they differ from the method's name.
    """

    def __init__(
        self,
        name: str,
        help: str = "",  # noqa: A002
        *,
        schedule: str = "one-shot",
        reconstruct: str = "none",
        criteria: tuple[str, ...] = (),
    ) -> None:
        self.name, self.help, self.schedule, self.reconstruct = name, help, schedule, reconstruct
        self.criteria = criteria or (name,)


class Slimmed(ByCriterion):
    """Prunes by BatchNorm's scales, after a penalty on these scales."""

    def penalty(self, phase: "Phase") -> "Callback":
        """Return the penalty on BatchNorm's scales."""
        from edgeprune.methods.penalties import Slimming

        return Slimming(phase.graph, phase.lr_integral, phase.context.options.shrink)


class Factored(ByCriterion):
    """Prunes by scale factors, one for each class, that training drives to zero."""

    schedules = ("regularised",)

    def check(self, options: MethodOptions, *, pretrained: bool = True) -> None:
        """Refuse every schedule but its own."""
        if options.prune_schedule not in (None, *self.schedules):
            raise TrainError(
                f"{self.name} scores by the factors its training leaves: it has no schedule but regularised"
            )
        super().check(options, pretrained=pretrained)

    def penalty(self, phase: "Phase") -> "Callback":
        """Return the callback with the factors."""
        from edgeprune.methods.scaling import ScaleFactors

        context = phase.context
        return ScaleFactors(
            phase.graph, phase.lr_integral, context.momentum, context.options.shrink, context.device
        )

    def withdraw(self, phase: "Phase") -> None:
        """Remove the factors."""
        from edgeprune.methods.scaling import ScaleFactors

        if isinstance(phase.callback, ScaleFactors):
            phase.callback.fold()

    def scores(self, phase: "Phase") -> "Scores":
        """Multiply the factors into the weights for good, and return them."""
        from edgeprune.methods.scaling import ScaleFactors

        assert isinstance(phase.callback, ScaleFactors)
        return phase.callback.fold()


# Sources: methods.md section 5, one by one; section 2 for saliency, then similarity.
BY_CRITERIA: tuple[Method, ...] = (
    ByCriterion("l1", "the sum of a filter's absolute weights"),
    ByCriterion("l2", "the Euclidean norm of a filter, with soft pruning", schedule="soft"),
    ByCriterion("fpgm", "the distance from the other filters, with soft pruning", schedule="soft"),
    ByCriterion("cop", "how little a channel correlates with others, and how cheap its layer is"),
    ByCriterion("whc", "a filter's norm times its unlikeness to the others"),
    ByCriterion("similarity", "how far a filter is from the one most like it"),
    Slimmed(
        "bn-scale", "BatchNorm's scale, after a penalty on it (network slimming)", schedule="regularised"
    ),
    ByCriterion(
        "ssl", "group norms, after a group lasso (structured sparsity learning)", schedule="regularised"
    ),
    ByCriterion("taylor", "the change of the loss by gradients, in several removals", schedule="iterative"),
    ByCriterion("hrank", "the rank of feature maps"),
    ByCriterion("chip", "what a channel adds to the nuclear norm of its layer's feature maps"),
    ByCriterion("fma", "the share of a feature map above its layer's mean"),
    ByCriterion("thinet", "what the next layer's output loses, with refitted scales", reconstruct="scale"),
    ByCriterion("lasso", "a lasso on the next layer's output, with refitted kernels", reconstruct="kernel"),
    ByCriterion(
        "lindeps",
        "what a channel gives beyond linear combinations of others, which are folded",
        reconstruct="fold",
    ),
    ByCriterion("nisp", "how much of the last features' importance reaches back to a channel"),
    ByCriterion("random", "nothing: a reference for the others"),
    Factored(
        "sss",
        "factors on channels that training drives to zero (sparse structure selection)",
        schedule="regularised",
    ),
    ByCriterion(
        "saliency-similarity",
        "l1, and similarity after the switch",
        schedule="iterative",
        criteria=("l1", "similarity"),
    ),
)
# The criteria of `edgeprune.importance`, which takes seconds to import.
OF_EDGEPRUNE = tuple(
    method.name
    for method in BY_CRITERIA
    if isinstance(method, ByCriterion)
    and not isinstance(method, Factored)
    and method.criteria == (method.name,)
)
