"""What an engine takes on the device, as far as TensorRT says."""

from __future__ import annotations

from typing import Any


def device_memory(trt: Any, engine: Any, engine_bytes: int, used_bytes: int | None) -> dict:
    """Bytes, None where this version does not say.

    ``engine_bytes`` is the file's size; ``activation_bytes`` TensorRT's scratch memory for one context;
    ``weights_bytes`` all weights; ``used_bytes`` how much less device memory was free after loading than
    before, other programs' included (on a Jetson that is the memory of all).
    """
    return {
        "engine_bytes": engine_bytes,
        "activation_bytes": activation_bytes(engine),
        "weights_bytes": weights_bytes(trt, engine),
        "used_bytes": used_bytes,
    }


def activation_bytes(engine: Any) -> int | None:
    """From TensorRT 10 on in 64 bits."""
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    if hasattr(engine, "device_memory_size"):
        return int(engine.device_memory_size)
    return None


def weights_bytes(trt: Any, engine: Any) -> int | None:
    """From TensorRT 10.16 on."""
    if not hasattr(engine, "get_engine_stat"):
        return None
    return int(engine.get_engine_stat(trt.EngineStat.TOTAL_WEIGHTS_SIZE))
