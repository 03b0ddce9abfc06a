import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from comparison.results import BASELINE, method_of, result_of
from edgeprune.comparison.plot import draw_comparison, pushed_apart
from edgeprune.comparison.spread import mean_and_spread
from edgeprune.records.comparison import ComparisonResult, MethodResult


@pytest.mark.parametrize(
    ("expected", "gap", "places"),
    [
        ([], 0.1, []),
        ([0.3, 0.7], 0.1, [0.3, 0.7]),  # nothing in the way: nothing moves
        ([0.5, 0.5], 0.2, [0.6, 0.4]),
        ([0.4, 0.5, 0.45], 0.2, [0.25, 0.65, 0.45]),
        ([1.0, 1.0], 0.2, [0.9, 0.7]),  # the upper end holds
        ([0.0, 0.0], 0.2, [0.3, 0.1]),
        ([0.5] * 4, 0.5, [0.875, 0.625, 0.375, 0.125]),  # no room: the gap shrinks
    ],
)
def test_pushed_apart(expected: list[float], gap: float, places: list[float]) -> None:
    assert pushed_apart(expected, gap) == pytest.approx(places)


def a_result(labels: list[str], seeds: int, baseline: float | None = 0.93) -> ComparisonResult:
    def method(number: int, label: str) -> MethodResult:
        accuracies = [0.90 + 0.002 * number + 0.003 * seed for seed in range(seeds)]
        shares = [0.499 + 0.0005 * seed for seed in range(seeds)]
        return method_of(label, accuracies, flops_fraction=mean_and_spread(shares))

    methods = [method(number, label) for number, label in enumerate(labels)]
    return result_of(methods, seeds=seeds, baseline=structs.replace(BASELINE, score=baseline))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("baseline", [0.93, None])
def test_a_plot_is_drawn(tmp_path: Path, seeds: int, baseline: float | None) -> None:
    from PIL import Image

    path = tmp_path / "plot.png"
    assert draw_comparison(a_result(["l1", "learned"], seeds, baseline), path) is None
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    assert pixels.shape == (780, 1200, 3)
    # The first colours of the cycle, for the two methods, and nothing of the third.
    for colour, is_there in (((31, 119, 180), True), ((255, 127, 14), True), ((44, 160, 44), False)):
        assert (np.abs(pixels - colour).max(2) < 8).any() == is_there
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]


def test_every_name_is_written_the_baseline_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    texts: list[str] = []
    savers = Figure.draw

    def listening(self: Figure, renderer: Any) -> Any:
        texts.extend(text.get_text() for text in self.axes[0].texts)
        return savers(self, renderer)

    monkeypatch.setattr(Figure, "draw", listening)
    draw_comparison(a_result(["l1", "learned"], 1), tmp_path / "plot.png")
    assert {"l1  90.00", "learned  90.20", "baseline, all FLOPs  93.00"} <= set(texts)


def test_without_matplotlib_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    reason = draw_comparison(a_result(["l1"], 1), tmp_path / "plot.png")
    assert reason is not None and "pip install 'edgeprune[plot]'" in reason
    assert list(tmp_path.iterdir()) == []


def test_nothing_finished_is_no_plot(tmp_path: Path) -> None:
    result = result_of([method_of("l1", [], done=0)])
    assert draw_comparison(result, tmp_path / "plot.png") == "no row is finished"
