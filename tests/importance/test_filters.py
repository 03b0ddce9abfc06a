"""Which weights belong to which channel."""

import numpy as np
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.importance.filters import Filters, read_filters, written_filters


def test_a_convolution_is_written_by_rows_and_read_by_columns() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, (1, 2)), nn.Conv2d(3, 4, 3)).eval()
    graph = build_graph(model, torch.zeros(1, 2, 6, 6))
    first, second = written_filters(graph)
    assert (first.layer, first.classes.tolist(), second.classes.tolist()) == ("0", [0, 1, 2], [-1] * 4)
    weight = model[0].weight.detach().double()
    assert first.weights.shape == (3, 2, 2)  # channels, positions, channels of the other side
    torch.testing.assert_close(first.flat.sort(1).values, weight.flatten(1).sort(1).values)
    reads = {f.layer: f for f in read_filters(graph)}
    assert reads["0"].classes.tolist() == [-1, -1]
    assert reads["1"].classes.tolist() == [0, 1, 2]
    torch.testing.assert_close(reads["1"].weights[2, 5], model[1].weight.detach().double()[:, 2, 1, 2])


def test_after_a_flatten_a_channel_is_read_at_many_places() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3)).eval()
    graph = build_graph(model, torch.zeros(1, 1, 2, 2))
    read = next(f for f in read_filters(graph) if f.layer == "2")
    assert read.weights.shape == (2, 4, 3) and read.classes.tolist() == [0, 1]
    torch.testing.assert_close(read.weights[1, 3], model[2].weight.detach().double()[:, 7])


def test_transposed_and_grouped_convolutions() -> None:
    model = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 2, bias=False), nn.Conv2d(4, 6, 1, groups=2, bias=False), nn.Conv2d(6, 1, 1)
    ).eval()
    graph = build_graph(model, torch.zeros(1, 2, 3, 3))
    written = {f.layer: f for f in written_filters(graph)}
    torch.testing.assert_close(
        written["0"].flat.abs().sum(1), model[0].weight.detach().double().abs().sum((0, 2, 3))
    )
    # The j-th input channels of both groups are one class.
    read = next(f for f in read_filters(graph) if f.layer == "1")
    assert read.weights.shape == (2, 1, 6) and len(set(read.classes.tolist())) == 2


def test_norms_are_the_same_to_the_last_bit_in_whichever_way_they_are_summed() -> None:
    torch.manual_seed(0)
    for shape in ((7, 1, 1), (5, 9, 12), (3, 4, 100_000), (16, 1, 1152)):
        filters = Filters("layer.weight", torch.randn(shape), np.arange(shape[0]))
        for order in (1, 2):
            expected = torch.linalg.vector_norm(filters.stored.double(), order, dim=(1, 2))
            torch.testing.assert_close(filters.norms(order), expected, rtol=1e-14, atol=0)
