"""Surviving channels are listed so that a padded shortcut needs no gather."""

import numpy as np
import pytest
import torch

from edgeprune.graph.classes import build_graph
from edgeprune.graph.ordering import channel_orders
from edgeprune.graph.plan import Plan
from edgeprune.models import build
from edgeprune.rewrite.compaction import compact
from graph.checks import disagreement, random_keep, randomise

IMAGE = torch.randn(1, 3, 32, 32)


@pytest.mark.parametrize("seed", range(3))
def test_no_gather_in_a_cifar_resnet(seed: int) -> None:
    graph = build_graph(randomise(build("resnet20", num_classes=10)), IMAGE)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.3 + 0.2 * seed, seed)))
    sources = [done.model.get_submodule(path).forward.source for path in done.rewritten]
    assert sources and not any("index_select" in source for source in sources)
    assert disagreement(graph, done, (IMAGE,)) <= 1e-5


def test_orders_hold_exactly_what_stays() -> None:
    graph = build_graph(build("resnet20", num_classes=10), IMAGE)
    keep = random_keep(graph, 0.5, 7)
    orders = channel_orders(graph, keep)
    assert len(orders) == 3  # the three stages
    for key, order in orders.items():
        vector = np.frombuffer(key, dtype=np.int64)
        assert sorted(order.tolist()) == np.flatnonzero(keep[vector]).tolist()
