"""int8 scales in the file."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper
from torch import nn
from trt.fixtures import answer, small_cnn

from backends.conftest import StubRun
from edgeprune.backends import export_run
from edgeprune.backends.base import Artifact
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx_int8 import METHODS, OnnxInt8, export_quantised, split
from edgeprune.cli import main
from edgeprune.errors import ExportError
from edgeprune.quantization.placing import TENSORRT
from edgeprune.quantization.quantizing import Recipe

IMAGES = np.random.default_rng(0).normal(size=(32, 3, 6, 6)).astype(np.float32)


def test_computes_the_same_within_eight_bits(tmp_path: Path) -> None:
    source = small_cnn(tmp_path / "m.onnx")
    export_quantised(source, tmp_path / "q.onnx", [IMAGES[:16], IMAGES[16:]])
    expected, got = answer(source, IMAGES), answer(tmp_path / "q.onnx", IMAGES)
    assert 0 < np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_are_held_as_the_integers_that_their_q_nodes_would_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small_cnn(tmp_path / "m.onnx")
    export_quantised(source, tmp_path / "held.onnx", [IMAGES])
    held = onnx.load(tmp_path / "held.onnx").graph
    monkeypatch.setattr("edgeprune.quantization.quantizing.hold_integers", lambda _: 0)
    export_quantised(source, tmp_path / "rounded.onnx", [IMAGES])
    rounded = onnx.load(tmp_path / "rounded.onnx").graph

    values = {item.name: numpy_helper.to_array(item) for item in rounded.initializer}
    weights = {
        node.output[0]: node.input
        for node in rounded.node
        if node.op_type == "QuantizeLinear" and node.input[0] in values
    }
    assert len(weights) == 2
    integers = {item.name: numpy_helper.to_array(item) for item in held.initializer}
    for name, (weight, scale, _) in weights.items():
        channels = values[scale].reshape(-1, *[1] * (values[weight].ndim - 1))
        if weight == "fc.weight":  # of a MatMul: its output channels are the last
            channels = values[scale]
        assert integers[name].dtype == np.int8 and weight not in integers
        np.testing.assert_array_equal(integers[name], np.rint(values[weight] / channels))
    made = {node.op_type for node in held.node if node.input[0] in integers}
    assert made == {"DequantizeLinear"}
    np.testing.assert_array_equal(
        answer(tmp_path / "held.onnx", IMAGES), answer(tmp_path / "rounded.onnx", IMAGES)
    )


def test_is_what_tensorrt_asks_for(tmp_path: Path) -> None:
    """Symmetric; weights by channel, as float with Q and DQ behind; no Q/DQ at outputs; no int32 bias."""
    export_quantised(
        small_cnn(tmp_path / "m.onnx"),
        tmp_path / "q.onnx",
        [IMAGES],
        Recipe("minmax", correct=False, form=TENSORRT),
    )
    graph = onnx.load(tmp_path / "q.onnx").graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    scales = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {node.input[0] for node in scales} == {"input", "conv1.weight", "f", "fc.weight"}
    assert all(not values[node.input[2]].any() and values[node.input[2]].dtype == np.int8 for node in scales)
    by_name = {node.input[0]: values[node.input[1]] for node in scales}
    assert (by_name["conv1.weight"].shape, by_name["input"].shape) == ((8,), ())
    np.testing.assert_allclose(
        by_name["conv1.weight"], np.abs(values["conv1.weight"]).max((1, 2, 3)) / 127, rtol=0.01
    )
    np.testing.assert_allclose(by_name["input"], np.abs(IMAGES).max() / 127, rtol=0.01)
    assert values["conv1.bias"].dtype == np.float32
    assert [node.op_type for node in graph.node][-1] == "MatMul"


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no images to calibrate int8 on"):
        export_quantised(small_cnn(tmp_path / "m.onnx"), tmp_path / "q.onnx", [])


def test_a_model_that_cannot_be_quantised_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(b"no model")
    with pytest.raises(ExportError, match="m.onnx cannot be quantised"):
        export_quantised(source, tmp_path / "q.onnx", [IMAGES])
    assert not (tmp_path / "q.onnx").exists()


def input_scale(path: Path) -> float:
    """The scale of the network's input."""
    graph = onnx.load(path).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    (name,) = [n.input[1] for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "input"]
    return float(values[name])


