"""Build an engine from an ONNX file: by precision flags up to TensorRT 10, from 11 on by the ONNX's own types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from edgeprune_target.errors import TargetError
from edgeprune_target.trt.calibrate import BATCH, make_calibrator
from edgeprune_target.trt.library import create, strongly_typed, version


class BuiltEngine(NamedTuple):
    """A serialised engine and how it was built.

    content           the engine
    precision_from    "flags" or "onnx"
    calibration_images number of real images for the calibration of int8; 0 if none were needed
    shapes            {input: (smallest, usual, largest shape)}
    warnings          ``{"code", "message"}``
    """

    content: bytes
    precision_from: str
    calibration_images: int
    shapes: dict
    warnings: list


class Recipe(NamedTuple):
    """The settings of a build.

    precision       fp32, fp16 or int8
    batches         (fewest, usual, most) images per inference; the engine is optimised for the usual
    shapes          {input: complete shape} for inputs with dynamic sizes besides the batch; "" is the first input
    workspace_bytes upper limit of a kernel's scratch memory; None is TensorRT's default
    timing_cache    a file of kernel timings from earlier builds; read and written, if given
    images          real images, N x C x H x W, for int8 up to TensorRT 10 if the ONNX has no Q/DQ nodes
    gpu             for the images; see ``edgeprune_target.cuda``
    """

    precision: str
    batches: tuple = (1, 1, 1)
    shapes: dict = {}
    workspace_bytes: int | None = None
    timing_cache: str | None = None
    images: Any = None
    gpu: Any = None


def build_engine(trt: Any, logger: Any, onnx: str, recipe: Recipe) -> BuiltEngine:
    """Build an engine from ``onnx``, on the GPU that it will run on; takes seconds to minutes.

    Args:
        trt: the module ``tensorrt``.
        logger: from `make_logger`.
        onnx: path of the ONNX file.
        recipe: the settings.

    Raises:
        TargetError: the file cannot be parsed, does not fit ``recipe``, or cannot be built.
    """
    builder = create(trt, logger, trt.Builder)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    parse(parser, onnx, trt.__version__)
    config = builder.create_builder_config()
    shapes = input_shapes(network, recipe)
    profile = make_profile(builder, shapes)
    config.add_optimization_profile(profile)
    set_types(trt, network, config, recipe.precision)
    calibrator = calibrate(trt, builder, network, config, recipe)
    if recipe.workspace_bytes:
        set_workspace(trt, config, recipe.workspace_bytes)
    set_verbosity(trt, config)
    read_timing_cache(config, recipe.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError(
            f"TensorRT {trt.__version__} cannot build {Path(onnx).name} in {recipe.precision}: "
            f"{logger.last_error()}"
        )
    write_timing_cache(config, recipe.timing_cache)
    return BuiltEngine(
        bytes(plan),
        "onnx" if strongly_typed(version(trt)) else "flags",
        calibrator.shown if calibrator else 0,
        shapes,
        slow_precision(builder, recipe.precision),
    )


def network_flags(trt: Any) -> int:
    """Return the flags of ``create_network``: TensorRT 8 needs one to have the batch in the shapes."""
    if version(trt)[0] >= 10:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def parse(parser: Any, onnx: str, tensorrt_version: str) -> None:
    """Parse ``onnx`` into the parser's network, by path instead of bytes: weights may be in a second file.

    Args:
        parser: of TensorRT.
        onnx: path of the ONNX file.
        tensorrt_version: for the message.

    Raises:
        TargetError: the file is missing, or TensorRT cannot parse it.
    """
    if not Path(onnx).is_file():
        raise TargetError(f"no such model file: {onnx}")
    if parser.parse_from_file(onnx):
        return
    problem = parser.get_error(0) if parser.num_errors else None
    reason = problem.desc().strip().splitlines()[0] if problem is not None else "it says no more"
    raise TargetError(
        f"TensorRT {tensorrt_version} cannot read {Path(onnx).name}: {reason}: export the model again with a "
        "lower --opset, or install a newer TensorRT"
    )


def input_shapes(network: Any, recipe: Recipe) -> dict:
    """Return {input: (smallest, usual, largest shape)}; all three are equal for an input without dynamic sizes.

    Raises:
        TargetError: a size besides the batch is dynamic, and ``recipe`` does not give it.
    """
    ranges = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        fixed_shape = recipe.shapes.get(tensor.name, recipe.shapes.get("") if index == 0 else None)
        if fixed_shape and min(shape) < 0:
            shape = (shape[0], *fixed_shape[1:])
        if any(size < 0 for size in shape[1:]):
            raise TargetError(
                f"input {tensor.name!r} has free sizes {shape}: give its shape, as in "
                f"--shape {tensor.name}=1x3x32x32"
            )
        dynamic_batch = bool(shape) and shape[0] < 0
        ranges[tensor.name] = tuple(
            (batch, *shape[1:]) if dynamic_batch else shape for batch in recipe.batches
        )
    return ranges


def make_profile(builder: Any, shapes: dict) -> Any:
    """Make an optimisation profile of the input shapes."""
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    return profile


def set_types(trt: Any, network: Any, config: Any, precision: str) -> None:
    """Set the precision; from TensorRT 11 on, check that the ONNX has it.

    Args:
        trt: the module ``tensorrt``.
        network: parsed.
        config: of the builder.
        precision: fp32, fp16 or int8.

    Raises:
        TargetError: from TensorRT 11 on, the ONNX has another precision.
    """
    if strongly_typed(version(trt)):
        check_types(trt, network, precision)
        return
    if precision in ("fp16", "int8"):  # fp16 for operators without an int8 kernel
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def calibrate(trt: Any, builder: Any, network: Any, config: Any, recipe: Recipe) -> Any:
    """Set up the calibration of int8 scales on real images, if it is needed.

    Args:
        trt: the module ``tensorrt``.
        builder: of TensorRT.
        network: parsed.
        config: of the builder.
        recipe: the settings.

    Returns:
        The calibrator, which must be kept alive until the engine is built; None if none is needed.

    Raises:
        TargetError: images are needed and missing, or the model has several inputs.
    """
    if recipe.precision != "int8" or strongly_typed(version(trt)) or has_scales(trt, network):
        return None
    if recipe.images is None:
        raise TargetError("int8 needs real images for its scales, or an ONNX with Q/DQ nodes: give either")
    if network.num_inputs != 1:
        raise TargetError(f"int8 is calibrated on images, and this model has {network.num_inputs} inputs")
    tensor = network.get_input(0)
    shape = tuple(tensor.shape)
    calibrator = make_calibrator(trt, recipe.gpu, recipe.images, shape[0] if shape[0] > 0 else BATCH)
    config.int8_calibrator = calibrator
    size = (calibrator.batch, *recipe.images.shape[1:])
    profile = make_profile(builder, {tensor.name: (size, size, size)})
    config.set_calibration_profile(profile)
    return calibrator


def has_scales(trt: Any, network: Any) -> bool:
    """Return whether the network itself defines its quantisation (Q/DQ nodes)."""
    kinds = (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
    return any(network.get_layer(index).type in kinds for index in range(network.num_layers))


def check_types(trt: Any, network: Any, precision: str) -> None:
    """Refuse an ONNX of another precision, which TensorRT takes from the file from 11 on.

    Args:
        trt: the module ``tensorrt``.
        network: parsed.
        precision: fp32, fp16 or int8.

    Raises:
        TargetError: the file has another precision.
    """
    scaled = has_scales(trt, network)
    if precision == "int8" and not scaled:
        what = "this file has no Q/DQ nodes"
    elif precision == "fp16" and not has_half(trt, network):
        what = "this file computes in fp32"
    elif precision == "fp32" and (scaled or has_half(trt, network)):
        what = "this file does not compute in fp32"
    else:
        return
    raise TargetError(
        f"TensorRT {trt.__version__} takes the precision from the ONNX file, and {what}: use the one that "
        f"'edgeprune export RUN --trt --precision {precision}' writes"
    )


def has_half(trt: Any, network: Any) -> bool:
    """Return whether any layer of the network has an fp16 output."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for number in range(layer.num_outputs):
            tensor = layer.get_output(number)
            if tensor.dtype == trt.DataType.HALF:
                return True
    return False


