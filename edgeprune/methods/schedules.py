"""Schedules: where the removals of a method fall, and what training does up to each."""

from typing import TYPE_CHECKING, ClassVar

from edgeprune.errors import TrainError
from edgeprune.methods.course import Course, Removal
from edgeprune.registry import Registry

if TYPE_CHECKING:
    from edgeprune.methods.phase import Phase
    from edgeprune.training import Callback


class Schedule:
    """One removal after the phase's steps, by the last criterion; others override what they do otherwise.

    Attributes:
        takes_time: whether there are steps between the moment at which pruning begins and the last removal.
        repeats: whether there are several removals, as many as --prune-steps says.
        shrinks: whether training makes weights smaller before they go, so that they need their size back.
    """

    takes_time: ClassVar[bool] = True
    repeats: ClassVar[bool] = False
    shrinks: ClassVar[bool] = False

    def removals(self, course: Course, moment: int) -> list[Removal]:
        """Return all removals in order.

        Args:
            course: with the steps that there are.
            moment: steps before pruning begins.
        """
        return [Removal(moment + course.window * self.takes_time, 1.0, course.criteria[-1])]

    def callback(self, phase: "Phase") -> "Callback":  # noqa: ARG002
        """Return what training up to a removal does besides."""
        from edgeprune.training import Callback

        return Callback()


class OneShot(Schedule):
    """All goes at one step."""

    takes_time = False


class Iterative(Schedule):
    """Several removals in equal shares, with training between them."""

    repeats = True

    def removals(self, course: Course, moment: int) -> list[Removal]:
        """Return equal shares, the first of them at once."""
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
        """Return what sets them to zero."""
        from edgeprune.methods.soft import SoftPruning

        context = phase.context
        return SoftPruning(phase.graph, phase.scorer(), context.budget(), context.per_epoch)


class Regularised(Schedule):
    """A penalty makes channels small before they go: the method's own, or a lasso over groups of weights."""

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