@pytest.mark.parametrize("method", METHODS)
def test_ways_to_find_ranges(tmp_path: Path, method: str) -> None:
    source = small_cnn(tmp_path / "m.onnx")
    export_quantised(source, tmp_path / "q.onnx", [IMAGES], Recipe(method))
    expected, got = answer(source, IMAGES), answer(tmp_path / "q.onnx", IMAGES)
    assert 0 < np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


def test_least_error_cuts_what_is_rare(tmp_path: Path) -> None:
    """One pixel of 12 among values up to 4: all count for minmax, the many weigh more for mse."""
    images = np.random.default_rng(1).normal(size=(512, 3, 6, 6)).astype(np.float32)
    images[0, 0, 0, 0] = 12.0
    source = small_cnn(tmp_path / "m.onnx")
    for method in ("minmax", "mse"):
        export_quantised(source, tmp_path / f"{method}.onnx", [images], Recipe(method))
    assert input_scale(tmp_path / "minmax.onnx") == pytest.approx(12.0 / 127, rel=0.01)
    assert input_scale(tmp_path / "mse.onnx") < 0.8 * 12.0 / 127


def test_an_unknown_way_names_the_known() -> None:
    with pytest.raises(ExportError, match="unknown method 'mean'; known: entropy, minmax, mse, percentile"):
        OnnxInt8(calibrate="mean")


def test_images_are_split_by_count() -> None:
    batches = [np.arange(4), np.arange(4, 8), np.arange(8, 10)]
    first, rest = split(batches, 5)
    assert np.concatenate(first).tolist() == [0, 1, 2, 3, 4] and np.concatenate(rest).tolist() == [
        5,
        6,
        7,
        8,
        9,
    ]
    assert split(batches, 20)[1] == []


def test_the_precisions_of_a_run_are_those_of_the_file(
    stub: StubRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stub.models["pruned"]
    names = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    chosen = {name: "int8" if number % 2 else "fp32" for number, name in enumerate(names)}
    monkeypatch.setattr(stub, "precisions", lambda: chosen, raising=False)
    made = export_run(stub.path, to=["onnx-int8"], images=16).of(OnnxInt8())
    layers = {name: {x["layer"]: x["in_float"] for x in made[name].details["layers"]} for name in made}
    assert layers["pruned"] == {name: precision == "fp32" for name, precision in chosen.items()}
    assert sum(layers["baseline"].values()) < len(names) / 2  # chosen by its own errors
    assert "layers stay in float32, as the run's precisions say" in OnnxInt8().describe(made["pruned"])[0]
    assert (
        OnnxInt8(keep_float="none").in_int8(Job(model, "pruned", (1, 8, 8), stub.path, precisions=chosen))
        is None
    )


@pytest.mark.slow
def test_calibration_by_the_command_line(stub: StubRun) -> None:
    words = ["export", str(stub.path), "--images", "16", "--precision", "int8"]
    done = CliRunner().invoke(
        main, [*words, "--calibration-images", "20", "--calibrate", "mse", "--keep-float", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    made = [
        artifact for artifact in json.loads(done.stdout)["artifacts"] if artifact["backend"] == "onnx-int8"
    ]
    assert [item["options"] for item in made] == [
        {"calibration_images": 20, "calibrate": "mse", "keep_float": "1"}
    ] * 2
    for item in made:
        layers = item["details"]["layers"]
        assert [layer["in_float"] for layer in layers] == [True] + [False] * (len(layers) - 1)
        assert f"{item['file']}: 1 of {len(layers)} layers stay in float32, as `keep_float` says" in " ".join(
            OnnxInt8().describe(Artifact(**{**item, "parity": None}))
        )


def test_calibration_of_something_else(tmp_path: Path) -> None:
    for wrong, message in [
        (["--calibrate", "mse"], "--calibrate is of int8: give --precision int8 with it"),
        (["--precision", "int8", "--calibrate", "mean"], "--calibrate: unknown method 'mean'"),
        (["--precision", "int8", "--to", "openvino", "--calibrate", "mse"], "--calibrate is not of openvino"),
        (["--precision", "int4"], "unknown precision 'int4'"),
    ]:
        outcome = CliRunner().invoke(main, ["export", str(tmp_path), *wrong])
        assert outcome.exit_code in (1, 2) and message in outcome.output, outcome.output
