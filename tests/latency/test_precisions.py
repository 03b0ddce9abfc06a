"""Widths and precisions in one choice: wiring, conversions and the cut by hand, and against all choices."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.backends.onnx_export import export_quickly
from edgeprune.budget import parse_targets
from edgeprune.errors import LatencyError, PlanError, TargetError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget, build_table
from edgeprune.latency.budget import budget_on
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.joint import JointSolver, MeasuredError, precision_note
from edgeprune.latency.layer_models import REFERENCE
from edgeprune.latency.mixed import FP32, INT8, LayerCosts, MixedEstimator, layer_costs
from edgeprune.latency.precision_choice import choose_precisions, total_ms, within
from edgeprune.latency.profiling import LEAST_MS, LayerProfiler
from edgeprune.latency.shapes import DEQUANTIZE, QUANTIZE, Shape, read_model
from edgeprune.latency.table import Entry, Table
from edgeprune.latency.wiring import Read, Wiring, read_wiring
from latency.conftest import Board

FREE = dict.fromkeys("abcd", 0.0)


def read(source: str | None, reader: str | None, tensor: str = "t") -> Read:
    return Read(source, reader, tensor, (8, 8), 4, None, outputs=True)


def chain(float_ms: dict[str, float], int8_ms: dict[str, float], switch_ms: float) -> LayerCosts:
    """Layers one after the other, between a float input and a float output."""
    names: list[str | None] = [None, *float_ms, None]
    pairs = zip(names, names[1:], strict=False)
    return LayerCosts(
        float_ms,
        int8_ms,
        tuple((read(a, b, f"{a} {b}"), switch_ms, switch_ms) for a, b in pairs),
    )


def in_int8(precisions: dict[str, str]) -> str:
    return "".join(name for name, precision in precisions.items() if precision == INT8)


@pytest.mark.parametrize(
    ("switch_ms", "expected"),
    [
        (0.1, "ac"),  # b is faster in float by 1, which two switches of 0.1 do not cost
        (0.6, "abc"),  # they cost 1.2
        (2.6, ""),  # all in int8 gains 3 + 3 - 1 = 5, and needs two switches
    ],
)
def test_a_chain_changes_where_it_gains_more_than_it_costs(switch_ms: float, expected: str) -> None:
    costs = chain({"a": 5.0, "b": 5.0, "c": 5.0}, {"a": 2.0, "b": 6.0, "c": 2.0}, switch_ms)
    chosen = choose_precisions(costs, FREE, 0.0)
    assert in_int8(chosen) == expected
    by_hand = {"ac": 2 + 5 + 2 + 4 * 0.1, "abc": 2 + 6 + 2 + 2 * 0.6, "": 15.0}[expected]
    assert total_ms(costs, chosen) == pytest.approx(by_hand)


def test_an_error_is_worth_its_price() -> None:
    """a gains 3 ms at an error of 0.1, c 3 ms at 0.4: at 10 ms for an error of 1 that is 1 and 4."""
    costs = chain({"a": 5.0, "b": 5.0, "c": 5.0}, {"a": 2.0, "b": 5.0, "c": 2.0}, 0.0)
    errors = {"a": 0.1, "b": 0.0, "c": 0.4}
    assert in_int8(choose_precisions(costs, errors, 10.0)) == "a"  # b gains nothing
    assert in_int8(choose_precisions(costs, errors, 40.0)) == ""
    assert in_int8(choose_precisions(costs, {"c": 0.0}, 0.0)) == "c"  # nothing is known of the others


def test_the_least_error_within_a_time() -> None:
    costs = chain({"a": 5.0, "b": 5.0, "c": 5.0}, {"a": 2.0, "b": 4.0, "c": 1.0}, 0.0)
    errors = {"a": 0.1, "b": 0.1, "c": 0.3}
    for goal, expected in [(16.0, ""), (13.0, "a"), (9.0, "ac"), (8.0, "abc")]:
        chosen = within(costs, errors, goal, others_ms=1.0)
        assert chosen is not None and in_int8(chosen) == expected
    assert within(costs, errors, 7.9, others_ms=1.0) is None


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_the_best_of_all_choices(seed: int) -> None:
    """On random wirings, in which a tensor has several readers and is quantised once."""
    draw = np.random.default_rng(seed)
    names = "abcdef"
    reads = []
    for number in range(11):
        first, second = sorted(draw.choice(len(names), 2, replace=False))
        source = None if number == 0 else names[first]
        reader = None if number == 1 else names[second]
        tensor = replace(read(source, reader), size=(int(draw.integers(1, 3)),))
        reads.append((tensor, *(float(ms) for ms in draw.uniform(0, 2, 2))))
    one_price = {(item.source, item.size): quantize for item, quantize, _ in reads}
    reads = [(item, one_price[item.source, item.size], back) for item, _, back in reads]
    costs = LayerCosts(
        {name: float(ms) for name, ms in zip(names, draw.uniform(1, 4, 6), strict=True)},
        {name: float(ms) for name, ms in zip(names, draw.uniform(0, 4, 6), strict=True)},
        tuple(reads),
    )
    errors = {name: float(error) for name, error in zip(names, draw.uniform(0, 1, 6), strict=True)}

    def cost(precisions: dict[str, str]) -> float:
        added = sum(errors[name] for name, precision in precisions.items() if precision == INT8)
        return total_ms(costs, precisions) + 1.5 * added

    best = min(cost(dict(zip(names, choice, strict=True))) for choice in product((FP32, INT8), repeat=6))
    assert cost(choose_precisions(costs, errors, 1.5)) == pytest.approx(best, abs=1e-6)


# --- a network ------------------------------------------------------------------------------------


def test_wiring_of_a_block(file: Path) -> None:
    """stem, a block of one and two with a sum, last, pooling, head; a removed block is seen through."""
    wiring = read_wiring(file, 1)
    assert wiring.layers == ("stem", "one", "two", "last", "head")
    assert [(item.source, item.reader, item.layer, item.outputs) for item in wiring.reads] == [
        (None, "stem", "stem", False),
        ("stem", "one", "one", False),
        ("one", "two", "two", False),
        ("stem", "two", "two", True),
        ("two", "last", "last", False),
        ("last", None, "last", True),
        (None, "head", "head", False),
    ]
    assert [(item.size, item.channels) for item in wiring.reads[:3]] == [
        ((16, 16), 3), ((16, 16), 32), ((16, 16), 64),
    ]  # fmt: skip
    without = wiring.without({"one", "two"})
    assert [(item.source, item.reader) for item in without.reads] == [
        (None, "stem"), ("stem", "last"), ("last", None), (None, "head"),
    ]  # fmt: skip


def test_concatenated_and_moved_maps_are_seen_through(tmp_path: Path, older_exporter: None) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            both = torch.cat([self.a(x).relu(), self.b(x).relu()], 1)
            return self.c(nn.functional.max_pool2d(both, 2))

    export_quickly(Two().eval(), (3, 8, 8), tmp_path / "m.onnx")
    wiring = read_wiring(tmp_path / "m.onnx", 1)
    assert [(item.source, item.reader) for item in wiring.reads] == [
        (None, "a"), (None, "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    assert wiring.layers == ("a", "b")  # what c makes is the network's output, in float


@pytest.fixture
def estimator(
    board: Board, file: Path, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MixedEstimator:
    """The board's table in float32; in int8 everything takes a quarter, and a conversion 1 us a channel."""
    monkeypatch.chdir(tmp_path)
    table = build_table(file, BenchTarget.reach(), tmp_path / "lut.json")
    int8 = table.scaled(0.25)
    for shape in (
        Shape(op, read.size) for op in (QUANTIZE, DEQUANTIZE) for read in read_wiring(file, 1).reads
    ):
        int8.entries[shape.key] = Entry(shape, {(n, n): 0.001 * n for n in (1, 128)})
    return MixedEstimator(graph, read_model(file, 1), table, int8=int8, wiring=read_wiring(file, 1))


