"""The half of the stand-in that makes engines."""

import ctypes
import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from trt.fake_cuda import DEVICE

MAGIC = b"stand-in engine\n"
KINDS = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT8: "INT8",
    TensorProto.INT64: "INT64",
}
LAYER_TYPES = {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "Conv": "CONVOLUTION"}
ERROR, WARNING = 1, 2  # of ILogger


def major(trt: Any) -> int:
    return int(trt.__version__.split(".")[0])


class HostMemory:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __buffer__(self, flags: int) -> memoryview:  # Python 3.12 and later
        return memoryview(self._content)

    def __bytes__(self) -> bytes:
        return self._content

    @property
    def nbytes(self) -> int:
        return len(self._content)


class Builder:
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger) and logger._made_right
        self._logger = logger

    @property
    def platform_has_fast_fp16(self) -> bool:
        return True

    @property
    def platform_has_fast_int8(self) -> bool:
        return False

    def create_network(self, flags: int = 0) -> Any:
        return self._trt.INetworkDefinition(int(flags))

    def create_builder_config(self) -> Any:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        reason = self._why_not(network, config)
        if reason is not None:
            self._logger.log(ERROR, f"[builder.cpp::build::1] Error Code 4: {reason}")
            return None
        flags = {flag.name for flag in config._flags}
        table = b""
        if config._calibrator is not None and not network._scaled:
            table = _calibrated(config, network)
        header = {
            "version": self._trt.__version__,
            "flags": sorted(flags),
            "profile": config._profiles[0]._shapes if config._profiles else {},
            "detailed": config._verbosity is not None and config._verbosity.name == "DETAILED",
            "workspace": config._workspace,
        }
        model = emulated(network._model, flags, bool(table))
        if config._cache is not None:
            config._cache._content += b"+" + network._model.graph.name.encode()
        return self._trt.IHostMemory(MAGIC + json.dumps(header).encode() + b"\n" + model.SerializeToString())

    def _why_not(self, network: Any, config: Any) -> str | None:
        """What the real one says no to."""
        if network._model is None:
            return "Internal Error (Network must have at least one output)"
        flags = {flag.name for flag in config._flags}
        shapes = config._profiles[0]._shapes if config._profiles else {}
        for tensor in network._inputs:
            if min(tensor.shape) < 0 and tensor.name not in shapes:
                return (
                    "Internal Error (Network has dynamic inputs but no optimization profile has been defined)"
                )
        if network._typed and flags & {"FP16", "INT8"}:
            return "API Usage Error (precision flags on a strongly typed network)"
        if "INT8" in flags and not network._scaled and config._calibrator is None:
            return "Internal Error (Int8 precision has been set for a layer but no calibrator or scales)"
        return None


def _calibrated(config: Any, network: Any) -> bytes:
    """Ask the calibrator for images until it has no more; they have to be images, on the device."""
    calibrator = config._calibrator
    size, shape = calibrator.get_batch_size(), network._inputs[0].shape
    assert config._calibration_profile is not None and calibrator._made_right
    assert calibrator.read_calibration_cache() is None
    assert config._calibration_profile._shapes[network._inputs[0].name][1][0] == size
    highest = 0.0
    while True:
        addresses = calibrator.get_batch([network._inputs[0].name])
        if addresses is None:
            break
        count = size * int(np.prod(shape[1:]))
        assert DEVICE.holds(addresses[0], 4 * count)
        values = np.frombuffer((ctypes.c_float * count).from_address(addresses[0]), np.float32)
        highest = max(highest, float(np.abs(values).max()))
    assert highest > 0
    calibrator.write_calibration_cache(f"TRT-EntropyCalibration2\ninput: {highest}\n".encode())
    return f"{highest}".encode()


class Config:
    def __init__(self) -> None:
        vars(self).update(
            _flags=set(), _profiles=[], _calibrator=None, _calibration_profile=None, _cache=None
        )
        vars(self).update(_verbosity=None, _workspace=None)

    def set_flag(self, flag: Any) -> None:
        assert flag.owner == "BuilderFlag"
        self._flags.add(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile: Any) -> bool:
        self._calibration_profile = profile
        return True

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert pool.name == "WORKSPACE"
        self._workspace = size

    @property
    def max_workspace_size(self) -> int:
        return self._workspace or 16 << 20

    @max_workspace_size.setter
    def max_workspace_size(self, size: int) -> None:
        self._workspace = size

    @property
    def int8_calibrator(self) -> Any:
        return self._calibrator

    @int8_calibrator.setter
    def int8_calibrator(self, calibrator: Any) -> None:
        assert isinstance(calibrator, self._trt.IInt8EntropyCalibrator2)
        self._calibrator = calibrator

    @property
    def profiling_verbosity(self) -> Any:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, verbosity: Any) -> None:
        self._verbosity = verbosity

    def create_timing_cache(self, content: bytes) -> Any:
        return self._trt.ITimingCache(bytes(content))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        own = f"cache of {self._trt.__version__}".encode()
        if cache._content and not cache._content.startswith(own) and not ignore_mismatch:
            return False
        cache._content = cache._content or own
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> Any:
        return self._trt.IHostMemory(self._content)


