"""Load the installed tensorrt module, read its version, and collect its messages."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from edgeprune_target.errors import TargetError

NAMED_TENSORS = (8, 5)  # from here on tensors have names; before, numbers of bindings
STRONGLY_TYPED = 11  # from here on only the ONNX defines the precision (devices.md 5.2)
KEPT = 20  # latest messages


class NoTensorRt(TargetError):
    """TensorRT is missing or does not start; the message says why."""


def load_tensorrt() -> Any:
    """Import the module.

    Raises:
        NoTensorRt: it is not installed, or one of its libraries is missing.
    """
    try:
        return import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise NoTensorRt(f"TensorRT's Python module is not installed ({error})") from error
    except (ImportError, OSError, RuntimeError) as error:  # the last: NVIDIA's wheels without their libraries
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NoTensorRt(f"TensorRT's Python module does not load: {first}") from error


def version(trt: Any) -> tuple:
    """Return (major, minor, patch): "10.16.1.11" is (10, 16, 1)."""
    return parse_version(trt.__version__)


def parse_version(text: str) -> tuple:
    """Return the first three numbers of ``text``; missing ones are 0."""
    numbers = [int(word) for word in re.findall(r"\d+", text)[:3]]
    return tuple([*numbers, 0, 0, 0][:3])


def strongly_typed(tensorrt_version: tuple) -> bool:
    """Return whether this version takes the precision from the ONNX only."""
    return bool(tensorrt_version[0] >= STRONGLY_TYPED)


def create(trt: Any, logger: Any, kind: Any) -> Any:
    """Create a ``trt.Builder`` or ``trt.Runtime``.

    Args:
        trt: the module ``tensorrt``.
        logger: from `make_logger`.
        kind: ``trt.Builder`` or ``trt.Runtime``.

    Raises:
        NoTensorRt: TensorRT does not start; usually its libraries do not match the driver.
    """
    try:
        return kind(logger)
    except TypeError as error:  # pybind11's error for a factory that returns nothing
        raise NoTensorRt(
            f"TensorRT {trt.__version__} does not start: {logger.last_error()}: see whether the NVIDIA "
            "driver is new enough for it, with: nvidia-smi"
        ) from error


def make_logger(trt: Any) -> Any:
    """Make a logger that stores TensorRT's errors and warnings; ``logger.last_error()`` is one line.

    It must be kept alive as long as anything that was made with it.
    """

    class Logger(trt.ILogger):
        """The latest errors and warnings."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list = []
            self.warnings: list = []

        def log(self, severity: Any, message: str) -> None:
            """Store a message; called by TensorRT from any of its threads."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors = [*self.errors, message][-KEPT:]
            elif severity == trt.ILogger.WARNING:
                self.warnings = [*self.warnings, message][-KEPT:]

        def last_error(self) -> str:
            """Return the last error's first line, which rarely contains a remedy."""
            lines = [line.strip() for line in (self.errors or ["it said nothing"])[-1].splitlines()]
            return next((line for line in lines if line), "it said nothing")

    return Logger()
