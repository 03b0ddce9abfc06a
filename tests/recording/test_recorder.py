"""Watching leaves nothing behind, neither on the network nor in torch."""

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from edgeprune.recording.network import watch


def test_no_hook_of_torch_stays() -> None:
    before = {
        name: dict(hooks or {}) for name, hooks in vars(torch_module).items() if name.startswith("_global_")
    }
    apply = vars(torch.autograd.Function)["apply"]
    watch(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (torch.zeros(1, 3, 8, 8),))
    after = {
        name: dict(hooks or {}) for name, hooks in vars(torch_module).items() if name.startswith("_global_")
    }
    assert before == after and vars(torch.autograd.Function)["apply"] is apply
