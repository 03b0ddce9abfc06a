"""Build an engine of TensorRT for RTX ahead of time: for a named kind of GPU, on a machine that needs none."""

from importlib import import_module
from pathlib import Path
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.trt.build import Recipe, check_types, input_shapes, make_profile, parse
from edgeprune_target.trt.library import NoTensorRt, create

MODULES = (
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
)  # the package, and NVIDIA's own part of it, which is enough


def load_tensorrt_rtx() -> Any:
    """Import the module.

    Raises:
        NoTensorRt: it is not installed, or does not load.
    """
    for name in MODULES:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NoTensorRt(f"TensorRT for RTX does not load: {first}") from error
    raise NoTensorRt("TensorRT for RTX is not installed")


def capabilities(trt: Any) -> list[str]:
    """Return the names of the kinds of GPU that engines can be built for, as SM86."""
    return sorted(name for name in vars(trt.ComputeCapability) if name.startswith("SM"))


def build_ahead(trt: Any, logger: Any, onnx: str, recipe: Recipe, capability: str) -> bytes:
    """Build an engine for a kind of GPU; its precision is that of the ONNX file.

    Args:
        trt: the module ``tensorrt_rtx``.
        logger: from `make_logger`.
        onnx: path of the ONNX file.
        recipe: the settings; its precision is checked.
        capability: the kind of GPU, as SM86.

    Raises:
        TargetError: the file cannot be parsed or built, is of another precision, or there is no such kind of GPU.
    """
    if capability not in capabilities(trt):
        raise TargetError(
            f"no GPU of compute capability {capability!r} is known to TensorRT for RTX {trt.__version__}: choose "
            f"{', '.join(capabilities(trt))}"
        )
    builder = create(trt, logger, trt.Builder)
    network = typed_network(trt, builder, logger, onnx)
    check_types(trt, network, recipe.precision)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    config.add_optimization_profile(make_profile(builder, input_shapes(network, recipe)))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError(
            f"TensorRT for RTX {trt.__version__} cannot build {Path(onnx).name}: {logger.last_error()}"
        )
    return bytes(plan)


def typed_network(trt: Any, builder: Any, logger: Any, onnx: str) -> Any:
    """Parse an ONNX file into a network whose types are those of the file.

    Args:
        trt: the module ``tensorrt_rtx``.
        builder: of it.
        logger: from `make_logger`.
        onnx: path of the file.

    Raises:
        TargetError: it cannot be parsed.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parse(parser, onnx, trt.__version__)
    return network
