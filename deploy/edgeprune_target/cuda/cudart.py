"""CUDA's runtime library, by ctypes: no Python package has to be built for it."""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from edgeprune_target.cuda import loading
from edgeprune_target.errors import TargetError

# Enumerations of driver_types.h; they have kept their values from CUDA 10 to 13.
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking: the default stream would wait for this one, and this one for it
THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may go on allocating
COMPUTE_MAJOR, COMPUTE_MINOR = 75, 76  # cudaDeviceAttr


class CudaError(TargetError):
    """CUDA is not here, has no GPU, or refused a call; the message says which."""


class Runtime:
    """The library's functions, each checked for its answer."""

    def __init__(self, library: Any) -> None:
        """``library`` is what ctypes loaded; tests give a stand-in."""
        self.library = library

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call ``name``; raises CudaError with CUDA's own words unless it answers 0."""
        function = getattr(self.library, name, None)
        if function is None:
            raise CudaError(f"this CUDA runtime has no {name}")
        code = function(*arguments)
        if code != 0:
            raise CudaError(f"{name}: {self.meaning(code)}")

    def meaning(self, code: int) -> str:
        """CUDA's words for an error code."""
        function = getattr(self.library, "cudaGetErrorString", None)
        if function is None:
            return f"error {code}"
        function.restype = ctypes.c_char_p
        said = function(ctypes.c_int(code))
        return said.decode(errors="replace") if said else f"error {code}"

    def number(self, name: str, *more: Any) -> int:
        """What ``name`` puts into its first argument, an int."""
        found = ctypes.c_int()
        self(name, ctypes.byref(found), *more)
        return found.value

    def handle(self, name: str, *more: Any) -> int:
        """What ``name`` puts into its first argument, a pointer."""
        found = ctypes.c_void_p()
        self(name, ctypes.byref(found), *more)
        return found.value or 0


class Graphs:
    """Captures what is put on a stream, and launches it as one."""

    def __init__(self, runtime: Runtime) -> None:
        """``runtime`` as loaded."""
        self.call = runtime
        self.made: list = []

    def capture(self, stream: int, work: Callable[[], None]) -> Callable[[], None]:
        """A function that launches what ``work()`` put on ``stream``; see ``gpu.capture``.

        The order is trtexec's (devices.md 5.3). Whatever goes wrong, the stream is out of capture afterwards.

        Raises:
            CudaError: it cannot be captured.
        """
        where = ctypes.c_void_p(stream)
        self.call("cudaStreamBeginCapture", where, ctypes.c_int(THREAD_LOCAL))
        try:
            work()
        except BaseException:
            self._abandon(where)
            raise
        try:
            graph = self._ended(where)
            executable = self.call.handle(
                "cudaGraphInstantiateWithFlags", ctypes.c_void_p(graph), ctypes.c_ulonglong(0)
            )
        except CudaError:
            self._forget_error()
            raise
        self.made.append((graph, executable))
        return lambda: self.call("cudaGraphLaunch", ctypes.c_void_p(executable), where)

    def close(self) -> None:
        """Destroy all graphs."""
        for graph, executable in self.made:
            self.call("cudaGraphExecDestroy", ctypes.c_void_p(executable))
            self.call("cudaGraphDestroy", ctypes.c_void_p(graph))
        self.made = []

    def _ended(self, where: Any) -> int:
        graph = ctypes.c_void_p()
        self.call("cudaStreamEndCapture", where, ctypes.byref(graph))
        if not graph.value:
            raise CudaError("nothing was captured")
        return graph.value

    def _abandon(self, where: Any) -> None:
        graph = ctypes.c_void_p()
        self.call.library.cudaStreamEndCapture(where, ctypes.byref(graph))
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
        """Load the library, count the GPUs, make a stream.

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
        """``size`` bytes of device memory."""
        address = self.call.handle("cudaMalloc", ctypes.c_size_t(max(1, size)))
        self._addresses.append(address)
        return address

    def host_array(self, shape: tuple, kind: Any) -> Any:
        """Zeros in page-locked memory."""
        import numpy

        size = int(numpy.prod(shape, dtype=numpy.int64)) * numpy.dtype(kind).itemsize
        address = self.call.handle("cudaHostAlloc", ctypes.c_size_t(max(1, size)), ctypes.c_uint(0))
        self._pinned.append(address)
        buffer = (ctypes.c_byte * max(1, size)).from_address(address)
        array = numpy.frombuffer(buffer, numpy.uint8)[:size].view(kind).reshape(shape)
        array[...] = 0
        return array

    def upload(self, address: int, array: Any) -> None:
        """Host to device."""
        self._copy(address, array.ctypes.data, array.nbytes, HOST_TO_DEVICE)

    def download(self, array: Any, address: int) -> None:
        """Device to host."""
        self._copy(array.ctypes.data, address, array.nbytes, DEVICE_TO_HOST)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))

    def mark(self) -> int:
        """An event on the stream."""
        event = self.call.handle("cudaEventCreate")
        self._events.append(event)
        self.call("cudaEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(self.stream))
        return event

    def elapsed_ms(self, first: int, last: int) -> float:
        """Between two events."""
        found = ctypes.c_float()
        self.call("cudaEventElapsedTime", ctypes.byref(found), ctypes.c_void_p(first), ctypes.c_void_p(last))
        return float(found.value)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """A graph; CudaError where there can be none."""
        return self._graphs.capture(self.stream, work)

    def memory_info(self) -> tuple:
        """(free, total) bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def compute(self) -> str:
        """As in "8.7"."""
        major, minor = [
            self.call.number("cudaDeviceGetAttribute", ctypes.c_int(which), ctypes.c_int(0))
            for which in (COMPUTE_MAJOR, COMPUTE_MINOR)
        ]
        return f"{major}.{minor}"

    def versions(self) -> dict:
        """Of the runtime: 12060 is 12.6."""
        number = self.call.number("cudaRuntimeGetVersion")
        return {"cuda_runtime": f"{number // 1000}.{number % 1000 // 10}"}

    def close(self) -> None:
        """Free everything; arrays of ``host_array`` must not be touched any more."""
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


def load_runtime(library: Any = None) -> Runtime:
    """The library with at least one GPU behind it.

    Raises:
        CudaError: no library, no driver or no GPU.
    """
    try:
        runtime = Runtime(library or loading.load_library())
    except OSError as error:
        raise CudaError(f"no CUDA: {error}") from error
    try:
        count = runtime.number("cudaGetDeviceCount")
    except CudaError as error:
        raise CudaError(f"no CUDA device: {error}") from error
    if count < 1:
        raise CudaError("no CUDA device: cudaGetDeviceCount says 0")
    return runtime
