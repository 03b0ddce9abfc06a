"""The user's own network, cut: it computes what the masked one computes, in both modes, and stays what it was."""

import copy
import functools
import io
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph.checks import parameters, random_keep, randomise
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import WeightsError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.masking import mask
from rewrite import choosing_networks, computed_networks, keeping_networks, strangers
from rewrite.networks import CASES, Inputs

assert (
    choosing_networks and computed_networks and keeping_networks and strangers
)  # they enter their networks, too
names = pytest.mark.parametrize("name", CASES)


def made(name: str, cases: Mapping[str, Any] = CASES) -> nn.Module:
    """The network in double precision, with statistics that are not the initial ones."""
    torch.manual_seed(len(name))
    return randomise(cases[name].make(), len(name)).double()


@functools.cache
def analysed(name: str) -> tuple[nn.Module, Graph]:
    model = made(name)
    torch.manual_seed(1)
    return model, build_graph(model, CASES[name].inputs(2))


@functools.cache
def halved(name: str) -> Compacted:
    graph = analysed(name)[1]
    return compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))


def outputs(network: nn.Module, inputs: Inputs, *, training: bool) -> list[Tensor]:
    """What a copy of a network gives: its state is not moved on."""
    torch.manual_seed(2)
    with torch.no_grad():
        return tensors_of(copy.deepcopy(network).train(training)(*copy.deepcopy(inputs)))


def apart(a: list[Tensor], b: list[Tensor]) -> float:
    """Largest difference, relative to the largest value."""
    assert [t.shape for t in a] == [t.shape for t in b]
    return max(float((x - y).abs().max() / x.abs().max().clamp(min=1e-9)) for x, y in zip(a, b, strict=True))


@names
def test_it_computes_what_the_masked_network_computes(name: str) -> None:
    case, (_, graph) = CASES[name], analysed(name)
    assert graph.classes >= case.classes
    reasons = " ".join(protected.reason for protected in graph.protected)
    assert all(words in reasons for words in case.reasons), graph.protected
    rewritten: set[str] = set()
    for seed, share in ((1, 0.5), (2, 0.75), (3, 0.3)):
        keep = random_keep(graph, share, seed)
        done = compact(graph, Plan.of(graph, keep))
        assert case.left_alone or (done.plan.keep == keep).all(), done.plan.notes
        assert type(done.model) is case.make
        assert parameters(done.model) == graph.params(done.plan.keep)
        assert case.rewritten is None or {*done.rewritten} <= {*case.rewritten}, (
            done.rewritten,
            done.reasons,
        )
        rewritten |= {*done.rewritten}
        masked = mask(graph, done.plan)
        for inputs in [case.inputs(2), *([case.larger(3)] if case.larger else [])]:
            for training in (False, True):
                if training and case.random:
                    continue
                expected = outputs(masked, inputs, training=training)
                assert apart(expected, outputs(done.model, inputs, training=training)) < 1e-9, (
                    training,
                    seed,
                )
    assert rewritten == {*(case.rewritten or rewritten)}


@names
def test_gradients_reach_what_they_reached(name: str) -> None:
    # No copies: torch makes none of weights that were computed with gradients (weight_norm, prune), and
    # in its copies of scripted modules the parameters get no gradient.
    graph = analysed(name)[1]
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    before = gradients(made(name), CASES[name].inputs(2))
    after = gradients(done.model, CASES[name].inputs(2))
    assert after == before & {name for name, _ in done.model.named_parameters()}


def gradients(network: nn.Module, inputs: Inputs) -> set[str]:
    """Names of the parameters that get a gradient in training."""
    network.train().zero_grad()
    tensors = [t for t in tensors_of(network(*inputs)) if t.requires_grad]
    torch.stack([t.square().mean() for t in tensors]).sum().backward()
    return {name for name, parameter in network.named_parameters() if parameter.grad is not None}


@names
def test_it_is_copied_saved_and_filled_like_any_other(name: str) -> None:
    case, model, inputs = CASES[name], halved(name).model, CASES[name].inputs(2)
    expected = outputs(model, inputs, training=False)
    twins = [copy.deepcopy(model)]
    if case.pickles:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twins.append(torch.load(file, weights_only=False))
    for twin in twins:
        assert type(twin) is type(model) and apart(expected, outputs(twin, inputs, training=False)) == 0
        for value in twin.state_dict().values():
            value.zero_()
        assert apart(expected, outputs(model, inputs, training=False)) == 0  # they share nothing
        twin.load_state_dict(model.state_dict())
        assert apart(expected, outputs(twin, inputs, training=False)) == 0


