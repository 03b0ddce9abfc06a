"""Report an engine's memory on the device, as far as TensorRT reports it."""

from __future__ import annotations

from typing import Any


def device_memory(trt: Any, engine: Any, engine_bytes: int, used_bytes: int | None) -> dict:
    """Return the engine's memory in bytes; None for values that this version does not report.

    ``activation_bytes`` is TensorRT's scratch memory for one context, ``weights_bytes`` that of all weights.

    Args:
        trt: the module ``tensorrt``.
        engine: loaded.
        engine_bytes: size of its file.
        used_bytes: decrease of free device memory by loading, including other programs' (on a Jetson of the shared
            memory).
    """
    return {
        "engine_bytes": engine_bytes,
        "activation_bytes": activation_bytes(engine),
        "weights_bytes": weights_bytes(trt, engine),
        "used_bytes": used_bytes,
    }


def activation_bytes(engine: Any) -> int | None:
    """Return the scratch memory of one context; from TensorRT 10 on it has 64 bits."""
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    if hasattr(engine, "device_memory_size"):
        return int(engine.device_memory_size)
    return None


def weights_bytes(trt: Any, engine: Any) -> int | None:
    """Return the memory of all weights; None before TensorRT 10.16."""
    if not hasattr(engine, "get_engine_stat"):
        return None
    return int(engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE))