def set_workspace(trt: Any, config: Any, size: int) -> None:
    """Set the bytes that a kernel may use; before TensorRT 8.4 the attribute has another name.

    Args:
        trt: the module ``tensorrt``.
        config: of the builder.
        size: in bytes.
    """
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def set_verbosity(trt: Any, config: Any) -> None:
    """Let the engine store formats and ONNX nodes of its layers, which costs no time when it runs."""
    if hasattr(trt.ProfilingVerbosity, "DETAILED"):  # 8.0 called it VERBOSE
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def read_timing_cache(config: Any, path: str | None) -> None:
    """Load the kernel timings of earlier builds; a file of another version or GPU is ignored."""
    if path is None:
        return
    known = Path(path).read_bytes() if Path(path).is_file() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)


def write_timing_cache(config: Any, path: str | None) -> None:
    """Save the kernel timings for the next build."""
    if path is None:
        return
    cache = config.get_timing_cache()
    aside = Path(f"{path}.part")
    try:
        aside.write_bytes(bytes(cache.serialize()))
        aside.replace(path)
    except OSError as error:
        raise TargetError(f"cannot write the timing cache {path}: {error.strerror}") from error


def slow_precision(builder: Any, precision: str) -> list:
    """Return a warning if the GPU has no fast kernels for ``precision``; known only up to TensorRT 10."""
    fast = True
    if precision == "fp16" and hasattr(builder, "platform_has_fast_fp16"):
        fast = builder.platform_has_fast_fp16
    if precision == "int8" and hasattr(builder, "platform_has_fast_int8"):
        fast = builder.platform_has_fast_int8
    if fast:
        return []
    return [
        {
            "code": "slow_precision",
            "message": f"this GPU has no fast {precision}: TensorRT will mostly compute in a wider type",
        }
    ]
