"""The tensorrt module that is installed, its version, and what it says."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from edgeprune_target.errors import TargetError

NAMED_TENSORS = (8, 5)  # from here on tensors go by name; before, by the number of their binding
STRONGLY_TYPED = 11  # from here on the ONNX alone says the precision (devices.md 5.2)
KEPT = 20  # of its messages


class NoTensorRt(TargetError):
    """TensorRT is not here, or does not start; the message says why."""


def load() -> Any:
    """The module.

    Raises:
        NoTensorRt: it is not installed, or one of its libraries is missing.
    """
    try:
        return import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise NoTensorRt(f"TensorRT's Python module is not installed ({error})") from error
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: NVIDIA's wheels, without their libraries
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NoTensorRt(f"TensorRT's Python module does not load: {first}") from error


def version(trt: Any) -> tuple:
    """(major, minor, patch): "10.16.1.11" is (10, 16, 1)."""
    return parse_version(trt.__version__)


def parse_version(text: str) -> tuple:
    """The first three numbers of ``text``; those that are missing are 0."""
    numbers = [int(word) for word in re.findall(r"\d+", text)[:3]]
    return tuple([*numbers, 0, 0, 0][:3])


def strongly_typed(found: tuple) -> bool:
    """Whether this version takes the precision from the ONNX alone."""
    return bool(found[0] >= STRONGLY_TYPED)


def started(trt: Any, logger: Any, kind: Any) -> Any:
    """A ``trt.Builder`` or ``trt.Runtime``.

    Raises:
        NoTensorRt: TensorRT does not start; most often its libraries and the driver do not fit together.
    """
    try:
        return kind(logger)
    except TypeError as error:  # pybind11's way of saying that the factory gave nothing
        raise NoTensorRt(
            f"TensorRT {trt.__version__} does not start: {logger.last_error()}: see whether the NVIDIA "
            "driver is new enough for it, with: nvidia-smi"
        ) from error


def make_logger(trt: Any) -> Any:
    """A logger that keeps what TensorRT complains of; ``logger.last_error()`` is one line.

    Keep it alive as long as anything that was made with it.
    """

    class Logger(trt.ILogger):
        """Errors and warnings, the latest of them."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list = []
            self.warnings: list = []

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any of its threads."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors = [*self.errors, message][-KEPT:]
            elif severity == trt.ILogger.WARNING:
                self.warnings = [*self.warnings, message][-KEPT:]

        def last_error(self) -> str:
            """The last error's first line; what to do about it is rarely in it."""
            words = [line.strip() for line in (self.errors or ["it said nothing"])[-1].splitlines()]
            return next((line for line in words if line), "it said nothing")

    return Logger()
