"""Parts that are kept whole: the network around them is cut, and computes what the masked one computes."""

import copy
import functools
import io
from pathlib import Path

import pytest
import torch
from graph.checks import fvcore_flops, parameters, random_keep
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import ModelError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask
from rewrite.opaque_networks import CASES, images
from rewrite.test_networks import apart, gradients, outputs, picture, same
from rewrite.test_networks import made as made_of

names = pytest.mark.parametrize("name", CASES)


made = functools.partial(made_of, cases=CASES)


@functools.cache
def analysed(name: str) -> tuple[nn.Module, Graph]:
    model = made(name)
    torch.manual_seed(1)
    return model, build_graph(model, CASES[name].inputs(2), opaque=CASES[name].opaque)


def halved(name: str, seed: int = 1) -> nn.Module:
    graph = analysed(name)[1]
    return compact(graph, Plan.of(graph, random_keep(graph, 0.5, seed))).model


def inside(model: nn.Module, path: str) -> dict[str, Tensor]:
    return model.get_submodule(path).state_dict()


@names
def test_it_computes_what_the_masked_network_computes(name: str) -> None:
    case, graph = CASES[name], analysed(name)[1]
    assert graph.classes == case.classes, graph.protected
    rewritten: set[str] = set()
    for seed, share in ((1, 0.5), (2, 0.75), (3, 0.3)):
        keep = random_keep(graph, share, seed)
        done = compact(graph, Plan.of(graph, keep))
        assert (done.plan.keep == keep).all(), done.plan.notes
        assert type(done.model) is case.make
        rewritten |= {*done.rewritten}
        assert parameters(done.model) == graph.params(done.plan.keep)
        masked = mask(graph, done.plan)
        torch.manual_seed(4)
        for inputs in [case.inputs(2), case.inputs(3), *([images(2, 12)] if case.larger else [])]:
            for training in (False, True):
                expected = outputs(masked, inputs, training=training)
                assert apart(expected, outputs(done.model, inputs, training=training)) < 1e-9, (
                    training,
                    seed,
                )
    assert rewritten == {*case.rewritten}


@names
def test_the_part_is_left_as_it_is(name: str) -> None:
    model, cut = analysed(name)[0], halved(name)
    for path in CASES[name].parts:
        part, kept = model.get_submodule(path), cut.get_submodule(path)
        assert type(part) is type(kept)
        before, after = inside(model, path), inside(cut, path)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        if not isinstance(part, torch.jit.ScriptModule):
            numbers = [m.extra_repr() for m in part.modules()]
            assert numbers == [m.extra_repr() for m in kept.modules()]


@names
def test_it_says_what_is_kept_whole_and_why(name: str) -> None:
    case, graph = CASES[name], analysed(name)[1]
    assert {*graph.parts} >= {*case.parts}
    for path in case.parts:
        note = next(note for note in graph.notes if note.startswith(f"{path} is kept whole because "))
        assert case.reason in note
        assert note.endswith("its FLOPs are not counted") is not case.counted
        assert not any(other.startswith(f"{path} is not used") for other in graph.notes)


@names
def test_gradients_reach_what_they_reached(name: str) -> None:
    graph, inputs = analysed(name)[1], CASES[name].inputs(2)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1)))
    masked = {key.removeprefix("network.") for key in gradients(mask(graph, done.plan), inputs)}
    assert gradients(done.model, inputs) == masked


@names
def test_nothing_of_the_original_changes(name: str) -> None:
    model, case = made(name), CASES[name]
    if name == "Scripted":  # its attributes are no Python
        vars(model)["_modules"] = {**model._modules, "part": nn.Identity()}
    before = picture(model)
    graph = build_graph(model, case.inputs(2), opaque=case.opaque)
    compact(graph, Plan.of(graph, random_keep(graph, 0.5, 0)))
    after = picture(model)
    assert before.keys() == after.keys()
    for key, (value, content) in before.items():
        assert after[key][0] is value and same(after[key][1], content), key
    assert not torch.overrides._get_current_function_mode_stack()


