"""Call CUDA's runtime library by ctypes, without a compiled Python package."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from edgeprune_target.cuda import loading
from edgeprune_target.errors import TargetError

# Enumerations of driver_types.h; they have kept their values from CUDA 10 to 13.
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking: no mutual waiting with the default stream
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may continue to allocate
COMPUTE_MAJOR, COMPUTE_MINOR = 75, 76  # cudaDeviceAttr


class CudaError(TargetError):
    """CUDA is missing, has no GPU, or a call failed; the message says which."""


class CudaRuntime:
    """The library's functions, each checked for its return code."""

    def __init__(self, library: Any) -> None:
        """Wrap a library that ctypes loaded, or a fake for tests."""
        self.library = library

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call ``name``; raises CudaError with CUDA's message unless it returns 0."""
        function = getattr(self.library, name, None)
        if function is None:
            raise CudaError(f"this CUDA runtime has no {name}")
        code = function(*arguments)
        if code != 0:
            raise CudaError(f"{name}: {self.meaning(code)}")

    def meaning(self, code: int) -> str:
        """Return CUDA's message for an error code."""
        function = getattr(self.library, "cudaGetErrorString", None)
        if function is None:
            return f"error {code}"
        function.restype = ctypes.c_char_p
        message = function(ctypes.c_int(code))
        return message.decode(errors="replace") if message else f"error {code}"

    def number(self, name: str, *more: Any) -> int:
        """Call ``name`` and return the int that it writes to its first argument."""
        result = ctypes.c_int()
        self(name, ctypes.byref(result), *more)
        return result.value

    def handle(self, name: str, *more: Any) -> int:
        """Call ``name`` and return the pointer that it writes to its first argument."""
        pointer = ctypes.c_void_p()
        self(name, ctypes.byref(pointer), *more)
        return pointer.value or 0