def test_milliseconds_of_a_mixture(estimator: MixedEstimator, graph: Graph) -> None:
    """stem and two in int8: the input and what one makes are quantised, the stem's and the sum's dequantised."""
    layers = estimator.on(graph).by_layer()
    mixture = {"stem": INT8, "two": INT8}
    conversions = 0.001 * (3 + 32 + 64 + 32)  # input; to one; to two; to last
    expected = estimator.ms(graph, {}) - 0.75 * (layers["stem"] + layers["two"]) + conversions
    assert estimator.ms(graph, mixture) == pytest.approx(expected)
    widths = np.array([group.size for group in graph.groups])
    assert estimator.mixed(graph, mixture).by_widths()(widths) == pytest.approx(expected)
    costs = layer_costs(estimator, graph)
    others = estimator.ms(graph, {}) - sum(layers.values())
    assert others + total_ms(costs, {**dict.fromkeys(costs.float_ms, FP32), **mixture}) == pytest.approx(
        expected
    )


def test_a_removed_block_has_no_conversions(estimator: MixedEstimator, graph: Graph) -> None:
    keep = np.ones(graph.classes, dtype=bool)
    keep[next(group for group in graph.groups if group.size == 64).classes] = False
    all_but = {"stem": INT8, "last": INT8, "head": FP32, "one": FP32, "two": FP32}
    layers = estimator.on(graph).by_layer(keep)
    others = estimator.on(graph).ms(keep) - sum(layers.values())
    expected = others + 0.25 * (layers["stem"] + layers["last"]) + layers["head"] + 0.001 * (3 + 96)
    assert estimator.ms(graph, all_but, keep) == pytest.approx(expected)


