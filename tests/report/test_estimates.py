"""Estimates in a chart: intervals where they are, and nothing that covers another."""

import re
from itertools import combinations

from edgeprune.report.drawing import Scale
from edgeprune.report.estimates import MOVED, Estimate, estimate_chart, heights_apart, told_moved


def drawn(*estimates: Estimate, baselines: tuple[float, ...] = ()) -> str:
    return estimate_chart(estimates, title="t", x_title="x", y_title="y", baselines=baselines)


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, right, top and bottom of each interval with its dot, of each number, and of each baseline."""
    areas = []
    lines = re.findall(r'"line pruned" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="\3"', svg)
    for low, high, height in lines:
        areas.append((float(low), float(high), float(height) - 5, float(height) + 5))
    for x, y, number in re.findall(r'"small mark" x="([\d.]+)" y="([\d.]+)" [^>]*>(\d+)<', svg):
        areas.append((float(x), float(x) + 7 * len(number), float(y) - 9, float(y)))
    for x, y in re.findall(r'"dot baseline" cx="([\d.]+)" cy="([\d.]+)"', svg):
        areas.append((float(x) - 5, float(x) + 5, float(y) - 5, float(y) + 5))
    return areas


def overlaps(svg: str) -> int:
    return sum(
        a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3] for a, b in combinations(boxes(svg), 2)
    )


def test_the_interval_is_drawn() -> None:
    svg = drawn(Estimate("board", 2.0, 1.5, 2.5, 95, "pruned"))
    assert "1: board: 2.00x (1.50 to 2.50)" in svg
    broad, narrow = Scale([1.5, 2.5, 1.0], 76, 680), Scale([1.5, 2.5, 1.0], 70, 320, ticks=3)
    for scale in (broad, narrow):
        assert f'x1="{scale(1.5):.1f}" x2="{scale(2.5):.1f}"' in svg
    assert "leader" not in svg and told_moved(svg, "A caption.") == "A caption."  # nothing was in its way


def test_three_equal_points_do_not_cover_each_other() -> None:
    """Draw three precisions with the same accuracy, one of which is as accurate as the baseline, at 1."""
    equal = [Estimate(name, 1.05, 0.9, 1.2, 90, "pruned") for name in ("fp32", "fp16", "int8")]
    for svg in drawn(*equal, baselines=(90, 90, 90)).split("</svg>")[:2]:
        assert len(boxes(svg)) == 7 and overlaps(svg) == 0  # three intervals, three numbers, one baseline
        assert svg.count('class="leader"') == 3  # the baseline keeps its place
    assert told_moved(drawn(*equal), "A caption.") == f"A caption. {MOVED}"


def test_many_equal_points_have_room() -> None:
    many = [Estimate(str(n), 1.0, 0.9, 1.1, 90 + n % 2 / 100, "pruned") for n in range(40)]
    for svg in drawn(*many, baselines=(90, 91)).split("</svg>")[:2]:
        assert len(boxes(svg)) == 82 and overlaps(svg) == 0
        height = float(re.findall(r'viewBox="0 0 \d+ (\d+)"', svg)[0])
        assert all(top > 0 and bottom < height - 28 for _, _, top, bottom in boxes(svg))


def test_what_is_in_nobodys_way_stays() -> None:
    spans, wished = [(0, 10), (20, 30), (5, 15)], [50.0, 50.0, 51.0]
    assert heights_apart(spans, wished, [], (0, 100)) == [50, 50, 64]  # a row of 14 below the first
    assert heights_apart(spans, wished, [], (0, 60)) == [
        50,
        50,
        36,
    ]  # or above it, where that leaves the plot
    assert heights_apart([(0, 10)], [50.0], [(0, 10, 45)], (0, 100)) == [59]
