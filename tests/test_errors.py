"""One tree of errors, as the module's own drawing has it."""

import inspect

import pytest

from edgeprune import errors
from edgeprune.errors import EdgePruneError, ModelError, TraceError, known

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_is_in_the_tree_and_in_the_drawing(error: type) -> None:
    assert issubclass(error, EdgePruneError)
    assert error.__name__ in (errors.__doc__ or "") and error.__doc__


def test_a_trace_error_is_a_model_error() -> None:
    assert issubclass(TraceError, ModelError)
    assert not issubclass(EdgePruneError, (ValueError, RuntimeError))  # a bug is never taken for one


def test_known_takes_names_that_have_the_typed_one_in_them_for_near_misses() -> None:
    assert "(did you mean 'raspberry-pi-5'?)" in known("device", "pi", ["raspberry-pi-5", "jetson-orin"])
    many = ["vgg16", "vgg11", *(f"resnet{depth}" for depth in range(20))]
    assert known("model", "VGG", many) == "unknown model 'VGG' (did you mean 'vgg11' or 'vgg16'?)"
    assert "did you mean" not in known("model", "resnet_of_mine", many[:2])
    assert "did you mean" not in known("model", "t", many)


def test_known_lists_the_names_and_the_near_miss() -> None:
    near = known("model", "resnet2O", ["vgg", "resnet20", "alexnet"])
    assert near.startswith("unknown model 'resnet2O'") and "did you mean 'resnet20'?" in near
    assert near.endswith("nown: alexnet, resnet20, vgg")
    assert "'resnet20'" in known("model", "resnet2O", ["resnet32", "resnet20", "resnet110"])
    far = known("method", "magic", ["learned"])
    assert far.startswith("unknown method 'magic'") and "did you mean" not in far
    assert far.endswith("; known: learned") and "\n" not in far
