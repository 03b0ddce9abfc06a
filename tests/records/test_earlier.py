"""Files of the version in which a pruned network was its traced graph: constants and indices stood at the root.

data/earlier/run holds what is needed of a run whose blocks were emptied; blocks.safetensors is the same network as
`edgeprune.save` wrote it then, and shuffle.safetensors one that shuffles and splits channels.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import edgeprune
from edgeprune.errors import WeightsError
from edgeprune.graph.plan import Plan
from edgeprune.records.earlier import named_now
from edgeprune.runs.run import Run

EARLIER = Path(__file__).parents[1] / "data" / "earlier"


def assert_as_then(model: nn.Module, example: Path) -> None:
    pair = load_file(str(example))
    torch.testing.assert_close(model.eval()(pair["x"]), pair["y"], rtol=1e-5, atol=1e-6)


def test_a_run_folder() -> None:
    before = load_file(str(EARLIER / "run" / "pruned.safetensors"))
    assert {"layer2_0_bn2_constant_0", "layer3_0_bn2_constant_0", "edgeprune_index_0"} <= before.keys()
    model = edgeprune.load(EARLIER / "run")
    assert_as_then(model, EARLIER / "run" / "example.safetensors")
    state = model.state_dict()
    assert torch.equal(state["layer2.0.bn2_constant_0"], before["layer2_0_bn2_constant_0"])


def test_a_removal_and_its_momentum() -> None:
    model, momentum = Run.open(EARLIER / "run").removals.load()
    assert_as_then(model, EARLIER / "run" / "example.safetensors")
    assert momentum.keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("name", ["blocks", "shuffle"])
def test_a_saved_model(name: str) -> None:
    example = {"blocks": "run/example", "shuffle": "shuffle-example"}[name]
    model = edgeprune.load(EARLIER / f"{name}.safetensors")
    assert_as_then(model, EARLIER / f"{example}.safetensors")
    with pytest.raises(WeightsError, match="holds no keep-plans to prune a Linear by: load it without into="):
        edgeprune.load(EARLIER / f"{name}.safetensors", into=nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["saved again", "pruned again"])
def test_a_model_that_was_loaded_goes_on(name: str, tmp_path: Path) -> None:
    model = edgeprune.load(EARLIER / "shuffle.safetensors")
    x = load_file(str(EARLIER / "shuffle-example.safetensors"))["x"]
    if name == "pruned again":
        graph = edgeprune.trace(model, x)
        keep = torch.arange(graph.classes).numpy() > 0
        model = edgeprune.compact(model, graph, Plan.of(graph, keep))
    again = edgeprune.load(edgeprune.save(model, tmp_path / "net.safetensors"))
    assert torch.equal(again(x), model(x))


def test_a_constant_that_is_missing_or_of_another_place(tmp_path: Path) -> None:
    shutil.copytree(EARLIER / "run", tmp_path / "run")
    path = tmp_path / "run" / "pruned.safetensors"
    tensors = load_file(str(path))
    value = tensors.pop("layer2_0_bn2_constant_0")
    for name in ("", "layer2_1_bn2_constant_0", "layer2.0_bn2_constant_0"):
        save_file({**tensors, **({name: value} if name else {})}, str(path))
        with pytest.raises(WeightsError, match=r"it lacks layer2.0.bn2_constant_0"):
            edgeprune.load(tmp_path / "run")


def test_names_of_now_stay() -> None:
    own = {
        "a.b_constant_0": torch.zeros(1),
        "a_b_constant_0": torch.ones(1),
        "a.edgeprune_index_0": torch.arange(3),
    }
    result = named_now({"a.b_constant_0": torch.zeros(1), "a_b_constant_0": torch.ones(1)}, own)
    assert result.keys() == own.keys()
    assert all(torch.equal(result[name], own[name]) for name in own)
