"""Weights of another data set are not passed over in silence."""

import pytest
import torch

from edgeprune.data import DataBundle, load_data
from edgeprune.models import build
from edgeprune.train_prune.chance import _warn_once, chance_note, warn_of_weights
from edgeprune.train_prune.options import TrainPruneOptions

GIVEN = TrainPruneOptions(model="resnet8", weights="w.pt", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def digits() -> DataBundle:
    return load_data("digits")


@pytest.mark.parametrize(
    ("accuracy", "images", "noted"),
    [(0.0944, 360, True), (0.02, 360, True), (0.2, 360, False), (0.97, 360, False), (0.0944, 50, False)],
)
def test_accuracy_by_chance_is_noted(accuracy: float, images: int, noted: bool, digits: DataBundle) -> None:
    note = chance_note(GIVEN, digits, accuracy, images)
    assert (note is not None) == noted
    if noted:
        start = (
            f"the given weights reach {100 * accuracy:.1f} % on digits, about chance: are they of this data?"
        )
        assert note == f"{start} name theirs by --data"


def test_a_baseline_that_was_trained_here_is_to_be_trained_longer(digits: DataBundle) -> None:
    """Chance is 0.1, and a quarter of the way from there to 1 is 0.325."""
    assert chance_note(TrainPruneOptions(), digits, 0.164, 360) == (
        "the baseline reaches 16.4 % on digits, where guesses reach 10.0 %: train it for more --baseline-epochs, or at "
        "another --baseline-lr"
    )
    assert chance_note(TrainPruneOptions(), digits, 0.32, 360) and not chance_note(
        TrainPruneOptions(), digits, 0.33, 360
    )
    assert chance_note(TrainPruneOptions(init="random"), digits, 0.1, 360) is None


def test_weights_by_chance_are_warned_of_before_training(
    digits: DataBundle, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    torch.manual_seed(0)
    model = build("resnet8", num_classes=10)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)  # every image is of the first class
    for _ in range(2):
        warn_of_weights(model, digits, GIVEN)
    assert len(caplog.messages) == 1
    assert "about chance: are they of this data?" in caplog.messages[0]