@names
def test_nothing_of_the_original_changes_and_hooks_live_on_the_copy(name: str) -> None:
    """A hook on each part that runs by itself: the copy's parts call theirs, with themselves."""
    model, inputs = made(name), CASES[name].inputs(2)
    called: list[int] = []  # no modules: a list that holds parts of the network is copied with it
    for part in model.modules():
        if not isinstance(part, torch.jit.ScriptModule):
            part.register_forward_hook(lambda module, args, out: called.append(id(module)))
    for number, module in enumerate(model.modules()):
        module.training = number % 3 == 0
    before, kept = picture(model), copy.deepcopy(inputs)
    torch.manual_seed(5)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    graph = build_graph(model, inputs)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 0)))
    mask(graph, done.plan)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1] and (np.random.get_state()[1] == states[2]).all()
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(inputs), tensors_of(kept), strict=True))
    after = picture(model)
    assert before.keys() == after.keys()
    for key, (value, content) in before.items():
        assert after[key][0] is value and same(after[key][1], content), key
    flags = [module.training for module in model.modules()]
    assert flags == [number % 3 == 0 for number in range(len(flags))]
    assert [module.training for module in done.model.modules()][:2] == flags[:2]
    called.clear()
    done.model.eval()(*CASES[name].inputs(2))
    assert called[-1] == id(done.model) and not {id(part) for part in model.modules()} & {*called}


def picture(model: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Every attribute of every module, with the content of tensors and containers."""
    result = {}
    for path, module in model.named_modules():
        # A scripted module's attributes are C++ objects, which cannot be copied.
        state = {} if isinstance(module, torch.jit.ScriptModule) else vars(module)
        for name, value in state.items():
            content = {**value} if isinstance(value, dict) else value
            result[f"{path}.{name}"] = (
                value,
                copy.copy(content) if isinstance(content, (dict, list, set)) else content,
            )
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            result[f"{path}/{name}"] = (tensor, None if tensor is None else tensor.detach().clone())
    return result


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(a[key] is b[key] for key in a)
    return bool(a == b)


@pytest.mark.parametrize("name", ["OwnWeights", "TracedPart", "PruneLeftoversEverywhere", "ReplacedBuffer"])
def test_it_is_saved_and_comes_back_into_a_new_instance(name: str, tmp_path: Path) -> None:
    model, inputs = halved(name).model, CASES[name].inputs(2)
    path = edgeprune.save(model, tmp_path / "cut.safetensors")
    again = edgeprune.load(path, into=made(name))
    assert type(again) is type(model)
    for training in (False, True):
        expected = outputs(model, inputs, training=training)
        assert apart(expected, outputs(again, inputs, training=training)) < 1e-9


def test_a_type_that_no_file_can_hold_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="complex128, which a safetensors file cannot hold"):
        edgeprune.save(halved("ComplexWeights").model, tmp_path / "cut.safetensors")
    assert not [*tmp_path.iterdir()]


def test_a_table_that_was_filled_before_is_left_out_of_what_is_written_anew() -> None:
    model, inputs = made("LookedUpBiases").eval(), CASES["LookedUpBiases"].inputs(2)
    model(*inputs)
    assert model.part.table
    graph = build_graph(model, inputs)
    keep = random_keep(graph, 0.5, 1)
    done = compact(graph, Plan.of(graph, keep))
    assert (done.plan.keep == keep).all() and done.rewritten == ("part",)
    assert model.part.table and not done.model.part.table
    with torch.no_grad():
        model.part.biases.mul_(2)
        model.part.table.clear()
        done.model.part.biases.mul_(2)
    expected = outputs(mask(graph, done.plan), inputs, training=False)
    assert apart(expected, outputs(done.model, inputs, training=False)) < 1e-9


# --- other types and memory formats --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SubclassedNorm", "GatesInBlocks", "ChannelTables", "NormFreeBlock"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_networks_of_other_types_stay_what_they_are(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    model = randomise(CASES[name].make(), 3).to(dtype)
    inputs = tuple(t.to(dtype) for t in CASES[name].inputs(2))
    graph = build_graph(model, inputs)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    assert done.plan.notes == () and not done.plan.keep.all()
    before = {key: value.dtype for key, value in model.state_dict().items()}
    after = {key: value.dtype for key, value in done.model.state_dict().items() if key in before}
    assert after == before
    expected = [t.float() for t in outputs(mask(graph, done.plan), inputs, training=False)]
    result = outputs(done.model, inputs, training=False)
    assert {t.dtype for t in result} == {dtype}
    assert apart(expected, [t.float() for t in result]) < {torch.float32: 1e-5}.get(dtype, 0.05)


@pytest.mark.parametrize("name", ["SubclassedNorm", "GatesInBlocks", "ChannelTables"])
def test_channels_last_stays(name: str) -> None:
    model = made(name).to(memory_format=torch.channels_last)
    inputs = tuple(t.contiguous(memory_format=torch.channels_last) for t in CASES[name].inputs(2))
    graph = build_graph(model, inputs)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    kernels = [p for p in done.model.parameters() if p.dim() == 4 and min(p.shape[1:3]) > 1]
    assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    expected = outputs(mask(graph, done.plan), inputs, training=True)
    assert apart(expected, outputs(done.model, inputs, training=True)) < 1e-9


def test_a_scripted_part_is_trained_in_the_copy() -> None:
    """torch's own copies of scripted modules compute their parameters from the original's."""
    model = made("ScriptedModule")
    frozen = next(model.c.parameters()).requires_grad_(False)
    graph = build_graph(model, CASES["ScriptedModule"].inputs(2))
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    copies = list(done.model.c.parameters())
    assert [p.requires_grad for p in copies] == [False, True] and all(p.is_leaf for p in copies)
    assert not any(p is frozen for p in copies)
    torch.optim.SGD(done.model.parameters(), lr=0.1)
