"""From an ONNX file to an engine. Two ways: flags up to TensorRT 10; from 11 on the ONNX's own types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from edgeprune_target.errors import TargetError
from edgeprune_target.trt.calibrate import BATCH, make_calibrator
from edgeprune_target.trt.library import started, strongly_typed, version


class Plan(NamedTuple):
    """A serialised engine and how it came about.

    content           the engine
    precision_from    "flags" or "onnx"
    calibration_images how many real images int8 was calibrated on; 0 where none were needed
    shapes            {input: (smallest, usual, largest shape)}
    warnings          ``{"code", "message"}``
    """

    content: bytes
    precision_from: str
    calibration_images: int
    shapes: dict
    warnings: list


class Recipe(NamedTuple):
    """What is to be built.

    precision       fp32, fp16 or int8
    batches         (fewest, usual, most) images per inference; it is fastest at the usual
    shapes          {input: whole shape} for inputs with free sizes beside the batch; "" is the first input
    workspace_bytes that a kernel may use, at most; None is TensorRT's own choice
    timing_cache    a file with the times of kernels tried before; read and written, if given
    images          real ones, N x C x H x W, for int8 up to TensorRT 10 where the ONNX has no Q/DQ nodes
    gpu             to put them on; see ``edgeprune_target.cuda``
    """

    precision: str
    batches: tuple = (1, 1, 1)
    shapes: dict = {}
    workspace_bytes: int | None = None
    timing_cache: str | None = None
    images: Any = None
    gpu: Any = None


def build(trt: Any, logger: Any, onnx: str, recipe: Recipe) -> Plan:
    """Build an engine for ``onnx``; takes seconds to minutes, on the GPU that it will run on.

    Raises:
        TargetError: the file cannot be parsed, does not fit ``recipe``, or cannot be built.
    """
    builder = started(trt, logger, trt.Builder)
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
    return Plan(
        bytes(plan),
        "onnx" if strongly_typed(version(trt)) else "flags",
        calibrator.shown if calibrator else 0,
        shapes,
        slow_precision(builder, recipe.precision),
    )


def network_flags(trt: Any) -> int:
    """Of ``create_network``: the batch in the shapes, which TensorRT 8 has to be told."""
    if version(trt)[0] >= 10:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def parse(parser: Any, onnx: str, found: str) -> None:
    """Read ``onnx`` into the parser's network.

    By path, not by bytes: weights may lie in a second file beside it.
    """
    if not Path(onnx).is_file():
        raise TargetError(f"no such model file: {onnx}")
    if parser.parse_from_file(onnx):
        return
    problem = parser.get_error(0) if parser.num_errors else None
    said = problem.desc().strip().splitlines()[0] if problem is not None else "it says no more"
    raise TargetError(
        f"TensorRT {found} cannot read {Path(onnx).name}: {said}: export the model again with a lower "
        "--opset, or install a newer TensorRT"
    )


def input_shapes(network: Any, recipe: Recipe) -> dict:
    """{input: (smallest, usual, largest shape)}; all three are alike where nothing is free.

    Raises:
        TargetError: a size beside the batch is free and nobody gave it.
    """
    found = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        given = recipe.shapes.get(tensor.name, recipe.shapes.get("") if index == 0 else None)
        if given and min(shape) < 0:
            shape = (shape[0], *given[1:])
        if any(size < 0 for size in shape[1:]):
            raise TargetError(
                f"input {tensor.name!r} has free sizes {shape}: give its shape, as in "
                f"--shape {tensor.name}=1x3x32x32"
            )
        free = bool(shape) and shape[0] < 0
        found[tensor.name] = tuple((batch, *shape[1:]) if free else shape for batch in recipe.batches)
    return found


def make_profile(builder: Any, shapes: dict) -> Any:
    """The sizes that the engine is for."""
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    return profile


def set_types(trt: Any, network: Any, config: Any, precision: str) -> None:
    """Ask for the precision; from TensorRT 11 on, check that the ONNX has it."""
    if strongly_typed(version(trt)):
        check_types(trt, network, precision)
        return
    if precision in ("fp16", "int8"):  # what has no int8 kernel had better run in fp16
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def calibrate(trt: Any, builder: Any, network: Any, config: Any, recipe: Recipe) -> Any:
    """Let TensorRT find int8 scales on real images; the calibrator, or None where none is needed.

    Keep it alive until the engine is built.
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
    """Whether the network says by itself how it is quantised (Q/DQ nodes)."""
    kinds = (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
    return any(network.get_layer(index).type in kinds for index in range(network.num_layers))


def check_types(trt: Any, network: Any, precision: str) -> None:
    """From TensorRT 11 on: refuse an ONNX whose own types are not those asked for."""
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
    """Whether any layer of the network gives fp16."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for number in range(layer.num_outputs):
            tensor = layer.get_output(number)
            if tensor.dtype == trt.DataType.HALF:
                return True
    return False


def set_workspace(trt: Any, config: Any, size: int) -> None:
    """Bytes that a kernel may use; before TensorRT 8.4 by another name."""
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def set_verbosity(trt: Any, config: Any) -> None:
    """So that the engine can name formats and ONNX nodes of its layers; it costs no time when it runs."""
    if hasattr(trt.ProfilingVerbosity, "DETAILED"):  # 8.0 called it VERBOSE
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def read_timing_cache(config: Any, path: str | None) -> None:
    """Start from the kernels' times of earlier builds; a file of another version or GPU is left out."""
    if path is None:
        return
    known = Path(path).read_bytes() if Path(path).is_file() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)


def write_timing_cache(config: Any, path: str | None) -> None:
    """Keep the kernels' times for the next build."""
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
    """A warning where the GPU has no fast kernels for ``precision``, up to TensorRT 10, which can tell."""
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
