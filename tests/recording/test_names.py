"""Nodes get the names that torch.fx would give them."""

import pytest
from torch import fx

from edgeprune.recording.names import NodeNames


@pytest.mark.parametrize(
    "candidates",
    [
        ["conv2d", "conv2d", "weight", "conv2d_1", "conv2d", "conv2d_7", "conv2d"],
        ["abs", "abs", "torch", "device", "nan", "lambda", "is"],
        ["x_3", "x", "x", "x_4", "x", "1x", "a.b", "a.b", "", "\u00e9a", "features_0_1_weight", "_a", "_a"],
    ],
)
def test_names_are_numbered_as_torch_does(candidates: list[str]) -> None:
    ours, theirs = NodeNames(), fx.graph._Namespace()
    for candidate in candidates:
        assert ours.create_name(candidate, None) == theirs.create_name(candidate, None)
