"""Sensitivity of a small run: exact removal, real evaluation, resumed where it was stopped."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgeprune import api, training
from edgeprune.cli import main
from edgeprune.errors import DataError, EdgePruneError, ModelError, TargetError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.rewrite.masking import mask
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.sensitivity import measuring
from edgeprune.sensitivity.measuring import measure_sensitivity, removals_of
from edgeprune.sensitivity.options import SensitivityOptions
from edgeprune.sensitivity.subject import subject_of
from edgeprune.tasks import Classification
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import begin, train_baseline

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, place: Path, options: TrainPruneOptions) -> Path:
    """A run folder with a baseline."""
    path = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        begin(path, replace(options, val_fraction=0.3), False, lambda *_: None)
        train_baseline(path, lambda *_: None)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def test_every_point_is_the_masked_networks_metric(run: Path) -> None:
    """The masks of another module: compaction is exact, so both must agree."""
    subject = subject_of(str(run), SubjectOptions())
    record = measure_sensitivity(subject, SensitivityOptions(shares="0.5,0.25"))
    assert record.complete and record.shares == (0.25, 0.5) and record.split == "val"
    assert [group.name for group in record.groups] == [
        tied.groups[0].name for tied in subject.graph.tied_groups
    ]
    assert len(record.points) == 2 * len(record.groups)
    images, graph, scores = subject.images(1000), subject.graph, score(subject.graph, "l1")
    for point in record.points:
        (group,) = [group for group in graph.groups if group.name == point.group]
        ranked = group.classes[np.argsort(scores[group.classes], kind="stable")]
        keep = np.ones(graph.classes, dtype=bool)
        keep[ranked[: round(point.share * group.size)]] = False
        masked = mask(graph, Plan.of(graph, keep))
        assert point.value == training.score_of(masked, images, Classification())
        assert point.flops_fraction == graph.flops(keep) / graph.flops()
    assert record.baseline == training.score_of(graph.model, images, Classification())


def test_a_stopped_measurement_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = SensitivityOptions()
    subject = subject_of(str(run), SubjectOptions())
    real, calls = measuring._point, []

    def stopping(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(measuring, "_point", stopping)
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(subject, options)
    partial = json.loads((run / "sensitivity.json").read_text())
    assert len(partial["points"]) == 2 and not partial["complete"]
    reports: list[tuple[float, float, str]] = []
    record = measure_sensitivity(subject, options, lambda *report: reports.append(report))
    assert len(calls) == 3 + len(record.points) - 2
    assert reports[1][:2] == (2, len(record.points))  # what remains is known at once
    shutil.rmtree(run / "export", ignore_errors=True)
    (run / "sensitivity.json").unlink()
    assert measure_sensitivity(subject, options).points == record.points


def test_points_of_other_images_are_not_kept(run: Path) -> None:
    subject = subject_of(str(run), SubjectOptions())
    first = measure_sensitivity(subject, SensitivityOptions(shares="0.5", images=5))
    again = measure_sensitivity(subject, SensitivityOptions(shares="0.5", images=9))
    assert (first.images, again.images) == (5, 9) and len(again.points) == len(first.points)
    wider = measure_sensitivity(subject, SensitivityOptions(shares="0.5,0.25", images=9))
    assert wider.points[: len(again.points)] == again.points


def test_a_group_keeps_a_channel_and_loses_one() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(2, 3, 1))
    graph = build_graph(net.eval(), torch.zeros(1, 1, 4, 4))
    removals = list(removals_of(graph, np.array([1.0, 0.5]), (0.01, 0.99)))
    assert [removal.removed for removal in removals] == [1, 1]
    assert [removal.keep.tolist() for removal in removals] == [[True, False]] * 2


def test_a_saved_network_and_weights_are_judged_on_the_test_images(
    run: Path, place: Path, tmp_path: Path
) -> None:
    data = str(place / "images")
    network = api.load(run, "baseline")
    example = torch.zeros(1, 3, 8, 8)
    file = api.save(api.prune(network, example, target="flops=0.8").model, tmp_path / "net.safetensors")
    options = SubjectOptions(data=data, out=str(tmp_path / "out"))
    record = measure_sensitivity(subject_of(str(file), options), SensitivityOptions(shares="0.5"))
    assert record.split == "test" and (tmp_path / "out" / "sensitivity.json").is_file()
    weights = replace(options, weights=[str(run / "baseline.safetensors")])
    subject = subject_of("tiny_nets:tiny", weights)
    assert subject.graph.model.linear.out_features == 3  # of the data
    assert torch.equal(subject.graph.model.stem.weight, network.stem.weight)


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        ("resnet8", SubjectOptions(weights=["w.pt"]), DataError, "say which images judge resnet8"),
        ("resnet8", SubjectOptions(data="digits"), ModelError, "resnet8 alone has random weights"),
        ("resnet21", SubjectOptions(data="digits"), ModelError, "resnet21"),
        ("no.safetensors", SubjectOptions(data="digits"), EdgePruneError, "no such file"),
    ],
)
def test_what_is_missing_is_said(
    source: str, options: SubjectOptions, error: type[EdgePruneError], words: str
) -> None:
    with pytest.raises(error, match=words):
        subject_of(source, options)


@pytest.mark.parametrize("shares", ["0", "1", "0.5,x", "0.5,", "nan", "0.5;0.7"])
def test_shares_that_are_none(shares: str) -> None:
    with pytest.raises(TargetError, match="`shares` has .*: write shares between 0 and 1"):
        SensitivityOptions(shares=shares)


def test_the_command_prints_a_table_and_writes_a_heat_map(run: Path) -> None:
    result = CliRunner().invoke(main, ["sensitivity", str(run), "--shares", "0.5"])
    assert result.exit_code == 0, result.output
    assert "without 50 %" in result.stdout and "inside" in result.stdout and "points" in result.stdout
    assert "nothing retrained" in result.stdout.replace("\n", " ")
    page = (run / "sensitivity.html").read_text()
    assert page.count('class="heat"') == 4 and "without 6 channels" in page  # two cells, drawn for two widths
    printed = json.loads(
        CliRunner().invoke(main, ["sensitivity", str(run), "--shares", "0.5", "--json"]).stdout
    )
    assert printed["complete"] and len(printed["points"]) == 2 and printed["metric"]["name"] == "accuracy"


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "digits"], ["--criterion", "l7"], ["--shares", "2"], ["--images", "0"], ["--weights", "a.pt"],
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(run: Path, words: list[str]) -> None:
    result = CliRunner().invoke(main, ["sensitivity", str(run), *words])
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not (run / "sensitivity.json").exists()
