import hashlib
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgeprune.backends.onnx_export import WrittenOnnx, export_model, export_quickly
from edgeprune.errors import EdgePruneError, ExportError
from edgeprune.models import build

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small padded ResNet with BatchNorm statistics of its own."""
    torch.manual_seed(0)
    model = build("resnet8", num_classes=4, width=4)
    with torch.no_grad():
        model(torch.randn(32, *SHAPE))
    return model.eval()


@pytest.fixture(scope="module")
def written(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> WrittenOnnx:
    """That model's file, the only one in its folder; not to be changed."""
    return export_model(model, SHAPE, tmp_path_factory.mktemp("written") / "m.onnx")


def run(path: Path, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": images.numpy()})[0]


@pytest.mark.parametrize(("opset", "exporter"), [(None, "dynamo"), (20, "dynamo"), (17, "torchscript")])
def test_same_logits_at_any_batch(model: nn.Module, tmp_path: Path, opset: int | None, exporter: str) -> None:
    file = export_model(model, SHAPE, tmp_path / "m.onnx", opset=opset)
    assert (file.exporter, file.opset) == (exporter, opset or 18)
    for batch in (1, 5):
        images = torch.randn(batch, *SHAPE)
        with torch.inference_mode():
            assert np.allclose(run(file.path, images), model(images).numpy(), atol=1e-5)


def test_one_self_contained_file(model: nn.Module, written: WrittenOnnx) -> None:
    content = written.path.read_bytes()
    assert [path.name for path in written.path.parent.iterdir()] == ["m.onnx"]
    assert (written.size_bytes, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    weights = 4 * sum(weight.numel() for weight in model.parameters())
    assert weights < len(content) < weights + 25_000


def test_no_trace_of_this_machine(written: WrittenOnnx) -> None:
    content = written.path.read_bytes()
    for word in (b"edgeprune", b"site-packages", b".py", b"stack_trace", str(Path.cwd()).encode()):
        assert word not in content


def test_axes_names_and_folded_norms(written: WrittenOnnx) -> None:
    content = onnx.load(written.path)
    (options,), (gives,) = content.graph.input, content.graph.output
    assert (options.name, gives.name) == ("input", "logits")
    dims = [dim.dim_param or dim.dim_value for dim in options.type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 16, 16]
    kinds = [node.op_type for node in content.graph.node]
    assert kinds.count("Conv") == 7 and "BatchNormalization" not in kinds
    assert content.ir_version == 8  # what opset 18 needs


def test_the_same_model_gives_the_same_bytes(model: nn.Module, written: WrittenOnnx, tmp_path: Path) -> None:
    assert export_model(model, SHAPE, tmp_path / "again.onnx").sha256 == written.sha256


def test_mode_logging_and_output_are_left_alone(
    model: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.root.manager.disable
    model.train()
    model.bn1.eval()
    statistics = model.bn1.running_mean.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_model(model, SHAPE, tmp_path / "m.onnx", opset=17)
        export_model(model, SHAPE, tmp_path / "m.onnx")
    assert model.training and not model.bn1.training
    assert torch.equal(statistics, model.bn1.running_mean)
    assert logging.root.manager.disable == before
    assert capfd.readouterr() == ("", "")
    model.eval()


class Branching(nn.Module):
    """Its path depends on the pixels: torch.export refuses it, tracing follows one branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > -1 else -x.flatten(1)


def test_what_the_newer_exporter_refuses_goes_to_the_older(tmp_path: Path) -> None:
    assert export_model(Branching(), SHAPE, tmp_path / "m.onnx").exporter == "torchscript"


class Remembering(nn.Module):
    """It keeps the size of its last map, as YOLO's head does: torch's newer exporter then writes a fixed batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.size = nn.Conv2d(3, 4, 3), torch.Size()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.size != y.shape:
            self.size = y.shape
        return y.mean((2, 3))


def test_a_batch_that_the_newer_exporter_fixes_goes_to_the_older(tmp_path: Path) -> None:
    model = Remembering().eval()
    model(torch.zeros(2, *SHAPE))
    assert export_model(model, SHAPE, tmp_path / "m.onnx").exporter == "torchscript"
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        assert np.allclose(run(tmp_path / "m.onnx", images), model(images).numpy(), atol=1e-5)


class Foreign(nn.Module):
    """It leaves torch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not for export\nsecond line")


def test_a_model_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written as ONNX opset 18: ") as caught:
        export_model(Foreign(), SHAPE, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opset", [0, 12, 99])
def test_opset_out_of_range(model: nn.Module, tmp_path: Path, opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset {opset} cannot be written: choose 13 to "):
        export_model(model, SHAPE, tmp_path / "m.onnx", opset=opset)


@pytest.mark.usefixtures("older_exporter")
def test_a_place_that_cannot_be_written(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgePruneError, match="cannot write .*m.onnx"):
        export_model(model, SHAPE, tmp_path / "file" / "m.onnx")


def operations(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_file_for_one_batch_is_the_same_but_for_the_batch(
    model: nn.Module, written: WrittenOnnx, tmp_path: Path
) -> None:
    """What a plan is measured with is what is exported in the end."""
    file = export_model(model, SHAPE, tmp_path / "fixed.onnx", batch=3)
    assert file.batch == 3 and written.batch is None
    assert operations(file.path) == operations(written.path)
    images = torch.randn(3, *SHAPE)
    assert np.allclose(run(file.path, images), run(written.path, images), atol=1e-5)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(file.path, images[:2])


def test_a_file_in_haste_computes_the_same(model: nn.Module, written: WrittenOnnx, tmp_path: Path) -> None:
    export_quickly(model, SHAPE, tmp_path / "haste.onnx", batch=2)
    images = torch.randn(2, *SHAPE)
    assert np.allclose(run(tmp_path / "haste.onnx", images), run(written.path, images), atol=1e-5)


def test_what_cannot_be_written_in_haste_is_an_error_of_one_line(tmp_path: Path) -> None:
    class Unwritable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise TypeError("not by that exporter\nnor by any")

    with pytest.raises(ExportError, match="older exporter cannot write this model: not by") as error:
        export_quickly(Unwritable(), SHAPE, tmp_path / "no.onnx")
    assert "\n" not in str(error.value) and not (tmp_path / "no.onnx").exists()
