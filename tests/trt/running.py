"""The half of the stand-in that runs engines."""

import ctypes
import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from trt.building import ERROR, MAGIC, data_type, major, shape_of
from trt.fake_cuda import DEVICE
from trt.layering import engine_layers, information

NUMPY = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16, TensorProto.INT64: np.int64}


class Runtime:
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger) and logger._made_right
        vars(self)["_logger"] = logger

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        if bytes(content[: len(MAGIC)]) != MAGIC:
            self._logger.log(
                ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag mismatch)"
            )
            return None
        head, model = bytes(content[len(MAGIC) :]).split(b"\n", 1)
        header = json.loads(head)
        if header["version"] != self._trt.__version__:
            self._logger.log(
                ERROR,
                "The engine plan file is not compatible with this version of TensorRT, expecting library "
                f"version {self._trt.__version__} got {header['version']}, please rebuild.",
            )
            return None
        return self._trt.ICudaEngine(header, onnx.load_from_string(model), self._logger)


class Engine:
    def __init__(self, header: dict, model: onnx.ModelProto, logger: Any) -> None:
        values = {item.name: item for item in [*model.graph.input, *model.graph.output]}
        vars(self).update(_header=header, _model=model, _logger=logger, _values=values, _order=list(values))
        vars(self)["_input_names"] = [item.name for item in model.graph.input]

    @property
    def num_io_tensors(self) -> int:
        return len(self._order)

    def get_tensor_name(self, index: int) -> str:
        return self._order[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._trt.TensorIOMode
        return modes.INPUT if name in self._input_names else modes.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return shape_of(self._values[name])

    def get_tensor_dtype(self, name: str) -> Any:
        return data_type(self._trt, self._values[name].type.tensor_type.elem_type)

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert profile == 0 and name in self._input_names
        fixed = [self.get_tensor_shape(name)] * 3
        return [tuple(shape) for shape in self._header["profile"].get(name, fixed)]

    @property
    def num_bindings(self) -> int:
        return len(self._order)

    def get_binding_name(self, index: int) -> str:
        return self._order[index]

    def binding_is_input(self, index: int) -> bool:
        return self._order[index] in self._input_names

    def get_binding_dtype(self, index: int) -> Any:
        return data_type(self._trt, self._values[self._order[index]].type.tensor_type.elem_type)

    def get_profile_shape(self, profile: int, index: int) -> Any:
        assert profile == 0
        return [tuple(shape) for shape in self._header["profile"][self._order[index]]]

    @property
    def device_memory_size(self) -> int:
        return 12_345

    @property
    def device_memory_size_v2(self) -> int:
        return 12_345

    def get_engine_stat(self, which: Any) -> int:
        assert which.name == "TOTAL_WEIGHTS_SIZE"
        return sum(len(weight.raw_data) for weight in self._model.graph.initializer)

    def create_execution_context(self) -> Any:
        return self._trt.IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        return self._trt.EngineInspector(self)


class Inspector:
    def __init__(self, engine: Any) -> None:
        vars(self)["_engine"] = engine

    def get_engine_information(self, form: Any) -> str:
        assert form.name == "JSON"
        header = self._engine._header
        return json.dumps(information(self._engine._model, header, major(self._trt)))


class Context:
    def __init__(self, engine: Any) -> None:
        import onnxruntime

        vars(self).update(_engine=engine, _shapes={}, _addresses={}, _profiler=None, _emits=True, _pending=[])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # An engine sums in 32 bits: on x86 without VNNI the fused integer kernels saturate at 16.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        vars(self)["_session"] = onnxruntime.InferenceSession(
            engine._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def set_input_shape(self, name: str, shape: Any) -> bool:
        smallest, _, largest = self._limits(name)
        if len(shape) != len(smallest) or not all(
            a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True)
        ):
            self._engine._logger.log(
                ERROR, f"IExecutionContext::setInputShape: Error Code 3: {name} out of profile"
            )
            return False
        self._shapes[name] = tuple(shape)
        return True

    def set_binding_shape(self, index: int, shape: Any) -> bool:
        return Context.set_input_shape(self, self._engine._order[index], shape)

    @property
    def all_binding_shapes_specified(self) -> bool:
        return set(self._shapes) >= set(self._engine._input_names)

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._input_names if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Any:
        return self._shapes[name] if name in self._shapes else self._out_shapes()[name]

    def get_binding_shape(self, index: int) -> Any:
        name = self._engine._order[index]
        return self._shapes[name] if name in self._shapes else self._out_shapes()[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert type(address) is int and name in self._engine._values
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert type(stream_handle) is int and stream_handle
        if set(self._addresses) != set(self._engine._order):
            self._engine._logger.log(
                ERROR, "IExecutionContext::enqueueV3: Error Code 3: an address is not set"
            )
            return False
        return self._enqueue(stream_handle)

    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool:
        assert all(type(address) is int for address in bindings)
        self._addresses.update(zip(self._engine._order, bindings, strict=True))
        return self._enqueue(stream_handle)

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, profiler: Any) -> None:
        assert isinstance(profiler, self._trt.IProfiler) and profiler._made_right
        self._profiler = profiler

    @property
    def enqueue_emits_profile(self) -> bool:
        return self._emits

    @enqueue_emits_profile.setter
    def enqueue_emits_profile(self, value: bool) -> None:
        self._emits = value

    def report_to_profiler(self) -> bool:
        for name, ms in self._pending:
            self._profiler.report_layer_time(name, ms)
        self._pending = []
        return True

    def _limits(self, name: str) -> Any:
        fixed = [shape_of(self._engine._values[name])] * 3
        return self._engine._header["profile"].get(name, fixed)

    def _kind(self, name: str) -> Any:
        return NUMPY[self._engine._values[name].type.tensor_type.elem_type]

    def _run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [item.name for item in self._engine._model.graph.output]
        return dict(zip(names, self._session.run(names, feed), strict=True))

    def _out_shapes(self) -> dict[str, tuple[int, ...]]:
        zeros = {name: np.zeros(shape, self._kind(name)) for name, shape in self._shapes.items()}
        return {name: value.shape for name, value in self._run(zeros).items()}

    def _enqueue(self, stream: int) -> bool:
        if self._profiler is not None and stream in DEVICE.capturing:
            self._engine._logger.log(
                ERROR, "IExecutionContext::enqueue: profiling is not possible while capturing"
            )
            return False
        DEVICE.submit(stream, self._compute)
        return True

    def _compute(self) -> None:
        feed = {}
        for name, shape in self._shapes.items():
            feed[name] = self._view(name, shape).copy()
        for name, value in self._run(feed).items():
            self._view(name, value.shape)[...] = value
        layers = engine_layers(self._engine._model, self._engine._header)
        DEVICE.time_ms += sum(layer.ms for layer in layers)
        if self._profiler is not None:
            self._pending += [(layer.name, layer.ms) for layer in layers]
            if self._emits:
                Context.report_to_profiler(self)

    def _view(self, name: str, shape: Any) -> np.ndarray:
        kind = np.dtype(self._kind(name))
        size = int(np.prod(shape)) * kind.itemsize
        assert DEVICE.holds(self._addresses[name], size), f"{name} is not on the device"
        buffer = (ctypes.c_ubyte * size).from_address(self._addresses[name])
        return np.frombuffer(buffer, kind).reshape(shape)
