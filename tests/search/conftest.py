"""A network of three groups, and a search that is finished."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.search import SearchOptions, search
from edgeprune.search.variables import Variables


def chain(*widths: int) -> Graph:
    """Convolutions one after the other on 4 x 4 images: widths[0] inputs, widths[-1] outputs."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.ReLU()]
    return build_graph(nn.Sequential(*layers[:-1]).eval(), torch.zeros(1, widths[0], 4, 4))


def variables_of(graph: Graph, **how: object) -> Variables:
    return Variables.of(graph, np.arange(graph.classes, dtype=float), **how)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def importable(place: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield


@pytest.fixture(scope="session")
def requested(place: Path) -> dict[str, object]:
    """As short as it can be."""
    return {
        "source": "tiny_nets:tiny",
        "data": str(place / "images"),
        "target": "flops=0.5",
        "align": 1,  # of 8 and 12 channels: enough policies to choose from
        "baseline_epochs": 1,
        "batch_size": 8,
        "val_fraction": 0.4,
        "precision": "fp32",
        "device": "cpu",
        "trials": 14,
        "clusters": 2,
        "bridge": 3,
        "rollback": "direct",
        "calibration": 16,
    }


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, requested: dict[str, object], importable: None
) -> Path:
    """A search that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("searches") / "straight"
    search(out, SearchOptions.of(requested))
    return out
