"""Note a pruned network that ends far from its baseline."""

from edgeprune.tasks import Metric
from edgeprune.train_prune.options import TrainPruneOptions

FAR = 5.0  # points of a share, or percent of another metric's value


def change_note(metric: Metric, baseline: float, pruned: float, options: TrainPruneOptions) -> str | None:
    """Return a note where a pruned network is far from its baseline: much worse, or much better.

    Args:
        metric: of the task.
        baseline: its value of the unpruned network on the test images.
        pruned: of the pruned one.
        options: resolved ones.
    """
    lost = metric.worth(baseline) - metric.worth(pruned)
    if options.init == "random" or metric.scale * abs(lost) <= _limit(metric, baseline):
        return None
    change = f"{metric.text(baseline)} to {metric.text(pruned)}, {metric.change(baseline, pruned)}"
    if lost > 0:
        milder = (
            "search again with a milder --target" if options.plan is not None else "give a milder --target"
        )
        worse = "below" if metric.higher_is_better else "above"
        limit = "" if options.max_drop is not None else ", or name the loss that you allow by --max-drop"
        return (
            f"the pruned network's {metric.title} is far {worse} its baseline's ({change}): train it for more "
            f"--epochs, {milder}{limit}"
        )
    longer = (
        "give weights that are"
        if options.weights is not None
        else "train it for more --baseline-epochs, so that it is"
    )
    return (
        f"the pruned network's {metric.title} is far better than its baseline's ({change}), which was not trained "
        f"to the end: {longer}, or what pruning costs stays unknown"
    )


def _limit(metric: Metric, baseline: float) -> float:
    """Return the largest change without a note, in the metric's unit of display."""
    return FAR if metric.unit == "%" else FAR / 100 * abs(metric.shown(baseline))
