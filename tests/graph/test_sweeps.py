"""Whole models of torchvision, each pruned at random and compared with its masked self.

`make test-slow` runs these; the last result is kept in results/graph_torchvision.json.
"""

import dataclasses
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torchvision import models

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from graph.checks import Outcome, fvcore_flops, onnx_error, random_keep, randomise, sweep_one

pytestmark = pytest.mark.slow

TRANSFORMERS = ("vit_", "swin_", "maxvit")
SIDES = {"inception_v3": 75}
CLASSIFIERS = [n for n in models.list_models(models) if not n.startswith(TRANSFORMERS)]
SEGMENTERS = models.list_models(models.segmentation)
RESULTS = Path(__file__).parents[2] / "results" / "graph_torchvision.json"


@pytest.fixture(scope="module")
def record() -> Iterator[list[Outcome]]:
    """Collects outcomes; writes them when the whole sweep ran."""
    rows: list[Outcome] = []
    yield rows
    if len(rows) == len(CLASSIFIERS) + len(SEGMENTERS):
        versions = {name: version(name) for name in ("torch", "torchvision")}
        lines = [dataclasses.asdict(row) for row in rows]
        content = {"schema": 1, "versions": versions, "kept_channels": 0.6, "models": lines}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, record: list[Outcome]) -> None:
    torch.manual_seed(0)
    side = SIDES.get(name, 64)
    model = models.get_model(name, weights=None)
    record.append(sweep_one(name, model, (torch.randn(1, 3, side, side),), 0.6))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters(name: str, record: list[Outcome]) -> None:
    torch.manual_seed(0)
    model = models.get_model(name, weights=None, weights_backbone=None)
    record.append(sweep_one(name, model, (torch.randn(1, 3, 64, 64),), 0.6))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_flops_and_onnx(name: str) -> None:
    # The exporter wants the pooled map of AlexNet and VGG to divide evenly: their own size does.
    side = 224 if name.startswith(("alexnet", "vgg")) else SIDES.get(name, 64)
    inputs = (torch.randn(1, 3, side, side),)
    graph = build_graph(randomise(models.get_model(name, weights=None)), inputs)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    assert fvcore_flops(done.model, inputs) == graph.flops(done.plan.keep)
    assert onnx_error(done.model, inputs, dynamo=False) < 1e-3
