"""What is known of tensors by which they are."""

import gc

import pytest
import torch

from edgeprune.recording.tables import ByTensor


def test_equal_tensors_are_others_and_one_that_has_gone_is_unknown() -> None:
    table, first = ByTensor(), torch.zeros(3)
    assert not table
    table[first] = "first"
    assert table and first in table and table[first] == table.get(first) == "first"
    assert first.clone() not in table and table.get(first.view(3), "none") == "none"
    with pytest.raises(KeyError):
        table[torch.zeros(3)]
    del first
    gc.collect()
    others = [torch.zeros(3) for _ in range(100)]  # one of them lies where the first lay
    assert not any(other in table for other in others)
