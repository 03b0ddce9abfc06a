"""--opaque: what a run keeps whole is stored with it, and holds wherever the run is read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.cli.base import main as commands
from edgeprune.comparison.source import shared_training
from edgeprune.errors import RunError, TraceError, TrainError
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.models import build
from edgeprune.runs.inspection import inspected_graph
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.train_prune.stored import check_same_options, stored_options

pytestmark = pytest.mark.usefixtures("here")
NOTE = "norm is kept whole because it was asked for"


@pytest.fixture(scope="module")
def short(options: TrainPruneOptions) -> TrainPruneOptions:
    """One epoch with a part that is kept whole."""
    return replace(
        options, opaque=["norm"], epochs=1, prune_iterations=2, baseline_epochs=1, target="flops=0.8"
    )


def test_the_learned_method_looks_around_a_part() -> None:
    analyser = OutputAnalyser(build("resnet8", num_classes=4), torch.zeros(1, 3, 32, 32), opaque=["layer2"])
    assert analyser.graph.chosen == ("layer2",)
    assert not any(masked.name.startswith("layer2") for masked in analyser.masked_layers)
    assert analyser.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 4)


def test_a_run_keeps_a_part_whole(tmp_path: Path, short: TrainPruneOptions) -> None:
    summary = train_prune(tmp_path / "r", replace(short, method="l1", distill=None))
    assert NOTE in summary["notes"]
    run = Run.open(tmp_path / "r")
    assert run.config["options"]["opaque"] == ["norm"] and stored_options(run).opaque == ["norm"]
    before, after = run.load("baseline"), run.load("pruned")
    for name, tensor in before.norm.state_dict().items():
        assert after.norm.state_dict()[name].shape == tensor.shape
    assert sum(p.numel() for p in after.parameters()) < sum(p.numel() for p in before.parameters())
    x = torch.randn(2, *run.config["input_shape"])
    assert torch.isfinite(after(x)).all()
    # `inspect` looks at the run as it was pruned, and otherwise only where it is asked to.
    graph = inspected_graph(str(run.path))
    assert NOTE in graph.notes and graph.classes == next(run.removals.graphs())[0].classes
    assert inspected_graph(str(run.path), opaque=["inside"]).chosen == ("inside",)
    # A comparison or search of the run's baseline does as the run did.
    assert shared_training(str(run.path), {})["opaque"] == ["norm"]
    # It is resumed as it was begun.
    check_same_options(run.path, {"opaque": ["norm"]})
    with pytest.raises(RunError, match=r"was started with opaque=\['norm'\], not \['inside'\]"):
        check_same_options(run.path, {"opaque": ["inside"]})


def test_a_name_that_is_nothing_is_refused_before_training(tmp_path: Path, short: TrainPruneOptions) -> None:
    with pytest.raises(TraceError, match="'insid'.*close names are inside"):
        train_prune(tmp_path / "r", replace(short, opaque=["insid"]))
    with pytest.raises(TrainError, match="`opaque` has an empty name"):
        train_prune(tmp_path / "r", replace(short, opaque=[" "]))
    assert not (tmp_path / "r").exists()


def test_an_edited_run_says_so(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", {"options": {"opaque": [3]}})
    with pytest.raises(RunError, match="options.opaque is not a list of names: was it edited"):
        _ = run.opaque


def test_inspect_by_name_and_class() -> None:
    for name, part in (("layer2", "layer2"), ("Linear", "linear")):
        result = CliRunner().invoke(main, ["inspect", "resnet8", "--opaque", name, "--json"])
        assert result.exit_code == 0, result.output
        reasons = {p["reason"] for p in json.loads(result.stdout)["protected"]}
        assert f"{part} is kept whole because it was asked for" in reasons
    wrong = CliRunner().invoke(main, ["inspect", "resnet8", "--opaque", "Blok"])
    assert "close names are Block" in wrong.stderr and wrong.exit_code == 1


@pytest.mark.parametrize("name", ["train-prune", "inspect", "compare", "search"])
def test_the_commands_have_the_option(name: str) -> None:
    option = next(p for p in commands.commands[name].params if p.name == "opaque")
    assert option.multiple
