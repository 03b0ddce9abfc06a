"""Quantisation-aware training: gradients, the int8 file it leaves, resuming, and what it mends."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeprune import tasks
from edgeprune.backends import export_run
from edgeprune.backends.onnx_export import export_quickly
from edgeprune.errors import ExportError, TrainError
from edgeprune.files.tensors import read_tensors
from edgeprune.onnx_graph import files
from edgeprune.onnx_graph.network import network_of
from edgeprune.quantization.layers import layers_of, with_own_constants
from edgeprune.quantization.placing import ONNXRUNTIME, places_of
from edgeprune.quantization.quantizing import Quantizer, Recipe, quantize
from edgeprune.quantization.running import outputs_of
from edgeprune.quantization.trained import Trained
from edgeprune.runs.run import Run
from edgeprune.train_prune.checking import _check_quantize, check_choices
from edgeprune.train_prune.fake_quant import FakeQuantized, RoundedWeight, rounded
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.training import Interrupted

IMAGES = np.random.default_rng(0).normal(size=(32, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """A residual block with a depthwise convolution, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.point = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.point(torch.relu(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> files.OnnxFile:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    export_quickly(Net().eval(), (3, 8, 8), path)
    file = files.read(path)
    for value in [*file.model.graph.input, *file.model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return file


def fake_quantized(
    graph: files.OnnxFile, ranges: float | None = None, in_float: str | None = None
) -> FakeQuantized:
    quantizer = Quantizer(graph.model, [IMAGES], Recipe())
    layers = [layer for layer in quantizer.layers if layer.name != in_float]
    network = network_of(files.OnnxFile(quantizer.model, "m"), torch.zeros(2, 3, 8, 8))
    chosen = quantizer.ranges if ranges is None else dict.fromkeys(quantizer.ranges, ranges)
    places = places_of(quantizer.model, layers, ONNXRUNTIME)
    return FakeQuantized(network, layers, places, chosen)


def file_of(graph: files.OnnxFile, trained: Trained, in_float: str | None = None) -> onnx.ModelProto:
    quantizer = Quantizer(graph.model, [IMAGES], Recipe(), trained)
    return quantizer.with_float([layer.output for layer in quantizer.layers if layer.name == in_float])[0]


def test_rounded_by_hand() -> None:
    x = torch.tensor([0.24, -0.26, 100.0, -100.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    y = rounded(x, scale)
    torch.testing.assert_close(y.detach(), torch.tensor([0.0, -0.5, 63.5, -64.0]))
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert scale.grad is not None  # what rounding adds, in steps, and the ends of the range
    torch.testing.assert_close(scale.grad, torch.tensor(-0.48 + (-1 + 0.52) + 127 - 128))


def test_every_output_channel_has_a_scale() -> None:
    weight = torch.tensor([[1.0, 0.004], [0.01, 0.00003]])
    expected = torch.tensor([[1.0, 1 / 127], [0.01, 0.01 / 127]])
    torch.testing.assert_close(
        RoundedWeight(0)(weight), torch.stack([expected[0], torch.tensor([0.01, 0.0])])
    )


def test_gradients_reach_weights_biases_and_ranges(graph: files.OnnxFile) -> None:
    model = fake_quantized(graph)
    model(torch.from_numpy(IMAGES)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name
    # of the input, three results of convolutions, one of them before the sum, the sum, and the means
    assert len(model.tensors) == len(model.ranges) == 6


@pytest.mark.parametrize(
    ("ranges", "in_float"), [(None, None), (1.0, None), (None, "stem"), (None, "depthwise"), (None, "point")]
)
def test_the_file_computes_what_was_trained(
    graph: files.OnnxFile, ranges: float | None, in_float: str | None
) -> None:
    model = fake_quantized(graph, ranges, in_float)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.03)
        expected = model(torch.from_numpy(IMAGES)).numpy()
    got = outputs_of(file_of(graph, model.trained(), in_float), [IMAGES])[0]
    off = np.abs(got - expected).max(1) > 1e-4 * np.abs(expected).max()
    assert off.mean() < 0.1, "more than ties that are rounded otherwise"
    assert np.abs(got - outputs_of(graph.model, [IMAGES])[0]).max() > 1e-3


def test_training_mends_coarse_ranges(graph: files.OnnxFile) -> None:
    model, x = fake_quantized(graph, 0.5), torch.from_numpy(IMAGES)
    expected = torch.from_numpy(outputs_of(graph.model, [IMAGES])[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = nn.functional.mse_loss(model(x), expected)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_constants_that_an_exporter_merged_are_parted() -> None:
    weight = onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Identity", ["w"], ["v"]),
        onnx.helper.make_node("Conv", ["x", "w"], ["a"]),
        onnx.helper.make_node("Conv", ["a", "w"], ["b"]),
        onnx.helper.make_node("Conv", ["b", "v"], ["y"]),
    ]
    shapes = [value(name, onnx.TensorProto.FLOAT, [1, 2, 1, 1]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", shapes[:1], shapes[1:], [weight]))
    parted = with_own_constants(model)
    onnx.checker.check_model(parted, full_check=True)
    assert [layer.weight for layer in layers_of(parted)] == ["w", "w_of_b", "v"]
    image = np.ones((1, 2, 1, 1), np.float32)
    np.testing.assert_array_equal(outputs_of(parted, [image])[0], 8.0)


def test_another_graph_is_refused(graph: files.OnnxFile) -> None:
    trained = fake_quantized(graph).trained()
    other = Trained({**trained.constants, "absent": np.zeros(3, np.float32)}, trained.ranges)
    with pytest.raises(ExportError, match="the trained int8 scales are of a graph that has absent"):
        file_of(graph, other)


# --- as a stage of a run ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, place: Path, options: TrainPruneOptions) -> Path:
    """A run with quantisation-aware training."""
    import sys

    sys.path.insert(0, str(place))
    try:
        run = tmp_path_factory.mktemp("quantized") / "run"
        train_prune(run, replace(options, quantize="int8"))
    finally:
        sys.path.remove(str(place))
    return run


@pytest.mark.usefixtures("here")
def test_the_stage_leaves_constants_and_ranges(quantized: Path) -> None:
    names = set(read_tensors(quantized / "quantized.safetensors"))
    assert any(name.startswith("constant/") for name in names) and any(
        name.startswith("range/") for name in names
    )
    lines = [json.loads(line) for line in (quantized / "metrics.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines if line["stage"] == "quantize"][-1] == "epoch"
    assert not Run.open(quantized).has("checkpoint.safetensors")


@pytest.mark.usefixtures("here")
def test_export_writes_the_trained_scales(quantized: Path) -> None:
    record = export_run(quantized, to=["onnx-int8"], images=16)
    made = {item.model: item for item in record.artifacts if item.backend == "onnx-int8"}
    assert [made[name].details["scales"] for name in ("baseline", "pruned")] == ["calibrated", "trained"]
    file = onnx.load(quantized / "export" / "pruned.int8.onnx")
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    for name, tensor in read_tensors(quantized / "quantized.safetensors").items():
        kind, _, rest = name.partition("/")
        if kind == "constant" and rest in values:
            np.testing.assert_allclose(values[rest], tensor.numpy(), rtol=1e-6)
            continue
        if kind == "constant":  # a weight, held as integers
            integers, scale = values[f"{rest}_QuantizeLinear_Output"], values[f"{rest}_scale"]
            axis = tensor.numpy().shape.index(scale.size)
            scale = scale.reshape([-1 if place == axis else 1 for place in range(tensor.dim())])
            assert integers.dtype == np.int8 and np.abs(integers).max() == 127
            assert (np.abs(integers * scale - tensor.numpy()) <= 0.5001 * scale).all()
            continue
        levels = 127 if values[f"{rest}_zero_point"] else 255  # of both signs, or not below 0
        np.testing.assert_allclose(values[f"{rest}_scale"], tensor.numpy() / levels, rtol=1e-6)


@pytest.mark.usefixtures("here")
def test_interrupted_and_resumed_it_ends_on_the_same_bytes(
    tmp_path: Path, quantized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.training import loop

    step = loop.Stage._train_step

    def interrupted(self: Any, *arguments: Any) -> Any:
        result = step(self, *arguments)
        return (result[0], True) if self.name == "quantize" and self.step == 1 else result

    undone = shutil.ignore_patterns("quantized*", "summary*", "export")
    shutil.copytree(quantized, tmp_path / "run", ignore=undone)
    with monkeypatch.context() as patched:
        patched.setattr(loop.Stage, "_train_step", interrupted)
        with pytest.raises(Interrupted):
            train_prune(tmp_path / "run", resume=True)
    assert Run.open(tmp_path / "run").has("checkpoint.safetensors")
    train_prune(tmp_path / "run", resume=True)
    first, second = (path / "quantized.safetensors" for path in (quantized, tmp_path / "run"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"precisions": "fp32,int4"},
            "`precisions`: unknown precision 'int4'.*known: fp32, int8 in one file",
        ),
        ({"precisions": "int8"}, "`precisions=int8` leaves nothing to choose: .* `target_precision=int8`"),
        ({"target": "flops=0.5"}, "`precisions` are chosen by the time .*: say `target=latency=0.35`"),
        (
            {"target_runtime": "openvino"},
            "files of ONNX Runtime, .*: openvino's have one, by `target_precision`",
        ),
        ({"target_precision": "int8"}, "`precisions` and `target_precision` exclude each other"),
        ({"lut": "x.json"}, "`precisions` and `lut` exclude each other: each precision has a table"),
        ({"plan": "plan.json"}, "`precisions` and `plan` exclude each other"),
        ({"max_drop": 1.0}, "`precisions` and `max_drop` exclude each other"),
        ({"target": "latency=9ms@sustained"}, "`precisions` are chosen on a cool device"),
        ({"more_hosts": ({},), "host": {}}, "`precisions` are chosen for one device"),
        ({"init": "random", "method": "l1"}, "`precisions` follow a trained baseline's errors"),
    ],
)
def test_precisions_that_cannot_be_chosen(wrong: dict[str, Any], message: str) -> None:
    options = replace(TrainPruneOptions(), target="latency=0.5", precisions="fp32,int8", distill=False)
    with pytest.raises(TrainError, match=message):
        check_choices(replace(options, **wrong))
    check_choices(options)


def test_what_makes_no_sense_is_refused() -> None:
    for wrong, message in [
        ({"max_drop": 1.0}, "`max_drop` and `quantize` exclude each other"),
        ({"quantize": "int4"}, "`quantize`: unknown quantize 'int4'"),
    ]:
        with pytest.raises(TrainError, match=message):
            check_choices(replace(TrainPruneOptions(), **{"quantize": "int8", **wrong}))
    with pytest.raises(TrainError, match="`task=detect` computes its loss inside of the model"):
        _check_quantize(tasks.get("detect"), replace(TrainPruneOptions(), quantize="int8"))


def test_auto_leaves_no_trained_layer_in_float(graph: files.OnnxFile) -> None:
    trained = fake_quantized(graph).trained()
    made = quantize(graph.model, [IMAGES], [IMAGES], Recipe(), lambda *_: 0.5, trained)
    assert (made.in_float, made.corrected, made.agreement) == ((), 0, 0.5)
