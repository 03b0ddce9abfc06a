"""Files of runtimes, made of a small ONNX file by the runtime's own package."""

from pathlib import Path

from edgeprune_target.packed import pack

MODULES = {"openvino": "openvino", "ncnn": "ncnn", "litert": "ai_edge_litert", "executorch": "executorch"}
TFLITE = Path(__file__).with_name(
    "means.tflite"
)  # the means of the three channels of a 1x3x4x4, by litert-torch


def litert_file(onnx_file: Path) -> Path:
    """What `edgeprune export --to litert` writes."""
    path = onnx_file.with_suffix(".tflite")
    path.write_bytes(TFLITE.read_bytes())
    return path


def executorch_file(onnx_file: Path) -> Path:
    """What `edgeprune export --to executorch` writes; no delegate in it."""
    path = onnx_file.with_suffix(".pte")
    path.write_bytes(Path(__file__).with_name("means.pte").read_bytes())
    return path


def openvino_file(onnx_file: Path) -> Path:
    """What `edgeprune export --to openvino` writes."""
    import openvino

    xml, path = onnx_file.with_suffix(".xml"), onnx_file.with_suffix(".openvino.zip")
    openvino.save_model(openvino.Core().read_model(str(onnx_file)), str(xml), compress_to_fp16=False)
    pack(
        str(path), {"model.xml": xml.read_bytes(), "model.bin": xml.with_suffix(".bin").read_bytes() or b"\0"}
    )
    return path


NCNN_MEANS = """7767517
2 2
Input in0 0 1 in0
Pooling means 1 1 in0 out0 0=1 4=1
"""


def ncnn_file(onnx_file: Path) -> Path:
    """What `edgeprune export --to ncnn` writes."""
    path = onnx_file.with_suffix(".ncnn.zip")
    about = b'{"precision": "fp32", "shape": [3, 4, 4]}'
    pack(str(path), {"model.ncnn.param": NCNN_MEANS.encode(), "model.ncnn.bin": b"", "about.json": about})
    return path
