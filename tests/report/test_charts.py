"""Scales and shapes of charts, by hand."""

import re

import pytest

from edgeprune.report import charts
from edgeprune.report.charts import Band, Cell, Estimate, Scale, Series, Spread


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([3, 97], ["0", "20", "40", "60", "80", "100"]),
        ([0.992, 0.9979], ["0.992", "0.994", "0.996", "0.998"]),
        ([0, 4300], ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]),
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_round_and_hold_all_values(values: list[float], ticks: list[str]) -> None:
    assert [text for _, text in Scale(values, 0, 100).ticks()] == ticks


def test_a_scale_is_linear_and_may_run_upwards() -> None:
    scale = Scale([0, 10], 200, 0)
    assert [scale(value) for value in (0, 2.5, 10)] == [200, 150, 0]


def test_equal_values_have_a_scale_around_them() -> None:
    scale = Scale([7.0, 7.0], 0, 100)
    assert scale.low < 7 < scale.high


def test_infinite_values_do_not_stretch_a_scale() -> None:
    assert Scale([0, 10, float("inf"), float("nan")], 0, 1).high == 10


def test_a_line_goes_through_its_points() -> None:
    line = Series("loss", [(0, 0), (10, 5)], "pruned")
    svg = charts.line_chart(
        [line], title="t", x_title="steps", y_title="loss", bands=[Band("pruning", 0, 10)]
    )
    assert (
        'points="64.0,234.0 704.0,18.0"' in svg
    )  # from the lower left to the upper right corner of the plot
    assert ">pruning</text>" in svg and "<title>loss: 5 at 10</title>" in svg


def test_columns_are_filled_up_to_the_kept_width() -> None:
    svg = charts.width_chart(["a", "b"], [8, 4], [2, 4], title="t")
    heights = [float(h) for h in re.findall(r'class="bar [\w ]+".*?height="([\d.]+)"', svg)]
    assert heights == [216.0, 54.0, 108.0, 108.0]  # of 8, 2, 4, 4 channels: 27 pixels each
    assert "a: 8 to 2 (25 %)" in svg


def test_many_columns_have_no_names() -> None:
    svg = charts.width_chart([f"layer{n}" for n in range(200)], [8] * 200, [4] * 200, title="t")
    assert ">layer7</text>" not in svg and "layer7: 8 to 4" in svg


def test_long_names_keep_their_end() -> None:
    svg = charts.width_chart(["backbone.stages.3.blocks.12.conv_dw"], [8], [4], title="t")
    assert "…s.3.blocks.12.conv_dw</text>" in svg  # 22 characters


def test_the_interval_is_drawn() -> None:
    svg = charts.estimate_chart(
        [Estimate("board", 2.0, 1.5, 2.5, 95, "pruned")], title="t", x_title="x", y_title="y"
    )
    assert "board: 2.00x (1.50 to 2.50)" in svg
    scale = Scale([1.5, 2.5, 1.0], 64, 630)
    assert f'x1="{scale(1.5):.1f}" x2="{scale(2.5):.1f}"' in svg


def test_a_histogram_counts_shares_without_the_slowest() -> None:
    svg = charts.histogram({"baseline": [1.0] * 99 + [50.0]}, title="t", x_title="ms", bins=4)
    points = re.search(r'class="area baseline" points="([^"]+)"', svg)
    assert points is not None
    heights = {point.split(",")[1] for point in points[1].split()}
    assert heights == {"234.0", "20.2"}  # nothing, and 99 of 100 %
    assert "50" not in re.findall(r">([\d.]+)</text>", svg)


def test_rounds_have_their_percentiles() -> None:
    svg = charts.rounds_chart(
        {"baseline": [Spread(1, 2, 3)], "pruned": [Spread(0.5, 1, 2)]}, title="t", y_title="ms"
    )
    assert "baseline, round 1: 2 (1 to 3)" in svg and "pruned, round 1: 1 (0.5 to 2)" in svg


def test_text_in_charts_is_escaped() -> None:
    hostile = '<script>alert("x")</script>'
    for svg in (
        charts.width_chart([hostile], [2], [1], title=hostile),
        charts.pair_bars([(hostile, 1.0, None)], title=hostile, unit=hostile),
        charts.dot_rows([Estimate(hostile, 1, 1, 1, 1, "pruned")], title=hostile, x_title=hostile),
        charts.line_chart(
            [Series(hostile, [(0, 1)], "pruned")], title=hostile, x_title=hostile, y_title=hostile
        ),
    ):
        assert "<script" not in svg and "&lt;script" in svg


def test_a_heat_map_is_stronger_where_more_is_lost() -> None:
    rows = [
        ("layer1.0.conv1", [Cell("-0.10", 0.0, "a tip"), Cell("-3.00", 1.0, "<b>")]),
        ("stem", [Cell("+0.2", -1, "")]),
    ]
    chart = charts.heat_map(rows, ["without 25 %", "without 50 %"], title="what is lost")
    assert re.findall(r'fill-opacity="([\d.]+)"', chart) == ["0.000", "0.850", "0.000"]
    assert "layer1.0.conv1" in chart and "without 25 %" in chart and "&lt;b&gt;" in chart