ERRORS = {"stem": 4e-4, "one": 1e-4, "two": 1e-4, "last": 1e-4, "head": 1e-4}


def joint(estimator: MixedEstimator, target: str, **more: Any) -> Any:
    budget = budget_on(parse_targets(target), estimator)
    return replace(budget, solver=JointSolver(estimator, more.pop("measure", None), errors=ERRORS, **more))


def test_precisions_alone_where_they_are_enough(estimator: MixedEstimator, graph: Graph) -> None:
    """0.7 of the time needs no pruning, and not every layer in int8."""
    plan = joint(estimator, "latency=0.7").select(graph, np.ones(graph.classes))
    assert plan.keep.all() and 0 < len(in_int8(plan.precisions)) < len("stemonetwolasthead")
    share = estimator.ms(graph, plan.precisions) / estimator.ms(graph, {})
    assert share <= 0.7
    fewer = sum(ERRORS[name] for name, precision in plan.precisions.items() if precision == INT8)
    for choice in product(
        (FP32, INT8), repeat=5
    ):  # none that is as fast has a smaller error, but for the hull
        other = dict(zip(ERRORS, choice, strict=True))
        if estimator.ms(graph, other) <= 0.6 * estimator.ms(graph, {}):
            assert sum(ERRORS[name] for name, p in other.items() if p == INT8) >= fewer - 1e-12


def test_widths_for_the_rest(estimator: MixedEstimator, graph: Graph) -> None:
    """int8 takes a quarter and more: 0.2 is out of its reach alone."""
    scores = np.ones(graph.classes)
    budget = joint(estimator, "latency=0.2", output_error=lambda _graph, _plan: 0.5)
    plan = budget.solver._chosen(budget, graph, scores, 0.2)
    assert not plan.keep.all() and estimator.ms(graph, plan.precisions, plan.keep) <= 0.2 * estimator.ms(
        graph, {}
    )
    in_float = budget_on(parse_targets("latency=0.2"), estimator).select(graph, scores)
    assert plan.keep.sum() > 1.2 * in_float.keep.sum()
    cheap = joint(estimator, "latency=0.2", output_error=lambda _graph, _plan: 1e-7)
    dear = cheap.solver._chosen(cheap, graph, scores, 0.2)
    assert set(dear.precisions.values()) == {FP32}  # pruning takes the time off for less error


def test_conversions_that_cost_more_than_they_gain_leave_all_in_float(
    estimator: MixedEstimator, graph: Graph
) -> None:
    for key, entry in estimator.int8.entries.items():
        if key.startswith((QUANTIZE, DEQUANTIZE)):
            entry.ms = {point: 1000 * ms for point, ms in entry.ms.items()}
    plan = joint(estimator, "latency=0.6").select(graph, np.ones(graph.classes))
    assert set(plan.precisions.values()) == {FP32}
    same = budget_on(parse_targets("latency=0.6"), estimator).select(graph, np.ones(graph.classes))
    assert (plan.keep == same.keep).all()


