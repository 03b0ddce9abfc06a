"""What a policy is worth, and that judging one leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.data import load_data
from edgeprune.errors import SearchError
from edgeprune.graph.classes import build_graph
from edgeprune.models import build
from edgeprune.search.evaluate import Evaluator
from search.conftest import variables_of


@pytest.mark.parametrize("reconstruct", ["kernel", "sequential"])
def test_a_reward(place: Path, reconstruct: str) -> None:
    data = load_data(str(place / "images"), val_fraction=0.4)
    torch.manual_seed(0)
    graph = build_graph(build("resnet8", num_classes=3).eval(), torch.zeros(1, *data.shape))
    variables = variables_of(graph)
    before = {name: value.clone() for name, value in graph.model.state_dict().items()}
    item = Evaluator(variables, data, images=10, calibration=16, reconstruct=reconstruct)
    original, seconds = item.reward(variables.plan(variables.sizes))
    assert original in [number / 10 for number in range(11)] and seconds > 0
    half = variables.plan(np.maximum(variables.lowest, variables.sizes // 2))
    first = item.reward(half)[0]
    assert first == item.reward(half)[0]  # the same policy, the same reward
    assert sum(p.numel() for p in item.pruned(half).parameters()) < 0.5 * graph.params()
    for name, value in graph.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_whole_model_is_judged_as_it_is_but_for_its_statistics(place: Path) -> None:
    """Nothing is dropped, so nothing is fitted; BatchNorm is measured anew as for any policy."""
    data = load_data(str(place / "images"), val_fraction=0.4)
    graph = build_graph(build("resnet8", num_classes=3).eval(), torch.zeros(1, *data.shape))
    variables = variables_of(graph)
    model = Evaluator(variables, data, calibration=16).pruned(variables.plan(variables.sizes))
    for name, parameter in model.named_parameters():  # channels may have changed places
        original = graph.model.get_parameter(name)
        assert torch.equal(parameter.flatten().sort()[0], original.flatten().sort()[0]), name


def test_in_the_end_more_images_are_looked_at_and_the_model_as_it_came(place: Path) -> None:
    data = load_data(str(place / "images"), val_fraction=0.4)
    torch.manual_seed(0)
    graph = build_graph(build("resnet8", num_classes=3).eval(), torch.zeros(1, *data.shape))
    variables = variables_of(graph)
    half = np.maximum(variables.lowest, variables.sizes // 2)
    few, more = (Evaluator(variables, data, calibration=4, final=final) for final in (4, 16))
    weights = [
        torch.cat([p.detach().flatten() for p in item.finally_pruned(half).parameters()])
        for item in (few, more, more)
    ]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])
    original = {name: value.clone() for name, value in graph.model.state_dict().items()}
    for name, value in more.unpruned.state_dict().items():
        assert torch.equal(value, original[name]), name
    right = [more.unpruned(x).argmax(1) == y for x, y in data.batches("test")]
    assert more.tested(more.unpruned) == pytest.approx(float(torch.cat(right).float().mean()))


def test_without_held_out_images_there_is_nothing_to_judge_on(place: Path) -> None:
    data = load_data(str(place / "images"), val_fraction=0.0)
    graph = build_graph(build("resnet8", num_classes=3).eval(), torch.zeros(1, *data.shape))
    with pytest.raises(SearchError, match="raise `val_fraction` above 0"):
        Evaluator(variables_of(graph), data)
