"""The first GPU through pycuda, where somebody has built it."""

from __future__ import annotations

from typing import Any, Callable

import pycuda.driver as driver

from edgeprune_target.cuda.cudart import CudaError, Graphs, load_runtime


class PycudaGpu:
    """In the device's primary context, which is the one that libcudart and torch use too."""

    name = "pycuda"

    def __init__(self) -> None:
        """Raises CudaError: no driver or no GPU."""
        try:
            driver.init()
            self.device = driver.Device(0)
            self.context = self.device.retain_primary_context()
        except driver.Error as error:
            raise CudaError(f"no CUDA device: pycuda says {error}") from error
        self.context.push()
        self._stream = driver.Stream()
        self.stream = int(self._stream.handle)
        self._allocated: list = []
        self._pinned: list = []
        self._graphs: Graphs | None = None

    def allocate(self, size: int) -> int:
        """``size`` bytes of device memory."""
        memory = driver.mem_alloc(max(1, size))
        self._allocated.append(memory)
        return int(memory)

    def host_array(self, shape: tuple, kind: Any) -> Any:
        """Zeros in page-locked memory."""
        array = driver.pagelocked_empty(shape, kind)
        array[...] = 0
        self._pinned.append(array)
        return array

    def upload(self, address: int, array: Any) -> None:
        """Host to device."""
        driver.memcpy_htod_async(address, array, self._stream)

    def download(self, array: Any, address: int) -> None:
        """Device to host."""
        driver.memcpy_dtoh_async(array, address, self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def mark(self) -> Any:
        """An event on the stream."""
        event = driver.Event()
        event.record(self._stream)
        return event

    def elapsed_ms(self, first: Any, last: Any) -> float:
        """Between two events."""
        return float(last.time_since(first))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """A graph, by libcudart: pycuda has none. CudaError where there can be none."""
        if self._graphs is None:
            self._graphs = Graphs(load_runtime())
        return self._graphs.capture(self.stream, work)

    def memory_info(self) -> tuple:
        """(free, total) bytes."""
        free, total = driver.mem_get_info()
        return int(free), int(total)

    def compute(self) -> str:
        """As in "8.7"."""
        return "{}.{}".format(*self.device.compute_capability())

    def versions(self) -> dict:
        """Of CUDA, as pycuda was built for it."""
        return {"cuda_driver_api": ".".join(map(str, driver.get_version()))}

    def close(self) -> None:
        """Free everything and leave the context."""
        if self._graphs is not None:
            self._graphs.close()
            self._graphs = None
        for memory in self._allocated:
            memory.free()
        self._allocated, self._pinned = [], []
        if self._stream is not None:
            self._stream = None
            self.context.pop()
