"""Whether the training mode has to be recorded: only where some code asks for it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from edgeprune.graph.classes import build_graph
from edgeprune.recording.modes import mode_reads
from edgeprune.recording.network import watch
from edgeprune.recording.walks import modules


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.ReLU())
        self.depth = StochasticDepth(0.5, "row")
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.depth(self.body(x)).mean((2, 3)))


class Asking(Plain):
    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out * 2 if self.training else out


class Switching(Plain):
    def train(self, mode: bool = True) -> "Switching":
        return super().train(mode)


class Dropping(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5, self.training)


def _hooked() -> nn.Module:
    model = Plain()
    model.body.register_forward_hook(lambda module, _, out: out + 1 if module.training else out)
    return model


def _subclass() -> nn.Module:
    class Norm(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if self.training else x

    model = Plain()
    model.body[1] = Norm(8)
    return model


IMAGE = torch.randn(2, 3, 8, 8)


def test_known_layers_do_not_ask() -> None:
    model = Plain().train()
    assert not watch(model, (IMAGE,)).reads_mode
    assert build_graph(model, IMAGE).training_flow is None
    assert "training" not in vars(nn.Module) and model.training


@pytest.mark.parametrize("make", [Asking, Switching, Dropping, _hooked, _subclass])
def test_code_that_asks_is_noted(make) -> None:  # type: ignore[no-untyped-def]
    assert watch(make(), (IMAGE,)).reads_mode


def test_what_asks_is_recorded_in_both_modes() -> None:
    assert build_graph(Asking(), IMAGE).training_flow is not None


def test_scripted_modules_keep_their_flag_elsewhere() -> None:
    with mode_reads([torch.jit.script(nn.ReLU())]) as reads:
        pass
    assert reads.differs


def test_flags_read_and_written_while_they_are_watched() -> None:
    model = Plain()
    with mode_reads(modules(model)) as reads:
        assert model.training
        model.eval()
        assert not model.body[0].training
        with pytest.raises(AttributeError, match="training"):
            del model.training
            assert model.training
        model.training = True
    assert reads.differs and model.training and "training" in vars(model)


def test_an_error_puts_the_class_back() -> None:
    with pytest.raises(ZeroDivisionError), mode_reads([Plain()]):
        raise ZeroDivisionError
    assert not hasattr(nn.Module, "training")
