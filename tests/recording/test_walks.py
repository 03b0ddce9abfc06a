"""The quick walks give what torch's own give: names, order, shared modules and tensors."""

import pytest
import torch
from torch import nn

from edgeprune.recording.walks import modules, named_buffers, named_modules, named_parameters, set_mode


class Sharing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
        self.again = self.first[0]
        self.listed = nn.ModuleList([self.first, nn.ReLU()])
        self.absent: nn.Module | None = None
        self.register_module("absent_too", None)
        self.weight = self.again.weight
        self.lstm = nn.LSTM(3, 4)
        self.register_buffer("mean", self.first[1].running_mean)


def _scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()))  # type: ignore[no-any-return]


@pytest.mark.parametrize("repeated", [False, True])
def test_modules_and_tensors_are_those_of_torch(repeated: bool) -> None:
    model = Sharing()
    walked = named_modules(model, repeated=repeated)
    expected = list(model.named_modules(remove_duplicate=not repeated))
    assert [(name, id(part)) for name, part in walked] == [(name, id(part)) for name, part in expected]
    assert list(map(id, modules(model))) == list(map(id, model.modules()))
    for ours, theirs in (
        (named_parameters(model, repeated=repeated), model.named_parameters(remove_duplicate=not repeated)),
        (named_buffers(model, repeated=repeated), model.named_buffers(remove_duplicate=not repeated)),
    ):
        assert [(name, id(t)) for name, t in ours.items()] == [(name, id(t)) for name, t in theirs]


def test_scripted_modules_are_walked_too() -> None:
    model = _scripted()
    assert [name for name, _ in named_modules(model)] == [name for name, _ in model.named_modules()]
    assert list(named_parameters(model)) == [name for name, _ in model.named_parameters()]


class AskedAboutMode(nn.Module):
    """Its batch norm stays frozen, whatever mode is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> "AskedAboutMode":
        super().train(mode)
        self.norm.eval()
        return self


class CountsModes(nn.Module):
    def __init__(self) -> None:
        self.__dict__["changes"] = 0
        super().__init__()

    @property
    def training(self) -> bool:  # type: ignore[override]
        return bool(self.__dict__.get("mode", True))

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["mode"] = mode
        self.__dict__["changes"] += 1


def test_the_mode_is_set_as_torch_sets_it() -> None:
    for build in (Sharing, _scripted, AskedAboutMode, lambda: nn.Sequential(AskedAboutMode(), nn.ReLU())):
        for mode in (True, False):
            model, other = build(), build()
            set_mode(model, mode)
            other.train(mode)
            assert [m.training for m in model.modules()] == [m.training for m in other.modules()]


def test_modules_that_make_their_mode_themselves_are_asked() -> None:
    model = nn.Sequential(CountsModes())
    before = model[0].changes
    set_mode(model, False)
    assert not model[0].training and model[0].changes == before + 1
