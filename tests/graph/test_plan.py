import json

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask


def small(width: int = 6) -> Graph:
    layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 1), nn.Conv2d(4, 2, 1))
    return build_graph(layers, torch.zeros(1, 3, 8, 8))


def some(graph: Graph) -> Plan:
    keep = np.arange(graph.classes) % 3 != 1
    return Plan.of(graph, keep, ("a note",))


def test_round_trip_through_json() -> None:
    graph = small()
    plan = some(graph)
    text = json.dumps(plan.to_dict(graph))
    back = Plan.from_dict(graph, json.loads(text))
    assert (back.keep == plan.keep).all() and back.fingerprint == plan.fingerprint
    assert back.notes == ("a note",)
    assert json.loads(text)["groups"][0] == {"name": "0", "size": 6, "kept": [0, 2, 3, 5]}


def test_a_plan_is_not_changed_through_the_array_it_was_made_of() -> None:
    graph = small()
    keep = np.ones(graph.classes, dtype=bool)
    plan = Plan.of(graph, keep)
    keep[:] = False
    assert plan.keep.all()


def test_another_models_plan() -> None:
    plan = some(small(6))
    for use in (compact, mask):
        with pytest.raises(PlanError, match="made for another model .* make a new plan"):
            use(small(7), plan)
    with pytest.raises(PlanError, match="another model"):
        Plan.from_dict(small(7), plan.to_dict(small(6)))
    with pytest.raises(PlanError, match="another model's plan"):
        Plan.of(small(7), np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("groups"),
        lambda d: d.pop("fingerprint"),
        lambda d: d["groups"][0].pop("kept"),
        lambda d: d["groups"][0].update(kept=[0, 99]),
        lambda d: d["groups"][0].update(kept=[-1]),
        lambda d: d["groups"][0].update(kept="all"),
        lambda d: d["groups"][0].update(kept=[[0], [1]]),
        lambda d: d.update(groups=None),
        lambda d: d.update(groups=[1, 2]),
    ],
)
def test_damaged_plans(change: object) -> None:
    graph = small()
    record = some(graph).to_dict(graph)
    change(record)  # type: ignore[operator]
    with pytest.raises(PlanError):
        Plan.from_dict(graph, record)


@pytest.mark.parametrize("value", [None, [], "plan", 3])
def test_things_that_are_no_plan(value: object) -> None:
    with pytest.raises(PlanError, match="not a keep-plan"):
        Plan.from_dict(small(), value)  # type: ignore[arg-type]
