"""The module tensorrt, and what it says."""

import sys
from types import ModuleType
from typing import Any

import pytest
from edgeprune_target.trt import library
from trt.names import VERSIONS


def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(library.NoTensorRt, match="TensorRT's Python module is not installed"):
        library.load_tensorrt()


@pytest.mark.parametrize(
    "error", [ImportError("libnvinfer.so.10: cannot open"), RuntimeError("no libs\nmore")]
)
def test_a_module_without_its_libraries(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr(library, "import_module", broken)
    with pytest.raises(library.NoTensorRt, match="does not load: (libnvinfer.so.10: cannot open|no libs)$"):
        library.load_tensorrt()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_complains_of_is_kept(tensorrt: Any, version: str) -> None:
    trt = tensorrt(version)
    logger = library.make_logger(trt)
    assert logger.last_error() == "it said nothing"
    for number in range(30):
        logger.log(trt.ILogger.ERROR, f"\n  error {number}\nmore")
    logger.log(trt.ILogger.WARNING, "a warning")
    logger.log(trt.ILogger.INFO, "chatter")
    assert logger.last_error() == "error 29"
    assert (len(logger.errors), logger.warnings) == (20, ["a warning"])


def test_a_library_that_does_not_start(tensorrt: Any) -> None:
    trt = tensorrt("10.3.0")
    logger = library.make_logger(trt)
    logger.log(trt.ILogger.ERROR, "CUDA initialization failure with error: 35")

    def factory(argument: Any) -> Any:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(
        library.NoTensorRt, match="TensorRT 10.3.0 does not start: CUDA initialization failure"
    ):
        library.create(trt, logger, factory)


@pytest.mark.parametrize(("seen", "typed"), [((8, 2, 1), False), ((10, 16, 1), False), ((11, 0, 0), True)])
def test_where_the_precision_comes_from(seen: tuple, typed: bool) -> None:
    assert library.strongly_typed(seen) is typed
