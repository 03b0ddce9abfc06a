"""The program trtexec: its command lines by version, and its output (devices.md 3.3).

It gives access to TensorRT if Python has no module for it, as on JetPack 4, whose module is for Python 3.6.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from edgeprune_target.errors import TargetError
from edgeprune_target.trt.library import strongly_typed

FOLDERS = ("usr/src/tensorrt/bin", "usr/local/tensorrt/bin", "usr/bin")
BANNER = re.compile(r"&&&& RUNNING TensorRT\.trtexec \[TensorRT v(\d+)\]")
PROBLEM = re.compile(r"\[E\]\s*(.*)")
STARTS = "Starting inference"  # printed once loading is over; the warm-up comes next
WARMED = re.compile(r"Warmup completed (\d+) queries over ([-+.\deE]+) ms")
TIMEOUT_S = 60.0  # it first loads hundreds of megabytes of libraries, from an SD card
WARM_UP_MS = 200  # its own default in every version


class TrtexecTimes(NamedTuple):
    """Nanoseconds per inference: from the first byte in to the last byte out; on the GPU; to enqueue it."""

    samples_ns: list
    gpu_ns: list
    enqueue_ns: list


def find_trtexec(root: str = "/") -> str | None:
    """Return the program's path in JetPack's folders below ``root``, else on PATH; None if it is in neither."""
    folders = os.pathsep.join(str(Path(root) / folder) for folder in FOLDERS)
    return shutil.which("trtexec", path=folders) or shutil.which("trtexec")


def trtexec_version(program: str) -> tuple | None:
    """Return (major, minor, patch) from the banner that it prints with any options; None if it prints none."""
    try:
        output = subprocess.run(
            [program, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S, check=False,
        ).stdout.decode(errors="replace")  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    banner = BANNER.search(output)
    return banner_version(int(banner.group(1))) if banner else None


def banner_version(number: int) -> tuple:
    """Parse NV_TENSORRT_VERSION, which is longer from 10 on: 8201 is 8.2.1 and 100300 is 10.3.0.

    >>> banner_version(8201), banner_version(101303)
    ((8, 2, 1), (10, 13, 3))
    """
    step = 1000 if number < 10_000 else 10_000
    major, rest = divmod(number, step)
    return major, *divmod(rest, 100)


def build_command(
    version: tuple, onnx: str, engine: str, *, precision: str, shapes: dict, workspace_mb: int | None = None,
    timing_cache: str | None = None,
) -> list:  # fmt: skip
    """Return the arguments that build an engine without running it.

    Args:
        version: of TensorRT.
        onnx: path of the ONNX file.
        engine: path of the engine to write.
        precision: fp32, fp16 or int8.
        shapes: {input: shape} of inputs with dynamic sizes.
        workspace_mb: upper limit of a kernel's scratch memory; None for TensorRT's default.
        timing_cache: a file of kernel timings.
    """
    words = [f"--onnx={onnx}", f"--saveEngine={engine}"]
    if not strongly_typed(version):
        words += {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]
    for option in ("minShapes", "optShapes", "maxShapes") if shapes else ():
        words.append(f"--{option}={shape_words(shapes)}")
    if workspace_mb is not None and version < (8, 5):
        words.append(f"--workspace={workspace_mb}")
    elif workspace_mb is not None:
        words.append(f"--memPoolSize=workspace:{workspace_mb}")
    if timing_cache:
        words.append(f"--timingCacheFile={timing_cache}")
    if version >= (8, 2):
        words.append("--profilingVerbosity=detailed")
    words.append("--skipInference" if version >= (8, 6) else "--buildOnly")
    return words


def run_command(version: tuple, engine: str, *, shapes: dict, seconds: float, times: str) -> list:
    """Return the arguments that time an engine: including transfers, with a CUDA graph and spin waiting.

    Up to TensorRT 10 only transfers are the default; from 11 on only the others are.

    Args:
        version: of TensorRT.
        engine: path of the engine.
        shapes: {input: shape} of inputs with dynamic sizes.
        seconds: duration.
        times: path of the file of times to write.
    """
    words = [f"--loadEngine={engine}", f"--duration={seconds:g}", f"--warmUp={WARM_UP_MS}"]
    words += [f"--exportTimes={times}"]
    words += ["--includeDataTransfers"] if strongly_typed(version) else ["--useCudaGraph", "--useSpinWait"]
    return words + ([f"--shapes={shape_words(shapes)}"] if shapes else [])


def layer_command(version: tuple, engine: str, *, shapes: dict, seconds: float, files: tuple) -> list:
    """Return the arguments that time every layer.

    Args:
        version: of TensorRT.
        engine: path of the engine.
        shapes: {input: shape} of inputs with dynamic sizes.
        seconds: duration.
        files: paths to write: of the layers' times, and of their descriptions.
    """
    times, information = files
    words = [f"--loadEngine={engine}", f"--duration={seconds:g}", f"--exportProfile={times}"]
    if version >= (8, 2):
        words += [f"--exportLayerInfo={information}", "--profilingVerbosity=detailed"]
    if strongly_typed(version):
        words.append("--noCudaGraph")  # the profiler sees single layers only
    return words + ([f"--shapes={shape_words(shapes)}"] if shapes else [])


def shape_words(shapes: dict) -> str:
    """Format ``{"input": (1, 3, 32, 32)}`` as "input:1x3x32x32"."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def parse_times(text: str) -> TrtexecTimes:
    """Parse the file of --exportTimes."""
    entries = json.loads(text)
    return TrtexecTimes(
        [_ns(entry["latencyMs"]) for entry in entries],
        [_ns(entry["computeMs"]) for entry in entries],
        [_ns(entry["endEnqMs"] - entry["startEnqMs"]) for entry in entries],
    )


def parse_layer_times(text: str) -> dict:
    """Parse the file of --exportProfile to {layer: [median ms]}; before 8.4 there is only the mean."""
    return {
        entry["name"]: [entry.get("medianMs", entry.get("averageMs"))]
        for entry in json.loads(text)
        if "name" in entry
    }


def problem_of(lines: list) -> str:
    """Return the first error message in trtexec's output."""
    problems = [match.group(1).strip() for match in map(PROBLEM.search, lines) if match]
    return next((words for words in problems if words), lines[-1].strip() if lines else "it printed nothing")


def check_fit(version: tuple, onnx: Any, path: str, precision: str) -> None:
    """Refuse what trtexec would build wrongly: int8 with made-up scales; from 11 on another precision.

    Args:
        version: of TensorRT.
        onnx: the file's `OnnxSummary`.
        path: of the ONNX file, for messages.
        precision: fp32, fp16 or int8.

    Raises:
        TargetError: the file does not have that precision.
    """
    if precision == "int8" and not onnx.has_scales:
        raise TargetError(
            f"trtexec makes up int8 scales, and {Path(path).name} has none: give the one that "
            "'edgeprune export RUN --trt --precision int8' writes"
        )
    if strongly_typed(version) and precision == "fp16" and not onnx.half:
        raise TargetError(
            f"TensorRT {version[0]} takes the precision from the ONNX file, and {Path(path).name} computes in "
            "fp32: give the one that 'edgeprune export RUN --trt --precision fp16' writes"
        )


def _ns(milliseconds: float) -> int:
    return round(1e6 * milliseconds)
