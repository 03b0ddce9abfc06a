"""A whole table, of a device made by hand whose times are known; and what it predicts of plans."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.backends.onnx_export import export_model
from edgeprune.errors import LatencyError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import profiling as profiling
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.build import build_table, knows
from edgeprune.latency.knapsack import KnapsackSolver
from edgeprune.latency.predict import LatencyModel
from edgeprune.latency.profiling import LayerProfiler
from edgeprune.latency.shapes import read_model
from edgeprune.latency.table import Table
from edgeprune.rewrite.compaction import compact
from latency.conftest import Board, truth

pytestmark = pytest.mark.usefixtures("older_exporter")


def test_steps_are_found_and_plans_foretold_on_a_machine_that_slows_down(
    board: Board, file: Path, graph: Graph, tmp_path: Path
) -> None:
    table = build_table(file, BenchTarget.reach(), tmp_path / "t.json")
    inner = {entry.shape.key: entry for entry in table.entries.values()}["conv 3x3 on 16x16 + Relu"]
    assert inner.steps == {"inputs": 16, "outputs": 16}
    predicted = LatencyModel(graph, read_model(file, 1), table)
    original = truth(file)
    scale = predicted.ms() / original  # all times count from the first file's speed
    rng = np.random.default_rng(0)
    for _ in range(5):
        keep = np.zeros(graph.classes, dtype=bool)
        for group in graph.groups:
            keep[group.classes[: 16 * rng.integers(1, group.size // 16 + 1)]] = True
        dense = export_model(
            compact(graph, Plan.of(graph, keep)).model, (3, 16, 16), tmp_path / "p.onnx"
        ).path
        assert predicted.ms(keep) / scale == pytest.approx(truth(dense), rel=0.02)
        counts = np.array([int(keep[g.classes].sum()) for g in graph.groups])
        by_widths = predicted.by_widths()
        assert by_widths(counts) == pytest.approx(predicted.ms(keep))
        for group, width in enumerate(counts):  # told from what a change touches, and from the whole
            wider = counts.copy()
            wider[group] = graph.groups[group].size
            events = by_widths.moved(counts, by_widths(counts), (group,), (int(wider[group]),))
            assert events == pytest.approx(by_widths(wider)), width
    assert predicted.steps().tolist() == [16] * len(graph.groups)


def test_half_the_time_by_the_table_is_half_the_time_on_the_device(
    board: Board, file: Path, graph: Graph, tmp_path: Path
) -> None:
    predicted = LatencyModel(
        graph, read_model(file, 1), build_table(file, BenchTarget.reach(), tmp_path / "t.json")
    )
    scores = np.random.default_rng(0).random(graph.classes)
    goal = {"latency": 0.5 * predicted.ms()}
    plan = KnapsackSolver(
        graph, scores, {"latency": predicted.by_widths()}, goal, steps=predicted.steps()
    ).plan()
    dense = export_model(compact(graph, plan).model, (3, 16, 16), tmp_path / "p.onnx").path
    assert truth(dense) / truth(file) <= 0.5 * 1.02


def test_what_is_known_is_not_timed_again(board: Board, file: Path, tmp_path: Path) -> None:
    place = tmp_path / "t.json"
    first = build_table(file, BenchTarget.reach(), place)
    board.timed.clear()
    second = build_table(file, BenchTarget.reach(), place)
    assert board.timed == []
    assert second.entries == first.entries == Table.load(place).entries


@pytest.mark.parametrize("calls", [1, 3, 7, 12])
def test_a_build_that_was_stopped_times_nothing_twice(
    board: Board, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    board.drift = 1.0
    place, chunks, times = tmp_path / "t.json", list[Any](), LayerProfiler.times

    def stopped(self: LayerProfiler, layers: Any) -> list[float]:
        if len(chunks) == calls:
            raise KeyboardInterrupt
        chunks.append(layers)
        return times(self, layers)

    monkeypatch.setattr(profiling, "MOST_POINTS", 8)
    monkeypatch.setattr(LayerProfiler, "times", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_table(file, BenchTarget.reach(), place)
    assert Table.load(place).begun
    assert not knows(Table.load(place), read_model(file, 1))
    known, calls = [layer for chunk in chunks for layer in chunk], -1
    chunks.clear()
    resumed = build_table(file, BenchTarget.reach(), place)
    again = [layer for chunk in chunks for layer in chunk]
    assert again and not set(map(str, known)) & set(map(str, again))
    assert resumed.begun == Table.load(place).begun == {} and "begun" not in place.read_text()
    monkeypatch.setattr(LayerProfiler, "times", times)
    expected = build_table(file, BenchTarget.reach(), tmp_path / "whole.json")
    assert resumed.entries.keys() == expected.entries.keys()
    for key, entry in expected.entries.items():
        assert resumed.entries[key].steps == entry.steps and resumed.entries[key].ms == pytest.approx(
            entry.ms
        )


def test_a_table_of_other_conditions_is_refused(board: Board, file: Path, tmp_path: Path) -> None:
    build_table(file, BenchTarget.reach(threads=2), tmp_path / "t.json")
    with pytest.raises(LatencyError, match="measured with threads 2, not 1"):
        build_table(file, BenchTarget.reach(threads=1), tmp_path / "t.json")
