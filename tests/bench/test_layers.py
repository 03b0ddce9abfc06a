"""Two models layer by layer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trt.fixtures import small_cnn

from bench.conftest import FAKE
from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench.files import measuring_with
from edgeprune.bench.graph import OnnxGraph, read_graph
from edgeprune.bench.layers import (
    TimedLayer,
    check_layers,
    compare_layers,
    group_of,
    merge_passes,
    padded,
    verdict,
)
from edgeprune.bench.local import LocalTransport
from edgeprune.bench.session import Session
from edgeprune.devices import load_device
from edgeprune.errors import BenchError
from edgeprune.records.bench import LayerTimes
from edgeprune.reporting.rows import layer_table, layers_title

NODES = {"conv1": "Conv", "relu1": "Relu", "fc": "Gemm"}
GRAPH = OnnxGraph(NODES, {"y": "conv1", "r": "relu1"}, {"relu1": "y"}, {name: name for name in NODES}, {})


def layer(name: str, ms: float | None, kind: str = "Conv", **more: Any) -> dict[str, Any]:
    result = {
        "name": name,
        "kind": kind,
        "onnx": [],
        "ms": ms,
        "outputs": [],
        "formats": [],
        "reformat": False,
    }
    return {**result, **more}


def part(*nodes: str, ms: tuple[float, ...] = (1.0, 1.0), **more: Any) -> TimedLayer:
    return TimedLayer(frozenset(nodes), "Conv", list(ms), **more)


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("Row major linear FP32", 1),
        ("Channel major FP16 format where C % 8 == 0", 8),
        ("Channel major FP32 format where channel % 4 == 0", 4),
        ("Channel major FP16 format where C % 8 == 0 and H Stride % 32 == 0", 8),
        ("Two wide channel vectorized row major FP16 format", 2),
        ("Thirty-two wide channel vectorized row major Int8 format", 32),
        ("Half", 1),
        ("", 1),
    ],
)
def test_groups_of_channels(form: str, group: int) -> None:
    assert group_of(form) == group


@pytest.mark.parametrize(
    ("shape", "form", "real", "message"),
    [
        ([1, 13, 8, 8], "Channel major FP16 format where C % 8 == 0", {13}, "13 channels computed as 16"),
        ([1, 16, 8, 8], "Channel major FP16 format where C % 8 == 0", {16}, None),
        ([1, 16, 8, 8], "", {13}, "13 channels computed as 16"),  # ONNX Runtime gives the padded shape
        ([1, 16, 8, 8], "", set(), None),
        ([1, 13, 8, 8], "", {13}, None),
        ([1000], "Thirty-two wide channel vectorized row major Int8 format", set(), None),
    ],
)
def test_padding(shape: list[int], form: str, real: set[int], message: str | None) -> None:
    assert padded(layer("c", 1.0, outputs=[shape], formats=[form] if form else []), real) == message


@pytest.mark.parametrize(
    ("baseline", "pruned", "message"),
    [
        ([2.0, 2.2], [1.0, 1.9], "faster"),
        ([2.0, 2.2], [1.0, 2.0], "same"),
        ([1.0, 1.1], [1.2, 3.0], "slower"),
        ([1.0], None, "only in baseline"),
        (None, [1.0], "only in pruned"),
    ],
)
def test_verdicts(baseline: list[float] | None, pruned: list[float] | None, message: str) -> None:
    assert verdict(baseline, pruned) == message


def test_a_reformat_goes_with_the_layer_it_names() -> None:
    copy = layer(
        "Reformatting CopyNode for Input Tensor 0 to fc", 0.5, "Reformat", onnx=["fc"], reformat=True
    )
    merged = merge_passes(
        [[copy, layer("conv1 + relu1", 2.0, onnx=["conv1", "relu1"]), layer("fc", 1.0)]], GRAPH
    )
    assert [(sorted(item.nodes), item.ms, item.reformats, item.reformat_ms) for item in merged] == [
        (["conv1", "relu1"], [2.0], 0, []),
        (["fc"], [1.5], 1, [0.5]),
    ]


def test_a_reorder_goes_with_the_layer_beside_it() -> None:
    passes = [
        [
            layer("ReorderInput", 0.25, "ReorderInput", reformat=True),
            layer("r_nchwc", 2.0),
            layer("ReorderOutput", 0.5, "ReorderOutput", reformat=True),
            layer("fc", 1.0, "Gemm"),
        ]
    ]
    merged = merge_passes(passes, GRAPH)
    assert [(sorted(item.nodes), item.ms, item.reformats) for item in merged] == [
        (["conv1", "relu1"], [2.75], 2),
        (["fc"], [1.0], 0),
    ]


def test_a_layer_without_a_time_is_left_out() -> None:
    assert merge_passes([[layer("conv1", 1.0)], [layer("conv1", None)]], GRAPH) == []


def test_layers_that_were_fused_otherwise_are_one_row() -> None:
    rows = compare_layers(
        [part("conv1", "relu1", ms=(3.0, 3.2)), part("fc")],
        [part("conv1", ms=(1.0, 1.1)), part("relu1", ms=(0.5, 0.5)), part("fc"), part("gather")],
    )
    assert [row.onnx for row in rows] == [("conv1", "relu1"), ("fc",), ("gather",)]
    assert [row["verdict"] for row in rows] == ["faster", "same", "only in pruned"]
    assert rows[0]["pruned"]["ms"] == pytest.approx(1.55)
    assert rows[0]["ratio"] == pytest.approx(3.1 / 1.55)


def test_what_the_other_runtime_fused_is_not_missing() -> None:
    graphs = {"baseline": GRAPH, "pruned": GRAPH}
    rows = compare_layers([part("conv1"), part("relu1"), part("x")], [part("conv1")], graphs)
    assert [row["verdict"] for row in rows] == ["same", "fused in pruned", "only in baseline"]
    rows = compare_layers([part("conv1")], [part("relu1")], graphs)
    assert [row["verdict"] for row in rows] == ["fused in pruned", "fused in baseline"]


def test_a_row_may_join_what_was_apart_before() -> None:
    """Two rows of the baseline that one fused layer of the pruned model covers."""
    rows = compare_layers([part("a"), part("x"), part("b")], [part("a", "b", ms=(1.0, 1.0))])
    assert [row.onnx for row in rows] == [("a", "b"), ("x",)]
    assert rows[0]["baseline"]["ms"] == 2.0


def test_what_pruning_brought_is_said() -> None:
    slow = part(
        "conv1", ms=(2.0, 2.0), padded="13 channels computed as 16", reformats=1, reformat_ms=[0.5, 0.5]
    )
    rows = compare_layers([part("conv1")], [slow])
    assert (rows[0]["verdict"], rows[0]["gained_reformat"]) == ("slower", True)
    result = LayerTimes(rows=tuple(rows), total_ms={"baseline": 1.0, "pruned": 2.0}, note="why")
    heads, cells = layer_table(result)
    assert [name for name, _ in heads] == ["layer", "baseline ms", "pruned ms", "verdict", "remarks"]
    assert cells == [
        [
            "conv1",
            "1.0000",
            "2.0000",
            "slower (0.50x)",
            "pruned: 13 channels computed as 16; pruned: gained a reformat, 0.5000 ms",
        ]
    ]
    assert layers_title(result) == "layer by layer: 1.000 ms, pruned 2.000 ms (why)"


def test_in_a_measurement(fake_models: Callable[..., dict[str, Path]]) -> None:
    models = fake_models({"layers": [layer("conv1", 2.0)]}, {"layers": [layer("conv1", 1.0)]})
    options = BenchOptions(FAKE, threads=1, seconds=0.02, rounds=2)
    result = bench_models(models, options=options, layers=True)
    outcome = result["layers"]
    assert outcome["passes"] == 4 and outcome["total_ms"] == {"baseline": 2.0, "pruned": 1.0}
    assert [row["verdict"] for row in outcome["rows"]] == ["faster"]
    json.dumps(result.to_dict(), allow_nan=False)


def test_onnxruntime_on_this_machine(tmp_path: Path) -> None:
    """Wide against narrow: every row is about nodes of the file, and the convolution has a time in both.

    Which of the two is faster is the machine's word on a busy day; that is for measurements, not for a test.
    """
    from edgeprune_target.layering import layers
    from edgeprune_target.trt.options import EngineOptions

    parts = {}
    for name, width in (("baseline", 64), ("pruned", 13)):
        path = small_cnn(tmp_path / f"{name}.onnx", width=width, size=24)
        result = layers(
            str(path), runtime="onnxruntime", batch=1, threads=1, seconds=0.05, options=EngineOptions()
        )["layers"]
        parts[name] = merge_passes([result], read_graph(path))
        assert all(label.split("/")[0] in ("conv1", "fc") for part in parts[name] for label in part.nodes)
    rows = compare_layers(parts["baseline"], parts["pruned"])
    conv = next(row for row in rows if "conv1" in row["onnx"])
    assert conv["baseline"]["ms"] > 0 and conv["pruned"]["ms"] > 0
    # Where the processor computes in blocks of channels, 13 become 16; where it does not, nothing is padded.
    assert conv["pruned"]["padded"] in ("13 channels computed as 16", None)
    assert conv["baseline"]["padded"] is None


@pytest.mark.parametrize("runtime", ["ncnn", "litert", "executorch"])
def test_a_runtime_that_times_no_layers_is_refused_before_it_measures(runtime: str) -> None:
    options = BenchOptions(measuring_with(load_device("cpu"), runtime, "fp32"))
    session = Session({}, options, LocalTransport(), lambda *_: None)
    with pytest.raises(
        BenchError, match=r"leave `layers` out \(those that do: onnxruntime, openvino, tensorrt\)"
    ):
        check_layers(session)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tensorrt"])
def test_a_runtime_that_times_layers_is_not_refused(runtime: str) -> None:
    options = BenchOptions(measuring_with(load_device("cpu"), runtime, "fp32"))
    check_layers(Session({}, options, LocalTransport(), lambda *_: None))
