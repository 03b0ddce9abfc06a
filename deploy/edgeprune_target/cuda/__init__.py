"""The GPU's memory, stream, events and graphs: by pycuda if it is installed, else by libcudart.

Both have the same methods:

    gpu.name                     "pycuda" or "libcudart"
    gpu.stream                   the stream's handle, a number
    gpu.allocate(size)           bytes of device memory -> its address; freed by close()
    gpu.host_array(shape, type)  a numpy array in page-locked memory, which a copy engine can read
    gpu.upload(address, array)   host to device, on the stream
    gpu.download(array, address) device to host, on the stream
    gpu.synchronize()            wait for the stream
    gpu.mark()                   an event, put on the stream now
    gpu.elapsed_ms(first, last)  between two events that have passed
    gpu.capture(work)            what ``work()`` puts on the stream, as one graph: a function that launches it
    gpu.memory_info()            (free, total) bytes of device memory; on a Jetson, of the shared memory
    gpu.compute()                compute capability, as in "8.7"
    gpu.versions()               {what: version}
    gpu.close()                  frees everything
"""

from __future__ import annotations

from typing import Any

from edgeprune_target.cuda.cudart import CudaError, Cudart


def open_gpu() -> Any:
    """Open the first GPU, by pycuda or libcudart.

    Raises:
        CudaError: there is no CUDA, or no GPU; the message says which and why.
    """
    try:
        from edgeprune_target.cuda.pycuda_gpu import PycudaGpu
    except ImportError:  # not installed, or built for another CUDA: libcudart needs no building
        return Cudart()
    return PycudaGpu()


def why_no_gpu() -> str | None:
    """Return None if CUDA can use a GPU, else the reason."""
    try:
        open_gpu().close()
    except CudaError as error:
        return str(error)
    return None
