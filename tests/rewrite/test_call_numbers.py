"""Numbers among a call's arguments, against the recorded ones."""

from typing import Any

import pytest
import torch
import torch.fx as fx

from edgeprune.rewrite.call_numbers import changed_numbers, numbers_of


def _recorded(*arguments: Any, **options: Any) -> fx.Node:
    """A recorded call of some function, whose tensors are placeholders."""
    graph = fx.Graph()
    args = tuple(graph.placeholder("x") if a is None else a for a in arguments)
    return graph.call_function(torch.add, args, options)


def test_numbers_go_by_their_place_and_tensors_are_left_out() -> None:
    x = torch.zeros(2)
    assert numbers_of("pad", (x, [1, 2], "constant"), {"value": 3.0}) == {"1.0": 1, "1.1": 2, "value.0": 3.0}


def test_the_index_of_an_assignment_and_the_sizes_of_a_new_tensor_are_left_out() -> None:
    x = torch.zeros(2)
    assert numbers_of("setitem", (x, slice(0, 16), 5), {}) == {"0.0": 5}
    assert numbers_of("full", ((4, 8), 7), {"fill_value": 1}) == {"0.0": 7, "fill_value.0": 1}


@pytest.mark.parametrize(
    ("op", "recorded", "made", "answer"),
    [
        ("mul", (None, 32), (32,), None),
        ("mul", (None, 32), (24,), "a width enters the arithmetic"),
        ("mul", (None, 32), (), "mul is given other arguments"),
        ("expand", (None, 32), (24,), None),  # its size is held against the labels
    ],
)
def test_numbers_stay_unless_they_are_sizes(op: str, recorded: Any, made: Any, answer: str | None) -> None:
    node = _recorded(*recorded)
    assert changed_numbers(node, op, (torch.zeros(2), *made), {}, lambda source: None) == answer


@pytest.mark.parametrize(
    ("groups", "channels", "answer"),
    [(4, 8, None), (6, 12, None), (8, 8, "group_norm has another number of groups")],
)
def test_groups_of_a_norm_follow_the_channels(groups: int, channels: int, answer: str | None) -> None:
    """8 groups of 16 channels: 4 of 8 remain, 6 of 12."""
    node = _recorded(None, 8)
    labels = torch.arange(16).view(1, 16)
    made = (torch.zeros(1, channels), groups)
    assert changed_numbers(node, "group_norm", made, {}, lambda source: labels) == answer
