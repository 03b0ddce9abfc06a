"""Weights get their size back in front of a BatchNorm, and nothing else changes."""

import torch
from torch import nn

from edgeprune.learned.scale import restore_scale


class Net(nn.Module):
    """A convolution before a BatchNorm, one before a ReLU, and one read by two."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.free = nn.Conv2d(8, 4, 3)
        self.forked = nn.Conv2d(4, 4, 1)
        self.late = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.free(torch.relu(self.norm(self.normed(x)))).relu()
        x = self.forked(x)
        return self.late(x) + x


def rms(weight: torch.Tensor) -> float:
    return float(weight.square().mean().sqrt())


def test_the_size_comes_back_and_the_function_stays() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    x = torch.randn(2, 3, 8, 8)
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 1.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():  # a mask of 0.4, absorbed by the norm
        model.normed.weight.mul_(0.4)
        model.normed.bias.mul_(0.4)
        model.norm.running_mean.mul_(0.4)
        model.norm.running_var.mul_(0.16)
        model.free.weight.mul_(0.4)
        model.forked.weight.mul_(0.4)
    small = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(x)
    restore_scale(model, x, before)
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)
    assert abs(rms(model.normed.weight) / rms(before["normed.weight"]) - 1) < 1e-5
    torch.testing.assert_close(model.norm.running_var, before["norm.running_var"])
    for name in ("free.weight", "forked.weight", "late.weight"):  # no norm of their own: untouched
        assert torch.equal(model.state_dict()[name], small[name])
