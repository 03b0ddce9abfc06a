"""The inputs and outputs of an engine: by name from TensorRT 8.5 on, by the number of their binding before.

Both classes have the same methods, and {name: (shape, numpy type)} as ``inputs`` and ``outputs`` after ``fit`` has
fixed the dynamic sizes.
"""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError

PROFILE = 0  # the one that ``build`` makes


def engine_tensors(trt: Any, engine: Any, context: Any) -> Any:
    """Return the object that accesses tensors in this version.

    Args:
        trt: the module ``tensorrt``.
        engine: loaded.
        context: of the engine.
    """
    kind = NamedTensors if hasattr(engine, "num_io_tensors") else Bindings
    return kind(trt, engine, context)


class NamedTensors:
    """TensorRT 8.5 and later."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        """Read the names of the engine's tensors."""
        self.trt, self.engine, self.context = trt, engine, context
        self.inputs: dict = {}
        self.outputs: dict = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.input_names = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.output_names = [name for name in names if name not in self.input_names]

    def limits(self, name: str) -> tuple:
        """Return the (smallest, usual, largest) shape of an input."""
        return tuple(tuple(shape) for shape in self.engine.get_tensor_profile_shape(name, PROFILE))

    def fit(self, shapes: dict) -> None:
        """Fix the inputs' shapes, from which those of the outputs follow.

        Raises:
            TargetError: the engine was not built for them.
        """
        for name in self.input_names:
            if not self.context.set_input_shape(name, shapes[name]):
                raise unfit(name, shapes[name], self.limits(name))
        missing = self.context.infer_shapes()
        if missing:
            raise TargetError(f"the engine needs values for {', '.join(missing)}, which are not images")
        self.inputs = {name: self._spec(name) for name in self.input_names}
        self.outputs = {name: self._spec(name) for name in self.output_names}

    def bind(self, addresses: dict) -> None:
        """Set the device address of every tensor."""
        for name, address in addresses.items():
            self.context.set_tensor_address(name, address)

    def enqueue(self, stream: int) -> bool:
        """Enqueue one inference on the stream, and return whether TensorRT accepted it."""
        return bool(self.context.execute_async_v3(stream))

    def _spec(self, name: str) -> tuple:
        shape = tuple(self.context.get_tensor_shape(name))
        return shape, numpy_type(self.trt, self.engine.get_tensor_dtype(name), name)


class Bindings:
    """TensorRT 8.0 to 8.4."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        """Read the names of the engine's tensors."""
        self.trt, self.engine, self.context = trt, engine, context
        self.inputs: dict = {}
        self.outputs: dict = {}
        self.number = {engine.get_binding_name(index): index for index in range(engine.num_bindings)}
        self.input_names = [name for name, index in self.number.items() if engine.binding_is_input(index)]
        self.output_names = [name for name in self.number if name not in self.input_names]
        self._addresses: list = [0] * engine.num_bindings

    def limits(self, name: str) -> tuple:
        """Return the (smallest, usual, largest) shape of an input."""
        return tuple(tuple(shape) for shape in self.engine.get_profile_shape(PROFILE, self.number[name]))

    def fit(self, shapes: dict) -> None:
        """Fix the inputs' shapes, from which those of the outputs follow.

        Raises:
            TargetError: the engine was not built for them.
        """
        for name in self.input_names:
            if not self.context.set_binding_shape(self.number[name], shapes[name]):
                raise unfit(name, shapes[name], self.limits(name))
        if not self.context.all_binding_shapes_specified:
            raise TargetError("the engine needs values for inputs that are not images")
        self.inputs = {name: self._spec(name) for name in self.input_names}
        self.outputs = {name: self._spec(name) for name in self.output_names}

    def bind(self, addresses: dict) -> None:
        """Set the device address of every tensor."""
        for name, address in addresses.items():
            self._addresses[self.number[name]] = address

    def enqueue(self, stream: int) -> bool:
        """Enqueue one inference on the stream, and return whether TensorRT accepted it."""
        return bool(self.context.execute_async_v2(self._addresses, stream))

    def _spec(self, name: str) -> tuple:
        index = self.number[name]
        shape = tuple(self.context.get_binding_shape(index))
        return shape, numpy_type(self.trt, self.engine.get_binding_dtype(index), name)


def numpy_type(trt: Any, kind: Any, name: str) -> str:
    """Return numpy's name of a TensorRT type.

    Args:
        trt: the module ``tensorrt``.
        kind: of ``trt.DataType``.
        name: of the tensor, for the message.

    Raises:
        TargetError: numpy has no such type (bf16, fp8, int4).
    """
    import numpy

    try:
        return numpy.dtype(trt.nptype(kind)).name
    except TypeError as error:
        raise TargetError(
            f"tensor {name!r} has the type {kind}, which cannot be fed: export float32"
        ) from error


def unfit(name: str, shape: tuple, limits: tuple) -> TargetError:
    """Return the error for an engine that was built for other sizes.

    Args:
        name: of the input.
        shape: of the input.
        limits: (smallest, usual, largest) shape of the engine.
    """
    smallest, _, largest = ("x".join(map(str, size)) for size in limits)
    actual = "x".join(map(str, shape))
    return TargetError(
        f"this engine takes {name!r} from {smallest} to {largest}, not {actual}: give the ONNX file, from which "
        "a new engine is built"
    )
