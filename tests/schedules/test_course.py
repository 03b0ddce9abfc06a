"""Where removals fall among the steps of a run."""

from typing import Any

import pytest

from edgeprune.errors import TrainError
from edgeprune.schedules.course import Course, Removal, check_moment
from edgeprune.schedules.methods import METHODS, SCHEDULES, Method


def course(**more: Any) -> Course:
    given: dict[str, Any] = {
        "method": Method("l1"), "schedule": "one-shot", "moment": "start", "per_epoch": 10, "whole": 100,
        "window": 40, "count": 4, "switch": 0.5,
    }  # fmt: skip
    return Course(**{**given, **more})


def test_one_shot_is_one_removal_at_the_moment() -> None:
    assert course().removals(0) == [Removal(0, 1.0, "l1")]
    later = course(moment="epoch:3")
    assert later.moment_step == 30
    assert later.removals(30) == [Removal(30, 1.0, "l1")]
    assert course(moment="end").moment_step == 100


def test_iterative_removals_are_spread_over_the_window_in_equal_shares() -> None:
    found = course(schedule="iterative").removals(10)
    assert [r.step for r in found] == [10, 20, 30, 40]
    assert [r.way for r in found] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("schedule", ["soft", "regularised"])
def test_what_takes_time_removes_at_the_end_of_its_window(schedule: str) -> None:
    assert course(schedule=schedule).removals(0) == [Removal(40, 1.0, "l1")]


@pytest.mark.parametrize(("switch", "first"), [(0.5, 2), (0.25, 1), (0.0, 0), (1.0, 4)])
def test_saliency_comes_before_the_switch_and_similarity_after(switch: float, first: int) -> None:
    method = METHODS["saliency-similarity"]
    assert method is not None
    found = course(method=method, schedule="iterative", switch=switch).removals(0)
    assert [r.criterion for r in found] == ["l1"] * first + ["similarity"] * (4 - first)


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
    with pytest.raises(TrainError, match="beyond the 100 steps .* raise --epochs"):
        course(**more)


@pytest.mark.parametrize("moment", ["start", "end", "plateau", "epoch:0", "epoch:12"])
def test_moments(moment: str) -> None:
    check_moment(moment)


@pytest.mark.parametrize("moment", ["", "begin", "epoch", "epoch:", "epoch:-1", "epoch:2.5", "5"])
def test_unknown_moments(moment: str) -> None:
    with pytest.raises(TrainError, match="write start, epoch:N, plateau or end"):
        check_moment(moment)


def test_every_method_has_a_known_schedule() -> None:
    assert all(m is None or m.schedule in SCHEDULES for m in METHODS.values())
    assert METHODS["learned"] is None
