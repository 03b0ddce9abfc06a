"""How ctypes calls libcudart, against a C library with the signatures of CUDA's headers; needs gcc."""

import ctypes
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from edgeprune_target.cuda.cudart import CudaError, Cudart

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

# As in cuda_runtime_api.h; streams, events and graphs are pointers there.
CODE = r"""
#include <stdlib.h>
#include <string.h>
typedef int cudaError_t;
static long events = 0, launches = 0;
static int a_stream, a_graph, an_exec;
const char* cudaGetErrorString(cudaError_t e) { return e == 901 ? "capture invalidated" : "other"; }
cudaError_t cudaGetLastError(void) { return 0; }
cudaError_t cudaGetDeviceCount(int* n) { *n = 1; return 0; }
cudaError_t cudaRuntimeGetVersion(int* v) { *v = 11040; return 0; }
cudaError_t cudaDeviceGetAttribute(int* v, int attr, int device) {
  if (device != 0) return 1;
  *v = attr == 75 ? 7 : attr == 76 ? 2 : -1;
  return 0;
}
cudaError_t cudaMalloc(void** p, size_t n) { *p = malloc(n); return 0; }
cudaError_t cudaFree(void* p) { free(p); return 0; }
cudaError_t cudaHostAlloc(void** p, size_t n, unsigned int flags) { *p = malloc(n); return flags; }
cudaError_t cudaFreeHost(void* p) { free(p); return 0; }
cudaError_t cudaMemGetInfo(size_t* f, size_t* t) { *f = 5000000000UL; *t = 6000000000UL; return 0; }
cudaError_t cudaStreamCreateWithFlags(void** s, unsigned int f) { *s = &a_stream; return f == 1 ? 0 : 1; }
cudaError_t cudaStreamDestroy(void* s) { return s == &a_stream ? 0 : 1; }
cudaError_t cudaStreamSynchronize(void* s) { return s == &a_stream ? 0 : 1; }
cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, int kind, void* stream) {
  if (stream != &a_stream || (kind != 1 && kind != 2)) return 1;
  memcpy(d, s, n);
  return 0;
}
cudaError_t cudaEventCreate(void** e) { *e = malloc(sizeof(long)); return 0; }
cudaError_t cudaEventDestroy(void* e) { free(e); return 0; }
cudaError_t cudaEventRecord(void* e, void* s) { *(long*)e = ++events; return s == &a_stream ? 0 : 1; }
cudaError_t cudaEventElapsedTime(float* ms, void* a, void* b) {
  *ms = 1.5f * (*(long*)b - *(long*)a);
  return 0;
}
cudaError_t cudaStreamBeginCapture(void* s, int mode) { return s == &a_stream && mode == 1 ? 0 : 1; }
cudaError_t cudaStreamEndCapture(void* s, void** g) { *g = &a_graph; return s == &a_stream ? 0 : 1; }
cudaError_t cudaGraphInstantiateWithFlags(void** x, void* g, unsigned long long flags) {
  *x = &an_exec;
  return g == &a_graph && flags == 0 ? 0 : 901;
}
cudaError_t cudaGraphLaunch(void* x, void* s) { launches++; return x == &an_exec && s == &a_stream ? 0 : 1; }
cudaError_t cudaGraphExecDestroy(void* x) { return x == &an_exec ? 0 : 1; }
cudaError_t cudaGraphDestroy(void* g) { return g == &a_graph ? 0 : 1; }
long launched(void) { return launches; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cudart")
    (folder / "c.c").write_text(CODE)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", str(folder / "libcudart.so"), str(folder / "c.c")], check=True
    )
    return ctypes.CDLL(str(folder / "libcudart.so"))


def test_memory_and_copies(library: Any) -> None:
    gpu = Cudart(library)
    present, back = gpu.host_array((3, 5), "float32"), gpu.host_array((3, 5), "float32")
    present[...] = np.arange(15).reshape(3, 5)
    address = gpu.allocate(present.nbytes)
    assert address > 1 << 32  # a pointer that an int would cut
    gpu.upload(address, present)
    gpu.download(back, address)
    gpu.synchronize()
    np.testing.assert_array_equal(back, present)
    assert gpu.memory_info() == (5_000_000_000, 6_000_000_000)
    assert (gpu.compute(), gpu.versions()) == ("7.2", {"cuda_runtime": "11.4"})
    gpu.close()


def test_events_and_graphs(library: Any) -> None:
    gpu = Cudart(library)
    first, last = gpu.mark(), gpu.mark()
    assert gpu.elapsed_ms(first, last) == 1.5
    launch = gpu.capture(lambda: None)
    before = library.launched()
    launch()
    assert library.launched() == before + 1
    gpu.close()


def test_errors_are_in_cudas_words(library: Any) -> None:
    gpu = Cudart(library)
    with pytest.raises(CudaError, match="cudaGraphInstantiateWithFlags: capture invalidated"):
        gpu.call.handle("cudaGraphInstantiateWithFlags", ctypes.c_void_p(0), ctypes.c_ulonglong(0))
    gpu.close()
