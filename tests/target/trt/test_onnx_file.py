"""Reading protobuf by hand, against files that the onnx package wrote."""

from pathlib import Path

import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.trt.onnx_file import read_onnx
from trt.fixtures import small_cnn


def test_inputs_and_operators(tmp_path: Path) -> None:
    onnx = read_onnx(str(small_cnn(tmp_path / "m.onnx")))
    assert onnx.inputs == {"input": (None, 3, 6, 6)}
    assert onnx.operators == {"Conv", "Relu", "GlobalAveragePool", "Flatten", "MatMul"}
    assert (onnx.has_scales, onnx.half) == (False, False)


def test_types(tmp_path: Path) -> None:
    assert read_onnx(str(small_cnn(tmp_path / "h.onnx", kind="fp16"))).half
    assert read_onnx(str(small_cnn(tmp_path / "q.onnx", kind="int8"))).has_scales


def test_fixed_sizes(tmp_path: Path) -> None:
    assert read_onnx(str(small_cnn(tmp_path / "m.onnx", batch=300))).inputs == {"input": (300, 3, 6, 6)}


def test_weights_are_no_inputs(tmp_path: Path) -> None:
    """Files of IR 3 list every initializer among the inputs."""
    import onnx
    from onnx import TensorProto, helper

    path = small_cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("conv1.weight", TensorProto.FLOAT, [8, 3, 3, 3]))
    onnx.save(model, path)
    assert list(read_onnx(str(path)).inputs) == ["input"]


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x3a\xff\xff\xff\xff\x0f"])
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(TargetError, match="m.onnx is not an ONNX file, or a truncated one"):
        read_onnx(str(path))


def test_a_cut_file(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(TargetError, match="or a truncated one"):
        read_onnx(str(path))


def test_no_file() -> None:
    with pytest.raises(TargetError, match="no such model file: absent"):
        read_onnx("absent")
