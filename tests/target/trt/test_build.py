"""Building against the stand-in of every version."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeprune_target.cuda import open_gpu
from edgeprune_target.errors import TargetError
from edgeprune_target.trt.build import BuiltEngine, Recipe, build_engine
from edgeprune_target.trt.library import make_logger, version
from trt.fixtures import small_cnn
from trt.names import VERSIONS

UP_TO_10 = [version for version in VERSIONS if not version.startswith("11")]
SHAPE = (1, 3, 6, 6)


def built(trt: Any, path: Path, precision: str, **more: Any) -> BuiltEngine:
    return build_engine(trt, make_logger(trt), str(path), Recipe(precision, **more))


def loaded(trt: Any, plan: BuiltEngine) -> Any:
    logger = make_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.content)
    assert engine is not None, logger.errors
    return engine


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_builds(tensorrt: Any, tmp_path: Path, name: str, precision: str) -> None:
    trt = tensorrt(name)
    typed = name.startswith("11")
    path = small_cnn(tmp_path / "m.onnx", kind=precision if typed else "fp32")
    plan = built(trt, path, precision, batches=(1, 4, 8))
    assert plan.precision_from == ("onnx" if typed else "flags")
    assert plan.shapes == {"input": ((1, 3, 6, 6), (4, 3, 6, 6), (8, 3, 6, 6))}
    header = loaded(trt, plan)._header
    assert header["flags"] == (["FP16"] if precision == "fp16" and not typed else [])
    assert header["detailed"] is True
    assert (plan.calibration_images, plan.warnings) == (0, [])


@pytest.mark.parametrize("name", UP_TO_10)
def test_int8_is_calibrated_on_the_images(tensorrt: Any, tmp_path: Path, cudart: Any, name: str) -> None:
    trt = tensorrt(name)
    images = np.random.default_rng(0).normal(size=(21, *SHAPE[1:])).astype(np.float32)
    gpu = open_gpu()
    plan = built(trt, small_cnn(tmp_path / "m.onnx"), "int8", images=images, gpu=gpu)
    gpu.close()
    assert plan.calibration_images == 16  # two steps of 8; a third would need 24
    assert loaded(trt, plan)._header["flags"] == ["FP16", "INT8"]
    assert [warning["code"] for warning in plan.warnings] == ["slow_precision"]


@pytest.mark.parametrize("name", VERSIONS)
def test_int8_with_scales_in_the_file_needs_no_images(tensorrt: Any, tmp_path: Path, name: str) -> None:
    plan = built(tensorrt(name), small_cnn(tmp_path / "m.onnx", kind="int8"), "int8")
    assert plan.calibration_images == 0


@pytest.mark.parametrize("name", UP_TO_10)
def test_int8_without_either(tensorrt: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(
        TargetError, match="int8 needs real images for its scales, or an ONNX with Q/DQ nodes"
    ):
        built(tensorrt(name), small_cnn(tmp_path / "m.onnx"), "int8")


def test_too_few_images_for_one_step(tensorrt: Any, tmp_path: Path, cudart: Any) -> None:
    gpu = open_gpu()
    with pytest.raises(TargetError, match="calibrated on 8 images at a time, and there are 5"):
        built(
            tensorrt("10.3.0"), small_cnn(tmp_path / "m.onnx"), "int8", images=np.ones((5, 3, 6, 6)), gpu=gpu
        )
    gpu.close()


def test_a_fixed_batch_is_the_calibrations_batch(tensorrt: Any, tmp_path: Path, cudart: Any) -> None:
    gpu = open_gpu()
    path = small_cnn(tmp_path / "m.onnx", batch=3)
    images = np.ones((7, 3, 6, 6), np.float32)
    plan = built(tensorrt("10.3.0"), path, "int8", images=images, gpu=gpu)
    gpu.close()
    assert plan.calibration_images == 6
    assert plan.shapes["input"] == ((3, 3, 6, 6),) * 3


@pytest.mark.parametrize(
    ("kind", "precision", "what"),
    [
        (
            "fp32",
            "fp16",
            "computes in fp32: use the one that 'edgeprune export RUN --trt --precision fp16' writes",
        ),
        ("fp32", "int8", "has no Q/DQ nodes: .*--precision int8"),
        ("fp16", "fp32", "does not compute in fp32"),
    ],
)
def test_from_11_on_the_file_has_to_have_the_precision(
    tensorrt: Any, tmp_path: Path, kind: str, precision: str, what: str
) -> None:
    with pytest.raises(
        TargetError, match=f"TensorRT 11.4.0.106 takes the precision from the ONNX file.*{what}"
    ):
        built(tensorrt("11.4.0.106"), small_cnn(tmp_path / "m.onnx", kind=kind), precision)


@pytest.mark.parametrize("name", VERSIONS)
def test_workspace(tensorrt: Any, tmp_path: Path, name: str) -> None:
    trt = tensorrt(name)
    path = small_cnn(tmp_path / "m.onnx")
    assert loaded(trt, built(trt, path, "fp32", workspace_bytes=5 << 20))._header["workspace"] == 5 << 20
    assert loaded(trt, built(trt, path, "fp32"))._header["workspace"] is None


@pytest.mark.parametrize("name", VERSIONS)
def test_timing_cache_is_read_and_written(tensorrt: Any, tmp_path: Path, name: str) -> None:
    trt, file = tensorrt(name), tmp_path / "times"
    path = small_cnn(tmp_path / "m.onnx")
    built(trt, path, "fp32", timing_cache=str(file))
    assert file.read_bytes() == f"cache of {name}+small".encode()
    built(trt, path, "fp32", timing_cache=str(file))
    assert file.read_bytes() == f"cache of {name}+small+small".encode()


def test_timing_cache_of_another_version_is_replaced(tensorrt: Any, tmp_path: Path) -> None:
    file = tmp_path / "times"
    file.write_bytes(b"cache of 8.6.1+others")
    built(tensorrt("10.3.0"), small_cnn(tmp_path / "m.onnx"), "fp32", timing_cache=str(file))
    assert file.read_bytes() == b"cache of 10.3.0+small"


def test_timing_cache_that_cannot_be_written(tensorrt: Any, tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    with pytest.raises(TargetError, match="cannot write the timing cache .*absent/times"):
        built(tensorrt("10.3.0"), path, "fp32", timing_cache=str(tmp_path / "absent/times"))


@pytest.mark.parametrize("name", VERSIONS)
def test_a_file_that_cannot_be_parsed(tensorrt: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(
        TargetError, match=f"TensorRT {name} cannot read m.onnx: .*not protobuf.*lower --opset"
    ):
        built(tensorrt(name), path, "fp32")


def test_no_file(tensorrt: Any) -> None:
    with pytest.raises(TargetError, match="no such model file: absent.onnx"):
        built(tensorrt("10.3.0"), Path("absent.onnx"), "fp32")


def test_free_sizes_beside_the_batch(tensorrt: Any, tmp_path: Path) -> None:
    trt, path = tensorrt("10.3.0"), small_cnn(tmp_path / "m.onnx", size="side")
    with pytest.raises(TargetError, match=r"input 'input' has free sizes .*--shape input=1x3x32x32"):
        built(trt, path, "fp32")
    plan = built(trt, path, "fp32", batches=(1, 2, 2), shapes={"": (9, 3, 6, 6)})
    assert plan.shapes["input"] == ((1, 3, 6, 6), (2, 3, 6, 6), (2, 3, 6, 6))


def test_what_tensorrt_says_when_it_cannot_build(
    tensorrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trt.building import Builder

    monkeypatch.setattr(
        Builder, "_why_not", lambda *arguments: "Could not find any implementation for node conv1"
    )
    with pytest.raises(TargetError, match="cannot build m.onnx in fp32: .*Could not find any implementation"):
        built(tensorrt("8.6.1"), small_cnn(tmp_path / "m.onnx"), "fp32")


@pytest.mark.parametrize(
    ("text", "numbers"), [("10.16.1.11", (10, 16, 1)), ("8.2", (8, 2, 0)), ("11.0.0rc1", (11, 0, 0))]
)
def test_versions(text: str, numbers: tuple) -> None:
    class Module:
        __version__ = text

    assert version(Module) == numbers
