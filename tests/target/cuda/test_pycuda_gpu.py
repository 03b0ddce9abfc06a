"""The same through pycuda, where it is installed."""

from typing import Any

import numpy as np
import pytest
from edgeprune_target import cuda
from edgeprune_target.cuda import loading
from edgeprune_target.cuda.cudart import CudaError


def test_is_taken_where_it_is(pycuda: Any) -> None:
    gpu = cuda.open_gpu()
    assert (gpu.name, gpu.compute(), gpu.versions()) == ("pycuda", "8.7", {"cuda_driver_api": "12.6.0"})
    assert pycuda.Context.depth == 1
    gpu.close()
    gpu.close()
    assert pycuda.Context.depth == 0


def test_a_round_trip_and_a_graph(pycuda: Any) -> None:
    gpu = cuda.open_gpu()
    host, back = gpu.host_array((4,), "float32"), gpu.host_array((4,), "float32")
    assert not host.any()
    address = gpu.allocate(host.nbytes)
    launch = gpu.capture(lambda: gpu.upload(address, host))
    host[...] = 5
    launch()
    gpu.download(back, address)
    gpu.synchronize()
    np.testing.assert_array_equal(back, [5, 5, 5, 5])
    gpu.close()


def test_graphs_need_libcudart(pycuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise OSError("there is no libcudart.so")

    monkeypatch.setattr(loading, "load_library", missing)
    gpu = cuda.open_gpu()
    with pytest.raises(CudaError, match="no CUDA: there is no libcudart.so"):
        gpu.capture(lambda: None)
    gpu.close()


def test_no_gpu_is_a_reason(pycuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_NO_GPU", "1")
    assert cuda.why_no_gpu() == "no CUDA device: pycuda says cuDeviceGet failed: invalid device ordinal"
