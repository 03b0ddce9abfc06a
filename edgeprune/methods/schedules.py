"""Schedules: the steps of a method's removals, and the training callback up to each."""

from typing import TYPE_CHECKING, ClassVar

from edgeprune.errors import TrainError
from edgeprune.methods.course import Course, Removal
from edgeprune.registry import Registry

if TYPE_CHECKING:
    from edgeprune.methods.phase import Phase
    from edgeprune.training import Callback


class Schedule:
    """One removal at the end of the phase, by the last criterion; a subclass overrides what it does otherwise.

    Attributes:
        takes_time: whether there are steps between the moment at which pruning begins and the last removal.
        repeats: whether there are several removals, as many as --prune-steps says.
        shrinks: whether training shrinks weights before a removal, so that their scale is restored after it.
    """

    takes_time: ClassVar[bool] = True
    repeats: ClassVar[bool] = False
    shrinks: ClassVar[bool] = False

    def removals(self, course: Course, moment: int) -> list[Removal]:
        """Return all removals in order.

        Args:
            course: the steps of the run.
            moment: steps before pruning begins.
        """
        return [Removal(moment + course.window * self.takes_time, 1.0, course.criteria[-1])]

    def callback(self, phase: "Phase") -> "Callback":  # noqa: ARG002
        """Return the training callback up to a removal."""
        from edgeprune.training import Callback

        return Callback()


class OneShot(Schedule):
    """One removal, at a single step."""

    takes_time = False


class Iterative(Schedule):
    """Several removals in equal shares, with training between them."""

    repeats = True

    def removals(self, course: Course, moment: int) -> list[Removal]:
        """Return removals of equal shares, the first at ``moment``."""
        return [
            Removal(
                moment + round(course.window * number / course.count),
                (number + 1) / course.count,
                course.criterion(number),
            )
            for number in range(course.count)
        ]


class Soft(Schedule):
    """Channels are set to zero after each epoch, and may grow again."""

    def callback(self, phase: "Phase") -> "Callback":
        """Return the callback that sets channels to zero."""
        from edgeprune.methods.soft import SoftPruning

        context = phase.context
        return SoftPruning(phase.graph, phase.scorer(), context.budget(), context.per_epoch)


class Regularised(Schedule):
    """A penalty shrinks channels before the removal: the method's own, or a lasso over groups of weights."""

    shrinks = True

    def callback(self, phase: "Phase") -> "Callback":
        """Return the penalty."""
        return phase.method.penalty(phase)


SCHEDULES: Registry[Schedule] = Registry("prune-schedule", "edgeprune.schedules", TrainError)
for _name, _schedule in {
    "one-shot": OneShot(),
    "iterative": Iterative(),
    "soft": Soft(),
    "regularised": Regularised(),
}.items():
    SCHEDULES.register(_name, _schedule)
