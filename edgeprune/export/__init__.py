"""Models for the device: ONNX and TensorRT, checked on real images."""

from typing import Any

__all__ = ["TrtOptions", "export_run"]


def __getattr__(name: str) -> Any:
    """Import `export_run` when it is asked for, and torch with it."""
    if name == "export_run":
        from edgeprune.export.run import export_run

        return export_run
    if name == "TrtOptions":
        from edgeprune.export.tensorrt import TrtOptions

        return TrtOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
