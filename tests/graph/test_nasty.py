"""Every operation, in small models of every shape: masked and compacted agree, whatever goes."""

import copy
import functools
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.masking import mask
from graph.checks import (
    TOLERANCE,
    disagreement,
    error,
    fvcore_flops,
    onnx_error,
    parameters,
    random_keep,
    randomise,
)
from graph.nasty import CASES

EXAMPLES = int(os.environ.get("EDGEPRUNE_EXAMPLES", "2"))
EXPORTED = ("Residual", "Splits", "Shuffles", "PaddedShortcut")
names = pytest.mark.parametrize("name", CASES)


@functools.cache
def traced(name: str) -> tuple[nn.Module, tuple[Tensor, ...], Graph]:
    """The model with random weights and statistics, its inputs, its graph."""
    torch.manual_seed(len(name))
    model = randomise(CASES[name].make(), seed=len(name))
    inputs = tuple(torch.randn(shape) for shape in CASES[name].shapes)
    return model, inputs, build_graph(model, inputs)


def pruned(name: str, share: float = 0.5, seed: int = 1, whole_groups: float = 0.3) -> Compacted:
    graph = traced(name)[2]
    return compact(graph, Plan.of(graph, random_keep(graph, share, seed, whole_groups)))


@names
def test_tracing_changes_nothing(name: str) -> None:
    model, inputs, graph = traced(name)
    with torch.no_grad():
        assert error(model(*inputs), mask(graph, Plan.everything(graph))(*inputs)) == 0
        assert error(model(*inputs), compact(graph, Plan.everything(graph)).model(*inputs)) == 0
    assert graph.model is model and graph.params() == parameters(model)


@names
def test_what_is_protected_says_why(name: str) -> None:
    graph, expected = traced(name)[2], CASES[name]
    assert (graph.classes > 0) == expected.prunable
    reasons = " ".join(p.reason for p in graph.protected)
    for words in expected.reasons:
        assert words in reasons


@names
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 3)
@given(share=st.floats(0.1, 0.9), seed=st.integers(0, 2**31), full_share=st.sampled_from([0.0, 0.3]))
def test_masked_and_compacted_agree(name: str, share: float, seed: int, full_share: float) -> None:
    _, inputs, graph = traced(name)
    keep = random_keep(graph, share, seed, full_share)
    done = compact(graph, Plan.of(graph, keep))
    assert disagreement(graph, done, inputs) <= TOLERANCE
    assert type(done.model) is CASES[name].make
    assert parameters(done.model) == graph.params(done.plan.keep)
    if CASES[name].flops:
        assert fvcore_flops(done.model, inputs) == graph.flops(done.plan.keep)
    assert (done.plan.keep >= keep).all()
    assert bool(done.plan.notes) == bool((done.plan.keep != keep).any())
    assert all(tensor.numel() for tensor in [*done.model.parameters(), *done.model.buffers()])


@names
def test_result_is_a_model_like_any_other(name: str) -> None:
    _, inputs, graph = traced(name)
    done = pruned(name)
    twin = copy.deepcopy(done.model)
    again = compact(
        build_graph(CASES[name].make().eval(), inputs), Plan(done.plan.keep, graph.fingerprint)
    ).model
    again.load_state_dict(done.model.state_dict())
    with torch.no_grad():
        expected = done.model(*inputs)
        assert error(expected, twin(*inputs)) == 0
        assert error(expected, again(*inputs)) == 0
    if CASES[name].trains:
        outputs = tensors_in(twin.train()(*inputs))
        torch.stack([out.square().mean() for out in outputs]).sum().backward()
        assert [n for n, p in twin.named_parameters() if p.grad is None] == []
        torch.optim.SGD(twin.parameters(), lr=0.01).step()


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_and_runs_in_onnxruntime(name: str) -> None:
    assert onnx_error(pruned(name).model, traced(name)[1]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CASES) - set(EXPORTED)))
def test_exports_and_runs_in_onnxruntime_too(name: str) -> None:
    if not CASES[name].exports:
        with pytest.raises(torch.onnx.errors.OnnxExporterError):
            onnx_error(traced(name)[0], traced(name)[1])
        return
    assert onnx_error(pruned(name).model, traced(name)[1]) < 1e-4


@pytest.mark.parametrize("name", ["Dropouts", "ConvNeXtBlock", "FlattenLinear"])
def test_what_was_random_in_training_still_is(name: str) -> None:
    _, inputs, _ = traced(name)
    model = pruned(name, whole_groups=0.0).model.train()
    first = model(*inputs)
    assert any(error(first, model(*inputs)) > 0 for _ in range(20))
    model.eval()
    assert error(model(*inputs), model(*inputs)) == 0


@names
def test_the_users_model_is_left_alone(name: str) -> None:
    model = CASES[name].make()
    for number, module in enumerate(model.modules()):
        module.training = number % 3 == 0
    before = {k: (id(v), v.clone()) for k, v in model.state_dict(keep_vars=True).items()}
    flags = [module.training for module in model.modules()]
    inputs = tuple(torch.randn(shape) for shape in CASES[name].shapes)
    kept = [x.clone() for x in inputs]
    graph = build_graph(model, inputs)
    compact(graph, Plan.of(graph, random_keep(graph, 0.5, 0, 0.3)))
    after = model.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    assert all(id(after[k]) == where and torch.equal(after[k], v) for k, (where, v) in before.items())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))
