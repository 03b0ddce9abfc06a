"""TensorRT: whether an engine could be built here, and if not, why not."""

from importlib.util import find_spec


def skip_reason() -> str:
    """One line that says why no TensorRT engine is built."""
    import torch

    if not torch.cuda.is_available():
        return "no CUDA device: torch sees none on this machine"
    if find_spec("tensorrt") is None:
        return "TensorRT is not installed: pip install 'edgeprune[trt]'"
    return "this version of edgeprune does not build TensorRT engines yet; use the ONNX files"
