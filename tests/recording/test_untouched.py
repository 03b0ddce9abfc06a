"""After a run everything is as it was, whatever was done to it."""

import random

import numpy as np
import torch
from torch import nn

from edgeprune.recording.untouched import ModelState, untouched


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))
        self.register_buffer("grid", torch.arange(6.0).view(2, 3))
        self.register_buffer("grown", torch.zeros(2))
        self.register_buffer("not_a_number", torch.tensor([float("nan"), 1.0]))
        self.register_buffer("apart", torch.arange(6.0).view(2, 3).T)
        self.seen: list[int] = [1]
        self.cache: dict[str, int] = {}
        self.step = 0


def _state(model: Stateful) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_buffers_attributes_and_containers_come_back() -> None:
    model = Stateful()
    before, held = _state(model), dict(vars(model))
    buffers = dict(model.named_buffers())
    with untouched(model):
        model.norms[1](torch.randn(4, 3, 2, 2))
        model.grid.add_(1)
        model.grown.resize_(5).fill_(3)
        model.apart.mul_(2)
        model.not_a_number.fill_(0)
        model.seen.append(2)
        model.cache["a"] = 1
        model.step, model.new = 1, 2
        model.norms[0].register_forward_hook(lambda *_: None)
        model.register_buffer("more", torch.ones(1))
        model.eval()
    after = model.state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        assert torch.equal(after[name].nan_to_num(7), tensor.nan_to_num(7)), name
    assert all(tensor is buffers[name] for name, tensor in model.named_buffers())
    assert list(vars(model)) == list(held) and all(vars(model)[name] is value for name, value in held.items())
    assert (model.seen, model.cache, model.step) == ([1], {}, 0) and not model.norms[0]._forward_hooks
    assert model.training and model.norms[2].training


def test_what_nobody_wrote_into_is_not_written() -> None:
    model = Stateful()
    versions = {name: tensor._version for name, tensor in model.named_buffers()}
    with untouched(model):
        model.norms[0].running_mean.add_(1)
    after = {name: tensor._version for name, tensor in model.named_buffers()}
    assert {name for name, version in after.items() if version != versions[name]} <= {
        "norms.0.running_mean",
        "not_a_number",
    }


def test_one_state_is_put_back_as_often_as_it_is_wanted() -> None:
    model = Stateful()
    before, state = _state(model), ModelState(model)
    for _ in range(3):
        torch.manual_seed(5)
        with state.kept():
            torch.rand(2)
            model.grid.mul_(2)
            model.seen.append(2)
            model.step += 1
        assert torch.equal(model.grid, before["grid"]) and (model.seen, model.step) == ([1], 0)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))


def test_random_numbers_go_on_where_they_were() -> None:
    model = Stateful()
    for seed in (random.seed, np.random.seed):
        seed(3)
    expected = random.random(), float(np.random.rand()), float(np.random.randn())
    for seed in (random.seed, np.random.seed):
        seed(3)
    with untouched(model):
        random.random()
        np.random.randn(3)
    assert (random.random(), float(np.random.rand()), float(np.random.randn())) == expected