class Graphs:
    """Captures the work on a stream as graphs, and launches them."""

    def __init__(self, runtime: CudaRuntime) -> None:
        """Prepare to capture with a loaded runtime."""
        self.call = runtime
        self.made: list = []

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function that launches what ``work()`` puts on ``stream``; see ``gpu.capture``.

        The order of calls is trtexec's (devices.md 5.3). After an error, the stream is not capturing any more.

        Raises:
            CudaError: it cannot be captured.
        """
        stream_pointer = ctypes.c_void_p(stream)
        self.call("cudaStreamBeginCapture", stream_pointer, ctypes.c_int(THREAD_LOCAL))
        try:
            work()
        except BaseException:
            self._abandon(stream_pointer)
            raise
        try:
            graph = self._ended(stream_pointer)
            executable = self.call.handle(
                "cudaGraphInstantiateWithFlags", ctypes.c_void_p(graph), ctypes.c_ulonglong(0)
            )
        except CudaError:
            self._forget_error()
            raise
        self.made.append((graph, executable))
        return lambda: self.call("cudaGraphLaunch", ctypes.c_void_p(executable), stream_pointer)

    def close(self) -> None:
        """Destroy all graphs."""
        for graph, executable in self.made:
            self.call("cudaGraphExecDestroy", ctypes.c_void_p(executable))
            self.call("cudaGraphDestroy", ctypes.c_void_p(graph))
        self.made = []

    def _ended(self, stream_pointer: Any) -> int:
        graph = ctypes.c_void_p()
        self.call("cudaStreamEndCapture", stream_pointer, ctypes.byref(graph))
        if not graph.value:
            raise CudaError("nothing was captured")
        return graph.value

    def _abandon(self, stream_pointer: Any) -> None:
        graph = ctypes.c_void_p()
        self.call.library.cudaStreamEndCapture(stream_pointer, ctypes.byref(graph))
        if graph.value:
            self.call.library.cudaGraphDestroy(graph)
        self._forget_error()

    def _forget_error(self) -> None:
        # The next call would report the failed capture as its own.
        self.call.library.cudaGetLastError()


class Cudart:
    """The first GPU, through libcudart."""

    name = "libcudart"

    def __init__(self, library: Any = None) -> None:
        """Load the library, check for a GPU, and create a stream.

        Raises:
            CudaError: no library, no driver or no GPU.
        """
        self.call = load_runtime(library)
        self._addresses: list = []
        self._pinned: list = []
        self._events: list = []
        self._graphs = Graphs(self.call)
        self.stream = self.call.handle("cudaStreamCreateWithFlags", ctypes.c_uint(NON_BLOCKING))

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes of device memory, and return the address."""
        address = self.call.handle("cudaMalloc", ctypes.c_size_t(max(1, size)))
        self._addresses.append(address)
        return address

    def host_array(self, shape: tuple, kind: Any) -> Any:
        """Return an array of zeros in page-locked memory."""
        import numpy

        size = int(numpy.prod(shape, dtype=numpy.int64)) * numpy.dtype(kind).itemsize
        address = self.call.handle("cudaHostAlloc", ctypes.c_size_t(max(1, size)), ctypes.c_uint(0))
        self._pinned.append(address)
        buffer = (ctypes.c_byte * max(1, size)).from_address(address)
        array = numpy.frombuffer(buffer, numpy.uint8)[:size].view(kind).reshape(shape)
        array[...] = 0
        return array

    def upload(self, address: int, array: Any) -> None:
        """Copy from host to device."""
        self._copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE)

    def download(self, array: Any, address: int) -> None:
        """Copy from device to host."""
        self._copy(array.ctypes.data, address, array.nbytes, DEVICE_TO_HOST)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))

    def mark(self) -> int:
        """Record an event on the stream, and return it."""
        event = self.call.handle("cudaEventCreate")
        self._events.append(event)
        self.call("cudaEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(self.stream))
        return event

    def elapsed_ms(self, first: int, last: int) -> float:
        """Return the time between two events."""
        elapsed = ctypes.c_float()
        self.call(
            "cudaEventElapsedTime", ctypes.byref(elapsed), ctypes.c_void_p(first), ctypes.c_void_p(last)
        )
        return float(elapsed.value)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture a graph, and return a function that launches it; raises CudaError if that is impossible."""
        return self._graphs.capture(self.stream, work)

    def memory_info(self) -> tuple:
        """Return (free, total) bytes of device memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def compute(self) -> str:
        """Return the compute capability, as in "8.7"."""
        major, minor = [
            self.call.number("cudaDeviceGetAttribute", ctypes.c_int(which), ctypes.c_int(0))
            for which in (COMPUTE_MAJOR, COMPUTE_MINOR)
        ]
        return f"{major}.{minor}"

    def versions(self) -> dict:
        """Return the version of the runtime: 12060 is 12.6."""
        number = self.call.number("cudaRuntimeGetVersion")
        return {"cuda_runtime": f"{number // 1000}.{number % 1000 // 10}"}

    def close(self) -> None:
        """Free everything; arrays of ``host_array`` must not be used any more."""
        self._graphs.close()
        for event in self._events:
            self.call("cudaEventDestroy", ctypes.c_void_p(event))
        for address in self._addresses:
            self.call("cudaFree", ctypes.c_void_p(address))
        for address in self._pinned:
            self.call("cudaFreeHost", ctypes.c_void_p(address))
        if self.stream:
            self.call("cudaStreamDestroy", ctypes.c_void_p(self.stream))
        self._events, self._addresses, self._pinned, self.stream = [], [], [], 0

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        self.call(
            "cudaMemcpyAsync",
            ctypes.c_void_p(to),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            ctypes.c_int(kind),
            ctypes.c_void_p(self.stream),
        )


def load_runtime(library: Any = None) -> CudaRuntime:
    """Load the library, and check that there is a GPU.

    Raises:
        CudaError: no library, no driver or no GPU.
    """
    try:
        runtime = CudaRuntime(library or loading.load_library())
    except OSError as error:
        raise CudaError(f"no CUDA: {error}") from error
    try:
        count = runtime.number("cudaGetDeviceCount")
    except CudaError as error:
        raise CudaError(f"no CUDA device: {error}") from error
    if count < 1:
        raise CudaError("no CUDA device: cudaGetDeviceCount says 0")
    return runtime
