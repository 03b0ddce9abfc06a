"""A stand-in for ``pycuda.driver``, on the same made-up device."""

import ctypes
import os
from typing import Any

import numpy as np

from trt.fake_cuda import DEVICE


class Error(Exception):
    """pycuda's own root."""


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self.address = DEVICE.take(size)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        DEVICE.memory.pop(self.address)


class Stream:
    def __init__(self, flags: int = 0) -> None:
        self.handle = DEVICE.handle()

    def synchronize(self) -> None:
        assert self.handle not in DEVICE.capturing


class Event:
    def record(self, stream: Stream) -> "Event":
        self.ms = DEVICE.time_ms
        return self

    def time_since(self, first: "Event") -> float:
        return self.ms - first.ms


class Context:
    depth = 0

    def push(self) -> None:
        Context.depth += 1

    def pop(self) -> None:
        Context.depth -= 1


class Device:
    def __init__(self, number: int) -> None:
        if os.environ.get("STAND_IN_NO_GPU"):
            raise Error("cuDeviceGet failed: invalid device ordinal")

    def retain_primary_context(self) -> Context:
        return Context()

    def compute_capability(self) -> tuple[int, int]:
        return (8, 7)


def init() -> None:
    """As the real one, before anything else."""


def get_version() -> tuple[int, int, int]:
    return (12, 6, 0)


def mem_alloc(size: int) -> DeviceAllocation:
    return DeviceAllocation(size)


def mem_get_info() -> tuple[int, int]:
    total = 8 << 30
    return total - sum(len(memory) for memory in DEVICE.memory.values()), total


def pagelocked_empty(shape: Any, dtype: Any) -> np.ndarray:
    return np.full(shape, 7, dtype)


def memcpy_htod_async(address: int, array: np.ndarray, stream: Stream) -> None:
    assert DEVICE.holds(address, array.nbytes)
    DEVICE.submit(stream.handle, lambda: ctypes.memmove(address, array.ctypes.data, array.nbytes) and None)


def memcpy_dtoh_async(array: np.ndarray, address: int, stream: Stream) -> None:
    assert DEVICE.holds(address, array.nbytes)
    DEVICE.submit(stream.handle, lambda: ctypes.memmove(array.ctypes.data, address, array.nbytes) and None)
