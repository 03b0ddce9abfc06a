"""Layers whose weight is no parameter are named, with what to do; what is prepared for quantisation stays."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import edgeprune
from edgeprune.errors import TargetError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.computed import layer_of
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask
from graph.checks import random_keep

IMAGES = (torch.randn(2, 3, 8, 8),)


class Small(nn.Module):
    """Convolutions between what eager quantisation wants around them."""

    def __init__(self) -> None:
        super().__init__()
        from torch.ao.quantization import DeQuantStub, QuantStub

        self.enter, self.leave = QuantStub(), DeQuantStub()
        self.a, self.n, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.b = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.b(self.act(self.n(self.a(self.enter(x)))))).mean((2, 3))


def eager_qat() -> nn.Module:
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    model: Any = Small().train()
    model.qconfig = get_default_qat_qconfig("fbgemm")
    return prepare_qat(model)


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten())


def qat_by_fx() -> nn.Module:
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return prepare_qat_fx(plain().train(), get_default_qat_qconfig_mapping("fbgemm"), IMAGES)


def calibrated_by_fx() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    model = prepare_fx(plain().eval(), get_default_qconfig_mapping("fbgemm"), IMAGES)
    model(*IMAGES)
    return model


def converted() -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx

    return convert_fx(calibrated_by_fx())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [eager_qat, qat_by_fx, calibrated_by_fx, converted])
def test_networks_prepared_for_quantisation_are_named_and_left_alone(make: Callable[[], nn.Module]) -> None:
    model = make()
    state = {key: copy.deepcopy(value) for key, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    graph = build_graph(model, IMAGES)
    assert graph.classes == 0
    assert any("prune the network first, then prepare it for QAT" in note for note in graph.notes)
    if graph.flops():
        with pytest.raises(TargetError, match="prune the network first, then prepare it for QAT"):
            edgeprune.prune(model, IMAGES[0], target="flops=0.5")
    else:  # converted: nothing that is counted is left
        report = edgeprune.prune(model, IMAGES[0], target="flops=0.5").report
        assert "prune the network first" in str(report)
    assert [module.training for module in model.modules()] == flags
    after = model.state_dict()  # observers have grown and seen numbers, and are as before
    assert after.keys() == state.keys()
    for key, value in state.items():
        if isinstance(value, Tensor) and not value.is_quantized:
            assert value.shape == after[key].shape and torch.equal(value, after[key]), key


def test_what_computes_a_weight_is_taken_off_and_then_all_may_go() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.utils.spectral_norm(nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 2, 1)
        )
    graph = build_graph(model, IMAGES)
    named = next(p for p in graph.protected if "spectral_norm" in p.reason)
    assert graph.classes == 0 and {*named.layers} == {"0", "1"} and named.where == "1"
    nn.utils.remove_spectral_norm(model[1])  # as the report says
    assert build_graph(model, IMAGES).classes == 16


def test_layers_are_named_without_their_parametrisations() -> None:
    assert layer_of("a.b.weight") == "a.b" and layer_of("kernel") == "kernel"
    assert layer_of("a.parametrizations.weight.original0") == "a"
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), parametrizations.weight_norm(nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 2, 1)
    )
    graph = build_graph(model, IMAGES)
    assert [group.producers for group in graph.groups] == [("1",)]


def test_complex_outputs_are_proved() -> None:
    """Numbers that are not real are compared like others."""
    from edgeprune.errors import PlanError
    from edgeprune.rewrite import proof

    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (
                nn.Conv2d(3, 8, 1, dtype=torch.complex64),
                nn.Conv2d(8, 2, 1, dtype=torch.complex64),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x.to(torch.complex64)))

    graph = build_graph(Complex(), IMAGES)
    assert graph.classes == 8
    plan = Plan.of(graph, random_keep(graph, 0.5, 0))
    done = compact(graph, plan)
    with torch.no_grad():
        assert torch.allclose(done.model(*IMAGES), mask(graph, plan)(*IMAGES), atol=1e-5)
        done.model.b.weight.mul_(2)
    with pytest.raises(PlanError, match="cannot be cut exactly"):
        proof.prove(graph, plan, done.model, ())
