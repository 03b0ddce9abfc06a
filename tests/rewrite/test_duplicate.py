"""A copy is what copy.deepcopy gives: what is shared stays shared, in the copy."""

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.rewrite.duplicate import duplicate


class Holder(nn.Module):
    """Shares empty containers, tensors and modules between its parts."""

    def __init__(self) -> None:
        super().__init__()
        cache: dict[str, Any] = {}
        seen: set[int] = set()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.first.cache = self.second.cache = cache  # type: ignore[assignment]
        self.first.seen = self.second.seen = seen  # type: ignore[assignment]
        self.second.weight = self.first.weight
        self.named = {("a", 1): self.first, "b": [self.second]}
        self.state = OrderedDict(a=torch.ones(2))
        self.state.metadata = {"version": 2}  # type: ignore[attr-defined]
        self.sizes, self.pair = (1, 2.5, None, "x"), (self.first, 1)
        self.itself = [self]

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


class OwnCopy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.copies = nn.Linear(2, 2), 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnCopy":
        new = OwnCopy()
        memo[id(self)] = new
        new.layer, new.copies = copy.deepcopy(self.layer, memo), self.copies + 1
        return new


def test_what_is_shared_stays_shared() -> None:
    model = Holder()
    new = duplicate(model)
    assert type(new) is Holder and new.itself[0] is new
    assert new.first.weight is new.second.weight is not model.first.weight
    assert new.first.cache is new.second.cache is not model.first.cache
    assert new.first.seen is new.second.seen is not model.first.seen
    assert new.named["a", 1] is new.first and new.named["b"][0] is new.second and new.pair[0] is new.first
    assert new.sizes == model.sizes
    assert new.state.metadata == {"version": 2} and new.state["a"] is not model.state["a"]
    assert list(vars(new)) == list(vars(copy.deepcopy(model)))
    assert new.first._forward_hooks is not new.second._forward_hooks is not model.second._forward_hooks
    torch.testing.assert_close(new(torch.ones(1, 3, 2, 2)), model(torch.ones(1, 3, 2, 2)))


@pytest.mark.parametrize("build", [OwnCopy, lambda: nn.Sequential(OwnCopy())])
def test_a_class_that_copies_itself_is_asked(build: Any) -> None:
    new = duplicate(build())
    assert next(m for m in new.modules() if isinstance(m, OwnCopy)).copies == 1


def test_given_tensors_take_the_place_of_the_originals() -> None:
    model = Holder()
    part = nn.Parameter(torch.zeros(2, 3, 1, 1))
    new = duplicate(model, {id(model.first.weight): part})
    assert new.first.weight is part and new.second.weight is part and model.first.weight.shape[0] == 4
