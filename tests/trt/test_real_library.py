"""NVIDIA's own parser and builder on every kind of file that `export` writes; TensorRT for RTX needs no GPU for that.

Skipped where it is not installed: `make test-trt` puts it into a folder of its own. Nothing can be run here; what is
tested is that each file is read and built, in its own precision, and that no layer that int8 is for fell out of it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from edgeprune_target.errors import TargetError
from edgeprune_target.trt.build import Recipe
from edgeprune_target.trt.library import NoTensorRt, make_logger
from torch import nn

from edgeprune import prune
from edgeprune.backends import get
from edgeprune.backends.jobs import Job
from edgeprune.backends.rtx_builder import (
    build_ahead,
    capabilities,
    load_tensorrt_rtx,
    typed_network,
)
from edgeprune.backends.tensorrt_rtx import TensorRtRtx
from edgeprune.cli import main
from edgeprune.errors import ExportError
from edgeprune.models import build

try:
    trt: Any = load_tensorrt_rtx()
except NoTensorRt as missing:
    pytest.skip(str(missing), allow_module_level=True)

INT8_KINDS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")  # layers that int8 is for
PRECISIONS = {"fp32": "onnx", "fp16": "onnx-fp16", "int8": "onnx-int8-tensorrt"}
NETWORKS = (
    "resnet20",
    "mobilenetv2_cifar",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x0_5",
)


def images(side: int, count: int = 8) -> Callable[[], Any]:
    """Return batches of random images with labels."""

    def batches() -> Any:
        generator = torch.Generator().manual_seed(0)
        yield torch.randn(count, 3, side, side, generator=generator), torch.zeros(count, dtype=torch.long)

    return batches


def pruned(name: str, side: int) -> nn.Module:
    """Return a network with 0.6 of its FLOPs, in eval mode, with statistics of its own."""
    torch.manual_seed(0)
    model = build(name, num_classes=5)
    with torch.no_grad():
        model(torch.randn(8, 3, side, side))
    return prune(model.eval(), torch.zeros(1, 3, side, side), target="flops=0.6").model.eval()


def job_of(name: str, folder: Path, side: int) -> Job:
    batches = images(side)
    return Job(pruned(name, side), "pruned", (3, side, side), folder, batches, batches, "0")


def outside_int8(network: Any) -> list[str]:
    """Return the names of convolutions and matrix products whose inputs do not come from int8."""
    dequantised: set[str] = set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.DEQUANTIZE:
            dequantised.add(layer.get_output(0).name)
    outside = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in [getattr(trt.LayerType, kind) for kind in INT8_KINDS]:
            names = [layer.get_input(number).name for number in range(min(2, layer.num_inputs))]
            if not set(names) <= dequantised:
                outside.append(layer.name)
    return outside


def parsed(path: Path) -> tuple[Any, Any, Any]:
    """Return a file's network, with what must outlive it."""
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    return typed_network(trt, builder, logger, str(path)), builder, logger


@pytest.mark.parametrize("name", NETWORKS)
def test_every_precision_is_read_and_built(name: str, tmp_path: Path) -> None:
    side = 64 if name.startswith("torchvision") else 32
    job = job_of(name, tmp_path, side)
    for precision, backend in PRECISIONS.items():
        artifact = get(backend)().export(job)
        assert artifact.file is not None, artifact.skipped_because
        engine = get("tensorrt-rtx")(precision).export(job)
        assert engine.file == f"pruned.{precision}.sm86.rtx" and (engine.size_bytes or 0) > 10_000
        assert engine.parity is None


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2_cifar"])
def test_no_layer_falls_out_of_int8(name: str, tmp_path: Path) -> None:
    """But those that `export` itself keeps out: a classifier narrower than TensorRT's int8 takes."""
    job = job_of(name, tmp_path, 32)
    for backend in ("onnx", "onnx-int8-tensorrt"):
        get(backend)().export(job)
    network, *_alive = parsed(tmp_path / get("onnx-int8-tensorrt")().file_name("pruned"))
    outside = outside_int8(network)
    kinds = [network.get_layer(i).type for i in range(network.num_layers)]
    convolutions = kinds.count(trt.LayerType.CONVOLUTION)
    assert convolutions >= 19
    assert [label for label in outside if "conv" in label.lower()] == []
    assert len(outside) <= 1


def test_segmentation_and_detection_networks(tmp_path: Path) -> None:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)["out"]

    torch.manual_seed(0)
    model = Masks().eval()
    small = prune(model, torch.zeros(1, 3, 64, 64), target="flops=0.7").model.eval()
    path = tmp_path / "masks.onnx"
    torch.onnx.export(small, (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, input_names=["input"])
    assert len(build_ahead(trt, make_logger(trt), str(path), Recipe("fp32"), "SM86")) > 10_000


def test_the_precision_is_checked(tmp_path: Path) -> None:
    job = job_of("resnet20", tmp_path, 32)
    get("onnx")().export(job)
    onnx = str(tmp_path / "pruned.onnx")
    for precision, words in (("int8", "no Q/DQ nodes"), ("fp16", "computes in fp32")):
        with pytest.raises(TargetError, match=words):
            build_ahead(trt, make_logger(trt), onnx, Recipe(precision), "SM86")


def test_other_kinds_of_gpu(tmp_path: Path) -> None:
    job = job_of("resnet20", tmp_path, 32)
    get("onnx")().export(job)
    engine = TensorRtRtx("fp32", "SM89").export(job)
    assert engine.file == "pruned.fp32.sm89.rtx" and engine.options == {"compute_capability": "SM89"}
    with pytest.raises(ExportError, match="no GPU of compute capability 'SM1' .*SM86"):
        TensorRtRtx("fp32", "SM1").export(job)
    assert "SM86" in capabilities(trt) and not (tmp_path / "pruned.fp32.sm1.rtx").exists()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(TargetError, match="cannot read bad.onnx") as caught:
        build_ahead(trt, make_logger(trt), str(tmp_path / "bad.onnx"), Recipe("fp32"), "SM86")
    assert "\n" not in str(caught.value)


def test_from_the_command_line(tmp_path: Path) -> None:
    command = ["export", "resnet20", "resnet20", "--out", str(tmp_path / "rtx"), "--to", "tensorrt-rtx"]
    result = CliRunner().invoke(main, [*command, "--precision", "fp32", "--images", "2", "--json"])
    assert result.exit_code == 0, result.output
    artifacts = json.loads(result.stdout)["artifacts"]
    assert [a["file"] for a in artifacts if a["backend"] == "tensorrt-rtx"] == [
        "baseline.fp32.sm86.rtx", "pruned.fp32.sm86.rtx",
    ]  # fmt: skip
