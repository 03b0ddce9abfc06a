"""When a loss has levelled off."""

from edgeprune.training import Plateau


def steps(plateau: Plateau, losses: list[float]) -> list[bool]:
    collected = []
    for number, loss in enumerate(losses, 1):
        plateau.after_step(number, loss)
        collected.append(plateau.finished())
    return collected


def test_the_loss_levels_off_when_an_epoch_is_hardly_below_the_one_before() -> None:
    # epochs of two steps: means 2, 1.5, 1.44 (4 % below)
    assert steps(Plateau(2), [3, 1, 2, 1, 1.44, 1.44]) == [False] * 5 + [True]


def test_patience_counts_epochs_in_a_row() -> None:
    assert steps(Plateau(1, patience=2), [2, 2, 1, 1, 1]) == [False, False, False, False, True]


def test_state_is_taken_back() -> None:
    first, second = Plateau(2), Plateau(2)
    steps(first, [3, 1, 2])
    second.restore(first.state())
    for plateau in (first, second):
        plateau.after_step(4, 1.9)
    assert first.state() == second.state()
    fresh = Plateau(2)
    fresh.restore(Plateau(2).state())
    assert steps(fresh, [1, 1]) == [False, False]