class Profile:
    def __init__(self) -> None:
        vars(self)["_shapes"] = {}

    def set_shape(self, name: str, smallest: Any, usual: Any, largest: Any) -> None:
        shapes = [tuple(smallest), tuple(usual), tuple(largest)]
        assert all(len(shape) == len(shapes[0]) and min(shape) > 0 for shape in shapes)
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise ValueError("set_shape: min <= opt <= max is violated")
        self._shapes[name] = shapes


class Tensor:
    def __init__(self, name: str, shape: Any, kind: Any) -> None:
        vars(self).update(_name=name, _shape=shape, _kind=kind)

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> Any:
        return self._shape

    @property
    def dtype(self) -> Any:
        return self._kind


class Layer:
    def __init__(self, kind: Any, outputs: list[Any]) -> None:
        vars(self).update(_kind=kind, _outputs=outputs)

    @property
    def type(self) -> Any:
        return self._kind

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class Network:
    def __init__(self, flags: int = 0) -> None:
        typed = major(self._trt) >= 11 or (major(self._trt) == 10 and bool(flags & 2))
        explicit = major(self._trt) >= 10 or bool(flags & 1)
        vars(self).update(
            _typed=typed, _explicit=explicit, _model=None, _inputs=[], _layers=[], _scaled=False
        )

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> Any:
        return self._layers[index]

    def _read(self, model: onnx.ModelProto) -> None:
        trt, self._model = self._trt, model
        kinds = {
            item.name: item.type.tensor_type.elem_type
            for item in [*model.graph.output, *model.graph.value_info]
        }
        self._inputs = [
            trt.ITensor(item.name, shape_of(item), data_type(trt, item.type.tensor_type.elem_type))
            for item in model.graph.input
        ]
        for node in model.graph.node:
            outputs = [trt.ITensor(name, (), data_type(trt, kinds.get(name, 1))) for name in node.output]
            kind = getattr(trt.LayerType, LAYER_TYPES.get(node.op_type, "ELEMENTWISE"))
            self._layers.append(trt.ILayer(kind, outputs))
        self._scaled = any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def shape_of(value: Any) -> tuple[int, ...]:
    """-1 for a free size, as TensorRT has it."""
    return tuple(size.dim_value or -1 for size in value.type.tensor_type.shape.dim)


def data_type(trt: Any, kind: int) -> Any:
    name = KINDS.get(kind, "FLOAT")
    return getattr(trt.DataType, name if name != "INT64" or major(trt) >= 10 else "INT32")


class Problem:
    def __init__(self, words: str) -> None:
        vars(self)["_words"] = words

    def desc(self) -> str:
        return self._words


class Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        vars(self).update(_network=network, _logger=logger, _errors=[])

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def parse_from_file(self, path: str) -> bool:
        if not self._network._explicit:
            return self._failed(
                "This version of the ONNX parser only supports networks with an explicit batch"
            )
        try:
            model = shape_inference.infer_shapes(onnx.load(path))
        except Exception:
            return self._failed("Failed to parse ONNX model: it is not protobuf")
        for node in model.graph.node:
            if node.op_type == "Unheard":
                return self._failed("No importer registered for op: Unheard\nin node 3")
        self._network._read(model)
        return True

    def _failed(self, words: str) -> bool:
        self._errors.append(self._trt.ParserError(words))
        self._logger.log(ERROR, words)
        return False


def emulated(model: onnx.ModelProto, flags: set[str], calibrated: bool) -> onnx.ModelProto:
    """Weights as the precision has them, so that an engine differs from the ONNX file as it would."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for weight in result.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight).copy()
        if calibrated and values.ndim >= 2:
            scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / 127
            values = np.round(values / np.maximum(scale, 1e-12)) * scale
        elif "FP16" in flags:
            values = values.astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight.name))
    return result
