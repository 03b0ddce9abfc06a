"""A stand-in for ``tensorrt``, one for each version, with the names that version has and no other.

It builds, loads and runs: an engine is the ONNX file itself, computed by ONNX Runtime in the precision
asked for, on the made-up device of fake_cuda.py. It refuses what the real one refuses, as far as NVIDIA's
documents say so: a network without explicit batch in TensorRT 8, free sizes without a profile, int8 without
scales, an engine of another version, an address that was never set. What the real one does beyond that is
not claimed here.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from trt import names
from trt.building import (
    Builder,
    Config,
    HostMemory,
    Layer,
    Network,
    Parser,
    Problem,
    Profile,
    Tensor,
    TimingCache,
)
from trt.guard import Enumeration, Module, guarded
from trt.running import Context, Engine, Inspector, Runtime

NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


class Base:
    """Made to be derived from: loggers, profilers, calibrators."""

    def __init__(self, *arguments: Any) -> None:
        pass


class Logger(Base):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


BEHAVIOUR = {
    "Builder": Builder,
    "IBuilderConfig": Config,
    "INetworkDefinition": Network,
    "OnnxParser": Parser,
    "ParserError": Problem,
    "IOptimizationProfile": Profile,
    "ITimingCache": TimingCache,
    "IHostMemory": HostMemory,
    "ILayer": Layer,
    "ITensor": Tensor,
    "Runtime": Runtime,
    "ICudaEngine": Engine,
    "IExecutionContext": Context,
    "EngineInspector": Inspector,
    "ILogger": Logger,
    "IProfiler": Base,
    "IInt8EntropyCalibrator2": Base,
}


@lru_cache
def make(version: str) -> Any:
    """The module ``tensorrt`` of ``version``."""
    classes, enums = names.classes(version), names.enums(version)
    module: Any = Module("tensorrt")
    module.__version__ = version
    module._allowed = {*classes, *enums, *names.functions(version)}
    module._names = classes
    for owner, enum in enums.items():
        setattr(module, owner, Enumeration(owner, enum, numbers(owner, version)))
    for owner, enum in classes.items():
        setattr(module, owner, guarded(owner, enum, BEHAVIOUR.get(owner, Base), module))
    module.nptype = lambda kind: _numpy(kind)
    module.volume = lambda shape: int(np.prod(shape))
    return module


def numbers(owner: str, version: str) -> dict[str, int]:
    """Numbers of members that code shifts bits by; they differ between versions (devices.md 5.1)."""
    if owner != "NetworkDefinitionCreationFlag":
        return {}
    return {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 0 if version.startswith("11") else 1}


def _numpy(kind: Any) -> Any:
    if kind.name not in NUMPY:
        raise TypeError(f"Could not resolve TensorRT datatype to an equivalent numpy datatype. {kind}")
    return np.dtype(NUMPY[kind.name]).type