def test_a_plan_is_measured_with_its_precisions(estimator: MixedEstimator, graph: Graph) -> None:
    seen: list[Plan] = []

    def measure(graph: Graph, plan: Plan, look: Any = None) -> Measured:
        seen.append(plan)
        share = estimator.ms(graph, plan.precisions, plan.keep) / estimator.ms(graph, {}) * 1.1
        return Measured(1.0, share, (1 / share, 0.99 / share, 1.01 / share))

    budget = joint(estimator, "latency=0.3", measure=measure, output_error=lambda _graph, _plan: 0.5)
    plan = budget.finalize(graph, np.ones(graph.classes))
    assert all(attempt.precisions for attempt in seen)
    attempt = next(item for item in budget.record()["attempts"] if item["chosen"])
    assert attempt["precisions"] == plan.precisions and attempt["measured_fraction"] <= 0.3 * 1.0075
    assert plan.notes[-1] == precision_note(plan.precisions)


def test_a_target_out_of_reach_says_so(estimator: MixedEstimator, graph: Graph) -> None:
    with pytest.raises(TargetError, match="the target cannot be reached"):
        joint(estimator, "latency=0.001").select(graph, np.ones(graph.classes))


def test_notes_name_the_fewer_layers() -> None:
    assert precision_note({"a": INT8, "b": INT8, "c": FP32}) == "2 of 3 layers in int8; in fp32: c"
    assert precision_note({"a": FP32, "b": FP32}) == "0 of 2 layers in int8"
    many = {f"l{n}": INT8 for n in range(8)} | {f"f{n}": FP32 for n in range(9)}
    assert precision_note(many).endswith("in int8: l0, l1, l2, l3, l4, l5 and 2 more")


def test_the_error_of_pruning_is_that_of_the_cut_network(net: nn.Module, graph: Graph) -> None:
    images = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    error_of = MeasuredError(images)
    assert error_of(graph, Plan.everything(graph)) == 0.0
    keep = np.ones(graph.classes, dtype=bool)
    keep[graph.groups[0].classes[:8]] = False
    net.train()
    error = error_of(graph, Plan.of(graph, keep))
    assert net.training and error == error_of(graph, Plan.of(graph, keep))
    masked = build_graph(net.eval(), torch.zeros(1, 3, 16, 16))
    assert (
        error == pytest.approx(MeasuredError(images)(masked, Plan.of(masked, keep)), rel=1e-5) and error > 0
    )


# --- files ----------------------------------------------------------------------------------------


def test_a_plan_keeps_its_precisions(graph: Graph) -> None:
    plan = replace(Plan.everything(graph), precisions={"stem": FP32, "one": INT8})
    value = plan.to_dict(graph)
    assert value["precisions"] == {"stem": "fp32", "one": "int8"}
    assert Plan.from_dict(graph, value).precisions == plan.precisions
    assert "precisions" not in Plan.everything(graph).to_dict(graph)
    with pytest.raises(PlanError, match="precisions"):
        Plan.from_dict(graph, {**value, "precisions": {"stem": "int4"}})


def test_conversions_are_kept_in_the_table(estimator: MixedEstimator, tmp_path: Path) -> None:
    estimator.int8.save(tmp_path / "int8.json")
    again = Table.load(tmp_path / "int8.json")
    shape = Shape(QUANTIZE, (16, 16))
    assert shape.key == "quantize on 16x16" and Shape(DEQUANTIZE).key == "dequantize on vector"
    assert again.entries[shape.key].at(32, 32) == pytest.approx(0.032)
    text = (tmp_path / "int8.json").read_text().replace('"kernel": []', '"kernel": [3, 3]', 1)
    (tmp_path / "int8.json").write_text(text)
    with pytest.raises(LatencyError, match="`kernel` must hold"):
        Table.load(tmp_path / "int8.json")


def test_wiring_without_layers_is_empty() -> None:
    assert Wiring((read("a", "b"),), ("a", "b")).without({"a", "b"}) == Wiring((), ())


@pytest.mark.slow
def test_int8_layers_and_conversions_are_timed_here(tmp_path: Path) -> None:
    where = BenchTarget.reach(precision="int8", threads=1)
    profiler = LayerProfiler(where.transport, where.device, 1, 1, tmp_path, precision="int8")
    added = replace(REFERENCE, after=("Add", "Relu"))
    small_ms, large_ms, added_ms = profiler.times(
        [(REFERENCE, (16, 16)), (REFERENCE, (64, 64)), (added, (64, 64))]
    )
    assert large_ms > small_ms >= LEAST_MS and added_ms >= LEAST_MS
    small, large = profiler.conversions((32, 32), [8, 64])
    assert min(*small, *large) >= LEAST_MS and large[0] > small[0]
    assert not list(tmp_path.iterdir())
