"""The first GPU through pycuda, if it is installed."""

from __future__ import annotations

from typing import Any, Callable

import pycuda.driver as driver

from edgeprune_target.cuda.cudart import CudaError, Graphs, load_runtime


class PycudaGpu:
    """The first GPU, in the device's primary context, which libcudart and torch use too."""

    name = "pycuda"

    def __init__(self) -> None:
        """Open the GPU and create a stream.

        Raises:
            CudaError: no driver or no GPU.
        """
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
        """Allocate ``size`` bytes of device memory, and return the address."""
        memory = driver.mem_alloc(max(1, size))
        self._allocated.append(memory)
        return int(memory)

    def host_array(self, shape: tuple, kind: Any) -> Any:
        """Return an array of zeros in page-locked memory."""
        array = driver.pagelocked_empty(shape, kind)
        array[...] = 0
        self._pinned.append(array)
        return array

    def upload(self, address: int, array: Any) -> None:
        """Copy from host to device."""
        driver.memcpy_htod_async(address, array, self._stream)

    def download(self, array: Any, address: int) -> None:
        """Copy from device to host."""
        driver.memcpy_dtoh_async(array, address, self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def mark(self) -> Any:
        """Record an event on the stream, and return it."""
        event = driver.Event()
        event.record(self._stream)
        return event

    def elapsed_ms(self, first: Any, last: Any) -> float:
        """Return the time between two events."""
        return float(last.time_since(first))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture a graph by libcudart, since pycuda has none; raises CudaError if that is impossible."""
        if self._graphs is None:
            self._graphs = Graphs(load_runtime())
        return self._graphs.capture(self.stream, work)

    def memory_info(self) -> tuple:
        """Return (free, total) bytes of device memory."""
        free, total = driver.mem_get_info()
        return int(free), int(total)

    def compute(self) -> str:
        """Return the compute capability, as in "8.7"."""
        return "{}.{}".format(*self.device.compute_capability())

    def versions(self) -> dict:
        """Return the CUDA version for which pycuda was built."""
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
