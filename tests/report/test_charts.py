"""Shapes of charts, by hand."""

import re

from edgeprune.report import charts
from edgeprune.report.charts import Band, Cell, Series, Spread
from edgeprune.report.estimates import Estimate, dot_rows


def broad(chart: str) -> str:
    """Return the drawing for broad pages."""
    return chart.partition('<svg class="narrow"')[0]


def test_a_line_goes_through_its_points() -> None:
    line = Series("loss", [(0, 0), (10, 5)], "pruned")
    svg = charts.line_chart(
        [line], title="t", x_title="steps", y_title="loss", bands=[Band("pruning", 0, 10)]
    )
    assert (
        'points="64.0,234.0 704.0,18.0"' in svg
    )  # from the lower left to the upper right corner of the plot
    assert 'points="58.0,234.0 344.0,18.0"' in svg  # and of the narrow one
    assert ">pruning</text>" in svg and "<title>loss: 5 at 10</title>" in svg


def test_columns_are_filled_up_to_the_kept_width() -> None:
    svg = charts.width_chart(["a", "b"], [8, 4], [2, 4], title="t")
    heights = [float(h) for h in re.findall(r'class="bar [\w ]+".*?height="([\d.]+)"', broad(svg))]
    assert heights == [216.0, 54.0, 108.0, 108.0]  # of 8, 2, 4, 4 channels: 27 pixels each
    assert "a: 8 to 2 (25 %)" in svg


def test_many_columns_have_no_names() -> None:
    svg = charts.width_chart([f"layer{n}" for n in range(200)], [8] * 200, [4] * 200, title="t")
    assert ">layer7</text>" not in svg and "layer7: 8 to 4" in svg


def test_long_names_keep_their_end() -> None:
    svg = charts.width_chart(["backbone.stages.3.blocks.12.conv_dw"], [8], [4], title="t")
    assert "…s.3.blocks.12.conv_dw</text>" in svg  # 22 characters


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
        dot_rows([Estimate(hostile, 1, 1, 1, 1, "pruned")], title=hostile, x_title=hostile),
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
    assert re.findall(r'fill-opacity="([\d.]+)"', broad(chart)) == ["0.000", "0.850", "0.000"]
    assert "layer1.0.conv1" in chart and "without 25 %" in chart and "&lt;b&gt;" in chart


def test_short_bands_have_their_names_above_each_other() -> None:
    """Draw 300 steps with a pruning of 17 and a fine-tuning of 25: side by side their names would overlap."""
    bands = [Band("baseline", 0, 210), Band("pruning", 210, 227), Band("fine-tuning", 227, 252)]
    line = Series("loss", [(0, 1), (252, 0)], "pruned")
    svg = broad(charts.line_chart([line], title="t", x_title="x", y_title="y", bands=bands))
    heights = dict(
        re.findall(r'y="([\d.]+)" text-anchor="middle" >([a-z-]+)<', svg)[i][::-1] for i in range(3)
    )
    assert heights == {"baseline": "29.0", "pruning": "29.0", "fine-tuning": "15.0"}
    assert 'class="band0" x="64.0" y="32"' in svg  # the plot begins below both rows of names


def test_the_first_names_of_columns_end_at_the_edge() -> None:
    """The first of ten columns of a narrow chart is 76 pixels from the edge: room for 16 letters of 4.5 across."""
    chart = charts.width_chart(["backbone.stages.3.blocks.12.conv_dw"] * 10, [8] * 10, [4] * 10, title="t")
    narrow = chart.removeprefix(broad(chart))
    assert re.findall(r">(…[^<]*)</text>", narrow)[0] == "…ocks.12.conv_dw"


def test_heads_of_a_heat_map_are_broken_where_they_would_overlap() -> None:
    rows = [("conv", [Cell("-1", 0.5, "")] * 5)]
    names = [f"without {share} %" for share in (10, 20, 30, 40, 50)]
    chart = charts.heat_map(rows, names, title="t")
    assert re.findall(r">([^<>]*%|without)</text>", broad(chart)) == names
    narrow = re.findall(r">([^<>]*%|without)</text>", chart.removeprefix(broad(chart)))
    assert narrow[:4] == ["10 %", "without", "20 %", "without"]
