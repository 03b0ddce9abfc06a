"""The controller: where it wants to be, and a simulated phase that gets there."""

import math

import pytest
import torch

from edgeprune.learned.controller import Controller, scheduled_fraction
from edgeprune.learned.mask import OFFSET


@pytest.mark.parametrize(
    ("iteration", "expected"),
    [(0, 1.0), (150, 0.9), (375, 0.75), (750, 0.5), (751, 0.5), (1000, 0.5), (5000, 0.5)],
)
def test_scheduled_fraction_is_a_ramp_then_level(iteration: int, expected: float) -> None:
    assert scheduled_fraction(iteration, 1000, 1.0, 0.5) == pytest.approx(expected)


def test_scheduled_fraction_of_a_phase_of_one_step() -> None:
    assert scheduled_fraction(0, 1, 1.0, 0.5) == 1.0
    assert scheduled_fraction(1, 1, 1.0, 0.5) == 0.5


@pytest.mark.parametrize(("max_iter", "gain"), [(1000, 0.05), (400, 0.05), (100, 0.2), (10, 0.25)])
def test_one_turn_by_hand(max_iter: int, gain: float) -> None:
    # Wanted after three quarters is 0.5; the gap is 0.2, and 0.3 of it comes on top of the progress.
    controller = Controller(target=0.5, max_iter=max_iter)
    step = 3 * max_iter // 4
    gap = 0.7 - scheduled_fraction(step, max_iter, 1.0, 0.5)
    assert controller.interacting(step, 0.7) == pytest.approx((gain * gap + 0.3 * gap) * max_iter - step)
    assert controller.progress == pytest.approx(gain * gap)


def test_progress_is_limited() -> None:
    controller = Controller(target=0.1, max_iter=100)
    for _ in range(1000):
        controller.interacting(100, 1.0)
    assert controller.progress == controller.limit


class Plant:
    """Masks of 2,000 channels under the source's formula; FLOPs go with the square of the channels."""

    def __init__(self, max_iter: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.evidence = 0.45 * torch.randn(2000, generator=generator)
        self.noise = generator
        self.mask = torch.full((2000,), 2 * OFFSET)
        self.max_iter = max_iter

    def step(self, iteration: int, interacting: float) -> float:
        progress = (iteration + interacting) / self.max_iter
        result = self.evidence + 0.03 * torch.randn(2000, generator=self.noise)
        self.mask = torch.relu(self.mask / 2 + result + OFFSET - progress)
        return float((self.mask > 0).float().mean()) ** 2


def close(target: float, max_iter: int, *, steered_until: int = 0, steered_to: float = 0.0) -> list[float]:
    plant, controller = Plant(max_iter), Controller(target, max_iter)
    interacting, fractions = 0.0, []
    for iteration in range(max_iter):
        fractions.append(plant.step(iteration, interacting))
        if iteration + 1 <= steered_until:
            interacting = steered_to * max_iter - iteration
            controller.progress = steered_to
        else:
            interacting = controller.interacting(iteration + 1, fractions[-1])
    return fractions


@pytest.mark.parametrize("max_iter", [100, 400, 4000])
@pytest.mark.parametrize("target", [0.3, 0.5, 0.7, 0.9])
def test_closed_loop_meets_the_target(target: float, max_iter: int) -> None:
    fractions = close(target, max_iter)
    last = fractions[-max(5, max_iter // 50) :]
    assert sum(last) / len(last) == pytest.approx(target, rel=0.01)
    assert min(fractions) > 0.97 * target  # it comes from above: what is cut too far is not easily won back


@pytest.mark.parametrize("steered_to", [-1.0, 2.0])
def test_it_recovers_from_steering(steered_to: float) -> None:
    fractions = close(0.5, 1000, steered_until=300, steered_to=steered_to)
    assert math.isclose(fractions[290], 1.0 if steered_to < 0 else 0.0, abs_tol=0.15)
    assert fractions[-1] == pytest.approx(0.5, rel=0.02)
