"""A stand-in for a GPU and for libcudart: device memory is host memory, a graph is a list of what to do.

It keeps to CUDA's rules where breaking them would go unseen here: an address has to be one that was given
out, a capture takes work down and does not do it, an error sticks until it is asked for.
"""

import ctypes
from collections.abc import Callable
from typing import Any

NO_DEVICE, INVALID, CAPTURE_INVALID, OLD_DRIVER = 100, 1, 901, 35
WORDS = {
    NO_DEVICE: "no CUDA-capable device is detected",
    INVALID: "invalid argument",
    CAPTURE_INVALID: "operation failed due to a previous error during capture",
    OLD_DRIVER: "CUDA driver version is insufficient for CUDA runtime version",
}


class Device:
    """Memory, streams and the time that has passed on the device."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.marks: dict[int, float] = {}
        self.time_ms = 0.0
        self.launches = 0
        self._handle = 0x1000

    def handle(self) -> int:
        self._handle += 0x10
        return self._handle

    def take(self, size: int) -> int:
        """Memory; filled with 0xA5, as real memory is not empty."""
        buffer = (ctypes.c_ubyte * size)(*([0xA5] * min(size, 64)))
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        return address

    def holds(self, address: int, size: int) -> bool:
        return any(start <= address and address + size <= start + len(m) for start, m in self.memory.items())

    def submit(self, stream: int, work: Callable[[], None]) -> None:
        """What is put on a stream: done at once, or taken down for a graph."""
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            work()


DEVICE = Device()


class FakeCudart:
    """What ctypes would give for libcudart.so, as far as it is used."""

    def __init__(
        self, *, devices: int = 1, version: int = 12060, lacks: tuple[str, ...] = (), fails: Any = None
    ) -> None:
        """``lacks`` are functions that this version has not; ``fails`` is {function: error code}."""
        self.devices, self.version, self.lacks, self.fails = devices, version, lacks, fails or {}
        self.freed: list[int] = []
        self.calls: list[str] = []
        self.sticky = 0

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            return object.__getattribute__(self, name)
        if name in self.lacks:
            raise AttributeError(name)
        function = object.__getattribute__(self, name)
        self.calls.append(name)
        if name in self.fails:
            return lambda *arguments: self.failed(self.fails[name])
        return function

    def failed(self, code: int) -> int:
        self.sticky = code
        return code

    class _Words:
        restype: Any = None

        def __call__(self, code: Any) -> bytes:
            return WORDS.get(code.value, "unknown error").encode()

    cudaGetErrorString = _Words()

    def cudaGetLastError(self) -> int:
        code, self.sticky = self.sticky, 0
        return code

    def cudaGetDeviceCount(self, out: Any) -> int:
        out._obj.value = self.devices
        return 0 if self.devices else NO_DEVICE

    def cudaRuntimeGetVersion(self, out: Any) -> int:
        out._obj.value = self.version
        return 0

    def cudaDeviceGetAttribute(self, out: Any, which: Any, device: Any) -> int:
        out._obj.value = {75: 8, 76: 7}[which.value]
        return 0

    def cudaMalloc(self, out: Any, size: Any) -> int:
        out._obj.value = DEVICE.take(size.value)
        return 0

    def cudaHostAlloc(self, out: Any, size: Any, flags: Any) -> int:
        out._obj.value = DEVICE.take(size.value)
        return 0

    def cudaFree(self, address: Any) -> int:
        return self.given_back(address.value)

    def cudaFreeHost(self, address: Any) -> int:
        return self.given_back(address.value)

    def given_back(self, address: int) -> int:
        if address not in DEVICE.memory:
            return self.failed(INVALID)
        DEVICE.memory.pop(address)
        self.freed.append(address)
        return 0

    def cudaMemGetInfo(self, free: Any, total: Any) -> int:
        total._obj.value = 8 << 30
        free._obj.value = (8 << 30) - sum(len(memory) for memory in DEVICE.memory.values())
        return 0

    def cudaStreamCreateWithFlags(self, out: Any, flags: Any) -> int:
        out._obj.value = DEVICE.handle()
        return 0

    def cudaStreamDestroy(self, stream: Any) -> int:
        return 0

    def cudaStreamSynchronize(self, stream: Any) -> int:
        return self.failed(CAPTURE_INVALID) if stream.value in DEVICE.capturing else 0

    def cudaMemcpyAsync(self, to: Any, source: Any, size: Any, kind: Any, stream: Any) -> int:
        on_device = to.value if kind.value == 1 else source.value
        if not DEVICE.holds(on_device, size.value):
            return self.failed(INVALID)
        DEVICE.submit(stream.value, lambda: ctypes.memmove(to.value, source.value, size.value) and None)
        return 0

    def cudaEventCreate(self, out: Any) -> int:
        out._obj.value = DEVICE.handle()
        return 0

    def cudaEventRecord(self, event: Any, stream: Any) -> int:
        DEVICE.marks[event.value] = DEVICE.time_ms
        return 0

    def cudaEventElapsedTime(self, out: Any, first: Any, last: Any) -> int:
        out._obj.value = DEVICE.marks[last.value] - DEVICE.marks[first.value]
        return 0

    def cudaEventDestroy(self, event: Any) -> int:
        return 0 if DEVICE.marks.pop(event.value, None) is not None else self.failed(INVALID)

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> int:
        DEVICE.capturing[stream.value] = []
        return 0

    def cudaStreamEndCapture(self, stream: Any, out: Any) -> int:
        work = DEVICE.capturing.pop(stream.value)
        out._obj.value = DEVICE.handle()
        DEVICE.graphs[out._obj.value] = work
        return 0

    def cudaGraphInstantiateWithFlags(self, out: Any, graph: Any, flags: Any) -> int:
        out._obj.value = DEVICE.handle()
        DEVICE.graphs[out._obj.value] = DEVICE.graphs[graph.value]
        return 0

    def cudaGraphLaunch(self, graph: Any, stream: Any) -> int:
        DEVICE.launches += 1
        for work in DEVICE.graphs[graph.value]:
            DEVICE.submit(stream.value, work)
        return 0

    def cudaGraphDestroy(self, graph: Any) -> int:
        return self.dropped(graph.value)

    def cudaGraphExecDestroy(self, graph: Any) -> int:
        return self.dropped(graph.value)

    def dropped(self, graph: int) -> int:
        return 0 if DEVICE.graphs.pop(graph, None) is not None else self.failed(INVALID)