@names
def test_it_is_copied_saved_and_loaded(name: str, tmp_path: Path) -> None:
    case, cut, inputs = CASES[name], halved(name), CASES[name].inputs(2)
    expected = outputs(cut, inputs, training=False)
    assert apart(expected, outputs(copy.deepcopy(cut), inputs, training=False)) == 0
    if case.pickles and name != "HookedPart":
        file = io.BytesIO()
        torch.save(cut, file)
        file.seek(0)
        assert apart(expected, outputs(torch.load(file, weights_only=False), inputs, training=False)) == 0
    place = edgeprune.save(cut, tmp_path / "net.safetensors")
    again = edgeprune.load(place, into=case.make().double())
    assert type(again) is case.make
    assert apart(expected, outputs(again, inputs, training=False)) == 0
    open_part = all(
        type(m).__module__.startswith("torch.nn.")
        for path in case.parts
        for m in cut.get_submodule(path).modules()
    )
    if not open_part:  # what its Python does cannot be known, so no graph is written of it
        with pytest.raises(ModelError, match="kept whole, and its code") as error:
            edgeprune.load(place)
        assert "into=MyNet()" in str(error.value) and "\n" not in str(error.value)


def test_the_weights_of_a_scripted_part_still_learn() -> None:
    parts = {key for key, _ in made("Scripted").named_parameters() if key.startswith("part.")}
    graph = analysed("Scripted")[1]
    cut = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 1))).model
    assert all(parameter.is_leaf for parameter in cut.parameters())
    sum(t.square().sum() for t in cut(*images(2))).backward()
    assert parts == {
        key for key, p in cut.named_parameters() if key.startswith("part.") and p.grad is not None
    }


@pytest.mark.parametrize("name", ["InTheMiddle", "OneLayer", "Nested", "UsedTwice", "TwoInputs"])
def test_flops_of_a_part_count(name: str) -> None:
    model, graph = analysed(name)
    inputs = CASES[name].inputs(2)
    assert graph.flops() == build_graph(model, inputs).flops() == fvcore_flops(model, inputs)


def test_a_part_may_be_pruned_twice_around(tmp_path: Path) -> None:
    """The second plan is made with another part kept whole: each is carried out with its own."""
    model, inputs = made("InsideABlock"), images(2)
    first = build_graph(model, inputs, opaque=["part"])
    cut = compact(first, Plan.of(first, random_keep(first, 0.7, 1))).model
    second = build_graph(cut, inputs, opaque=["part.inner.a"])
    cut = compact(second, Plan.of(second, random_keep(second, 0.7, 2))).model
    place = edgeprune.save(cut, tmp_path / "net.safetensors")
    again = edgeprune.load(place, into=CASES["InsideABlock"].make().double())
    assert apart(outputs(cut, inputs, training=False), outputs(again, inputs, training=False)) == 0


def test_a_plan_carries_over_to_another_instance() -> None:
    """compact() of another instance of the class looks at it in the same way."""
    graph, inputs = analysed("InTheMiddle")[1], images(2)
    plan = Plan.of(graph, random_keep(graph, 0.5, 1))
    cut = edgeprune.compact(made("InTheMiddle"), graph, plan)
    expected = outputs(halved("InTheMiddle"), inputs, training=False)
    assert apart(expected, outputs(cut, inputs, training=False)) == 0


def test_the_verbs_take_parts() -> None:
    model = made("InTheMiddle").float()
    x = torch.randn(2, 3, 8, 8)
    done = edgeprune.prune(model, x, opaque=["part"], target="params=0.7")
    assert "part is kept whole because it was asked for" in done.report.notes
    assert done.model.part.a.weight.shape == model.part.a.weight.shape
    assert edgeprune.trace(model, x, opaque=["Block"]).classes == 14
