"""Models for the device: ONNX, checked against torch on real images."""

from typing import Any

__all__ = ["export_run"]


def __getattr__(name: str) -> Any:
    """Import `export_run` when it is asked for, and torch with it."""
    if name == "export_run":
        from edgeprune.export.run import export_run

        return export_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
