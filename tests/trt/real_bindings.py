"""NVIDIA's own Python bindings over empty libraries: all of their names, none of their work.

The bindings are on the package index; the libraries that they call are 2 GB more and want a driver. So the
few C functions that the bindings link against are made here by gcc, each returning NULL.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

WHEELS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.13.3.9": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16.1.11": "tensorrt-cu13-bindings==10.16.1.11",
    "11.4.0.106": "tensorrt-cu13-bindings==11.4.0.106",
}
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")
LINKED = (
    "_INTERNAL",
    "PluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    "nvuffparser",
    "nvcaffeparser",
)


def unpacked(version: str, folder: Path) -> Path:
    """The bindings of a version below ``folder``; skips the test when they cannot be had, and says why."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--timeout", "20", "--retries", "0", "--dest", str(wheels), WHEELS[version]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    result = list(wheels.glob("*.whl"))
    if not result:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        pytest.skip(f"{WHEELS[version]} cannot be had here: {last}")
    with zipfile.ZipFile(result[0]) as wheel:
        wheel.extractall(folder)
    return folder


def stubs(folder: Path, version: str) -> Path:
    """Empty libraries for the bindings in ``folder``."""
    (extension,) = folder.rglob("tensorrt.so")
    lines = run("nm", "-D", "--undefined-only", str(extension)).splitlines()
    symbols = [line.split()[-1] for line in lines if any(part in line for part in LINKED)]
    code = [
        f'void* f{i}(void) __asm__("{name}"); void* f{i}(void) {{ return 0; }}'
        for i, name in enumerate(symbols)
    ]
    place = folder / "stub"
    place.mkdir()
    (place / "s.c").write_text("\n".join(code) + "\n")
    major = version.split(".")[0]
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        run("gcc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(place / file), str(place / "s.c"))
    return place


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
