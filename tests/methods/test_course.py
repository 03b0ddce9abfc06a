"""Where removals fall among the steps of a run."""

from typing import Any

import pytest

from edgeprune import methods
from edgeprune.errors import TrainError
from edgeprune.methods import SCHEDULES, MethodOptions
from edgeprune.methods.course import Course, Removal
from edgeprune.options.fields import check_fields


def course(**more: Any) -> Course:
    options: dict[str, Any] = {
        "criteria": ("l1",), "schedule": "one-shot", "moment": "start", "per_epoch": 10, "total": 100,
        "window": 40, "count": 4, "switch": 0.5,
    }  # fmt: skip
    options |= more
    return Course(**{**options, "schedule": SCHEDULES[options["schedule"]]})


def test_one_shot_is_one_removal_at_the_moment() -> None:
    assert course().removals(0) == [Removal(0, 1.0, "l1")]
    later = course(moment="epoch:3")
    assert later.moment_step == 30
    assert later.removals(30) == [Removal(30, 1.0, "l1")]
    assert course(moment="end").moment_step == 100


def test_iterative_removals_are_spread_over_the_window_in_equal_shares() -> None:
    result = course(schedule="iterative").removals(10)
    assert [r.step for r in result] == [10, 20, 30, 40]
    assert [r.progress for r in result] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("schedule", ["soft", "regularised"])
def test_what_takes_time_removes_at_the_end_of_its_window(schedule: str) -> None:
    assert course(schedule=schedule).removals(0) == [Removal(40, 1.0, "l1")]


@pytest.mark.parametrize(("switch", "first"), [(0.5, 2), (0.25, 1), (0.0, 0), (1.0, 4)])
def test_saliency_comes_before_the_switch_and_similarity_after(switch: float, first: int) -> None:
    criteria = methods.get("saliency-similarity").criteria
    result = course(criteria=criteria, schedule="iterative", switch=switch).removals(0)
    assert [r.criterion for r in result] == ["l1"] * first + ["similarity"] * (4 - first)


def test_a_plateau_leaves_room_for_what_follows() -> None:
    assert course(moment="plateau").moment_step is None
    assert course(moment="plateau").longest_lead == 80
    assert course(moment="plateau", schedule="soft").longest_lead == 60


@pytest.mark.parametrize(
    "more",
    [
        {"moment": "epoch:11"},
        {"schedule": "iterative", "moment": "epoch:7"},
        {"schedule": "soft", "window": 101},
    ],
)
def test_a_course_that_does_not_fit(more: dict[str, Any]) -> None:
    with pytest.raises(TrainError, match="beyond the 100 steps .* raise `epochs`"):
        course(**more)


@pytest.mark.parametrize("moment", ["start", "end", "plateau", "epoch:0", "epoch:12"])
def test_moments(moment: str) -> None:
    check_fields(MethodOptions(moment=moment), TrainError)


@pytest.mark.parametrize("moment", ["", "begin", "epoch", "epoch:", "epoch:-1", "epoch:2.5", "5"])
def test_unknown_moments(moment: str) -> None:
    with pytest.raises(TrainError, match="write start, epoch:N, plateau or end"):
        check_fields(MethodOptions(moment=moment), TrainError)


def test_every_method_has_a_known_schedule() -> None:
    assert all(methods.get(name).schedule in SCHEDULES for name in methods.names())


def test_the_learned_method_is_one_removal_at_the_end_of_its_phase() -> None:
    options = MethodOptions(method="learned", prune_iterations=40)
    learned = methods.get("learned").course(options, per_epoch=10, total=100)
    assert learned.next_after([]) == Removal(40, 1.0, "learned")
    assert learned.next_after([40]) is None


def test_a_lead_in_counts_as_a_removal_of_nothing() -> None:
    plateau = course(moment="plateau", schedule="iterative")
    assert plateau.next_after([]) == Removal(60, 0.0, "l1")
    assert plateau.next_after([31]) == Removal(31, 0.25, "l1")
    assert plateau.next_after([31, 31, 41, 51, 61]) is None
