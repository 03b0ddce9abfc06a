"""A run that ends far from its baseline says so, by its task's metric, and what helps."""

import pytest

from edgeprune.tasks import Metric
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.quality_notes import change_note

ACCURACY = Metric("accuracy", "%", 100.0)
MAP = Metric("map50", "%", 100.0)
ERROR = Metric("mean_error", "px", 1.0, higher_is_better=False)
RUN = TrainPruneOptions()


def test_a_large_loss_is_noted_in_points_with_what_helps() -> None:
    assert change_note(ACCURACY, 0.98, 0.86, RUN) == (
        "the pruned network's accuracy is far below its baseline's (98.00 % to 86.00 %, -12.00 points): train it for "
        "more --epochs, give a milder --target, or name the loss that you allow by --max-drop"
    )
    of_plan = change_note(MAP, 0.5, 0.44, TrainPruneOptions(plan="plan.json")) or ""
    assert "map50 is far below its baseline's (50.00 % to 44.00 %, -6.00 points)" in of_plan
    assert "search again with a milder --target" in of_plan
    limited = change_note(ACCURACY, 0.98, 0.86, TrainPruneOptions(max_drop=20.0)) or ""
    assert "milder --target" in limited and "--max-drop" not in limited


def test_where_lower_is_better_a_rise_is_the_loss() -> None:
    note = change_note(ERROR, 2.0, 2.5, RUN) or ""
    assert "mean error is far above its baseline's (2.00 px to 2.50 px, +0.50 px)" in note
    assert change_note(ERROR, 2.0, 2.05, RUN) is None  # 2.5 %


def test_a_network_far_better_than_its_baseline_says_that_the_baseline_was_not_trained_to_the_end() -> None:
    note = change_note(ACCURACY, 0.4, 0.9, RUN) or ""
    assert "(40.00 % to 90.00 %, +50.00 points), which was not trained to the end" in note
    assert "--baseline-epochs" in note
    of_weights = change_note(ACCURACY, 0.4, 0.9, TrainPruneOptions(weights="w.pt")) or ""
    assert "give weights that are" in of_weights and "--baseline-epochs" not in of_weights


@pytest.mark.parametrize(
    ("baseline", "pruned", "options"),
    [(0.98, 0.94, RUN), (0.94, 0.98, RUN), (0.1, 0.9, TrainPruneOptions(init="random"))],
)
def test_what_is_near_or_has_no_trained_baseline_is_not_noted(
    baseline: float, pruned: float, options: TrainPruneOptions
) -> None:
    assert change_note(ACCURACY, baseline, pruned, options) is None
