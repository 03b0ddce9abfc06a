"""Device memory by ctypes, on a stand-in library."""

from typing import Any

import numpy as np
import pytest
from edgeprune_target import cuda
from edgeprune_target.cuda import loading
from edgeprune_target.cuda.cudart import CudaError, Cudart
from trt.fake_cuda import CAPTURE_INVALID, OLD_DRIVER, FakeCudart


def test_a_round_trip(cudart: FakeCudart) -> None:
    gpu = Cudart()
    present, back = gpu.host_array((2, 3), "float32"), gpu.host_array((2, 3), "float32")
    assert not present.any()
    present[...] = np.arange(6).reshape(2, 3)
    address = gpu.allocate(present.nbytes)
    gpu.upload(address, present)
    gpu.download(back, address)
    gpu.synchronize()
    np.testing.assert_array_equal(back, [[0, 1, 2], [3, 4, 5]])
    gpu.close()
    assert len(cudart.freed) == 3


def test_closing_twice_frees_once(cudart: FakeCudart) -> None:
    gpu = Cudart()
    gpu.allocate(10)
    gpu.close()
    gpu.close()
    assert len(cudart.freed) == 1


def test_what_it_says_of_itself(cudart: FakeCudart) -> None:
    gpu = Cudart()
    assert gpu.versions() == {"cuda_runtime": "12.6"}
    assert gpu.compute() == "8.7"
    free, total = gpu.memory_info()
    address = gpu.allocate(1000)
    assert address and gpu.memory_info() == (free - 1000, total)
    gpu.close()


def test_a_graph_does_what_was_captured_and_not_before(cudart: FakeCudart) -> None:
    gpu = Cudart()
    host = gpu.host_array((1,), "float32")
    address = gpu.allocate(4)
    back = gpu.host_array((1,), "float32")
    launch = gpu.capture(lambda: gpu.upload(address, host))
    for value in (3.0, 4.0):
        host[0] = value
        launch()
        gpu.download(back, address)
        gpu.synchronize()
        assert back[0] == value
    gpu.close()
    assert cudart.calls.count("cudaGraphExecDestroy") == cudart.calls.count("cudaGraphDestroy") == 1


def test_old_cuda_has_no_graph(cudart: FakeCudart) -> None:
    cudart.lacks = ("cudaGraphInstantiateWithFlags",)
    gpu = Cudart()
    with pytest.raises(CudaError, match="this CUDA runtime has no cudaGraphInstantiateWithFlags"):
        gpu.capture(lambda: None)
    gpu.synchronize()
    gpu.close()


def test_a_capture_that_fails_leaves_the_stream_free_and_no_error_behind(cudart: FakeCudart) -> None:
    gpu = Cudart()

    def refused() -> None:
        cudart.sticky = CAPTURE_INVALID
        raise CudaError("TensorRT did not run")

    with pytest.raises(CudaError, match="TensorRT did not run"):
        gpu.capture(refused)
    gpu.synchronize()
    assert cudart.sticky == 0
    gpu.close()


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        (FakeCudart(devices=0), "no CUDA device: cudaGetDeviceCount: no CUDA-capable device is detected"),
        (
            FakeCudart(fails={"cudaGetDeviceCount": OLD_DRIVER}),
            "no CUDA device: .*driver version is insufficient",
        ),
    ],
)
def test_why_there_is_no_gpu(
    cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch, library: Any, reason: str
) -> None:
    monkeypatch.setattr(loading, "load_library", lambda: library)
    with pytest.raises(CudaError, match=reason):
        cuda.open_gpu()
    assert cuda.why_no_gpu()


def test_no_library(no_pycuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "NAMES", ("libnothing.so",))
    monkeypatch.setattr(loading, "places", lambda: [])
    assert cuda.why_no_gpu() == "no CUDA: there is no libnothing.so (no CUDA runtime is installed)"


def test_libraries_of_wheels_are_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nvidia/cu13/lib/libcudart.so.13"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(file) in loading.places()


def test_times_between_events(cudart: FakeCudart, device: Any) -> None:
    gpu = Cudart()
    first = gpu.mark()
    device.time_ms += 2.5
    last = gpu.mark()
    assert gpu.elapsed_ms(first, last) == 2.5
    gpu.close()


def test_nothing_is_left_of_the_gpu_that_was_only_looked_for(cudart: FakeCudart) -> None:
    assert cuda.why_no_gpu() is None
    assert cudart.calls[-1] == "cudaStreamDestroy"
