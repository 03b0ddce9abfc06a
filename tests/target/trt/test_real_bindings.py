"""The code against NVIDIA's own bindings, over empty libraries; needs gcc and the package index."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trt import names
from trt.real_bindings import WHEELS, stubs, unpacked

from target.trt.test_names import GUARDED, used

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("gcc") and shutil.which("nm")), reason="gcc and nm are not installed"
    ),
]

# In a child process: libraries are loaded once, and these must not stay.
CHILD = """
import json, sys
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
from edgeprune_target.errors import TargetError
from edgeprune_target.trt import build, calibrate, layers, library
from edgeprune_target.trt.tensors import numpy_type

def has(owner, name):
    thing = trt if owner == "tensorrt" else getattr(trt, owner, None)
    return thing is not None and hasattr(thing, name)

found = {"version": library.load_tensorrt().__version__}
found["names"] = [pair for pair in json.load(sys.stdin) if has(*pair)]
logger = library.make_logger(trt)
logger.log(trt.ILogger.ERROR, "first\\nsecond")
logger.log(trt.ILogger.WARNING, "only a warning")
found["said"] = logger.last_error(), logger.warnings
profiler = layers.make_profiler(trt)
profiler.report_layer_time("conv", 0.5)
found["times"] = profiler.times
found["types"] = [numpy_type(trt, kind, "x") for kind in (trt.DataType.FLOAT, trt.DataType.HALF)]
found["flags"] = build.network_flags(trt)
try:
    build.build_engine(trt, logger, "m.onnx", build.Recipe("fp16"))
except TargetError as error:
    found["refused"] = str(error)
if hasattr(trt, "IInt8EntropyCalibrator2"):
    import numpy
    class Gpu:
        host_array = staticmethod(lambda shape, kind: numpy.zeros(shape, kind))
        allocate = staticmethod(lambda size: 4096)
        upload = staticmethod(lambda address, array: None)
        synchronize = staticmethod(lambda: None)
    made = calibrate.make_calibrator(trt, Gpu, numpy.ones((9, 3, 4, 4), "float32"), 4)
    found["calibrator"] = [made.get_batch_size(), *[made.get_batch(["input"]) for _ in range(3)]]
json.dump(found, sys.stdout)
"""


@pytest.mark.parametrize("version", list(WHEELS))
def test_the_real_bindings(version: str, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the wheels are for Linux")
    folder = unpacked(version, tmp_path)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", ""), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "LD_LIBRARY_PATH": str(stubs(folder, version)), "PYTHONPATH": path},
        input=json.dumps(sorted(used())),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads(done.stdout)
    assert content["version"] == version
    expected = {use for use in used() if version in GUARDED.get(use, set(names.LISTED))}
    assert {tuple(pair) for pair in content["names"]} == expected
    assert content["said"] == ["first", ["only a warning"]]
    assert content["times"] == {"conv": [0.5]}
    assert content["types"] == ["float32", "float16"]
    assert content["flags"] == (1 if version == "8.6.1" else 0)
    assert content["refused"].startswith(f"TensorRT {version} does not start: ")
    if not version.startswith("11"):
        assert content["calibrator"] == [4, [4096], [4096], None]  # 9 images are two steps of 4
