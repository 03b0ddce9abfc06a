"""Pruning by what the outputs lose: within a group by a criterion, between groups by measured effects."""

from typing import TYPE_CHECKING

from edgeprune.errors import PlanError
from edgeprune.methods.criteria import ByCriterion

if TYPE_CHECKING:
    from edgeprune.graph.classes import Graph
    from edgeprune.methods.phase import Context, Phase
    from edgeprune.methods.removal import Scores

COMPARED = 64  # inputs whose outputs are compared for each share of each group's channels


class BySensitivity(ByCriterion):
    """Prunes what the network's outputs miss least once the next layers are refitted.

    ThiNet's criterion orders a group's channels. Each group alone then loses shares of them, the layers that read it
    are refitted, and the error of the outputs for each FLOP that is saved ranks the groups' channels together.
    """

    schedules = ("one-shot",)

    def __init__(self) -> None:
        super().__init__(
            "sensitivity",
            "what the outputs lose without a layer's channels, after a refit",
            reconstruct="sequential",
            criteria=("thinet",),
        )

    def scores(self, phase: "Phase") -> "Scores":
        """Return (classes,) scores: the outputs' error for each FLOP that a channel's share saves.

        Raises:
            PlanError: there are no batches, or the network's outputs cannot be compared.
        """
        return worth_to_outputs(phase.graph, phase.context, phase.scores())


def worth_to_outputs(graph: "Graph", context: "Context", within: "Scores") -> "Scores":
    """Return (classes,) scores: the outputs' error for each FLOP that a channel's share saves.

    Args:
        graph: of the network as it is now.
        context: with images, of which the first are compared.
        within: (classes,) scores that order the channels of a group.

    Raises:
        PlanError: there are no batches, or the network's outputs cannot be compared.
    """
    from edgeprune.budget.greedy import Greedy
    from edgeprune.effects.selection import sensitivity_scores
    from edgeprune.importance.batches import inputs_of, tensors_among
    from edgeprune.importance.sites import arguments_of
    from edgeprune.methods.removal import agreed
    from edgeprune.reconstruct import MOST_BYTES, Grams, grams_bytes
    from edgeprune.recording.lines import first_line
    from edgeprune.recording.untouched import untouched

    context.report("comparing outputs without parts of each layer")
    batches = [arguments_of(graph, inputs) for inputs in inputs_of(context.batches, "sensitivity")]
    grams = Grams(graph, context.batches) if grams_bytes(graph) <= MOST_BYTES else None
    compared = batches[: max(1, -(-COMPARED // len(tensors_among(batches[0])[0])))]
    per_flop = isinstance(context.budget().solver, Greedy)  # a device's solver adds errors up itself
    try:
        with untouched(graph.model):
            graph.model.eval()
            scores = sensitivity_scores(
                graph, within, grams, compared, floor=context.options.floor, per_flop=per_flop,
                progress=lambda done, total, text: context.report(f"{text} ({done:g} of {total:g})"),
            )  # fmt: skip
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise PlanError(
            f"{type(graph.model).__name__}'s outputs cannot be compared ({first_line(error)}): choose another "
            "`method` than sensitivity"
        ) from error
    return agreed(scores)
