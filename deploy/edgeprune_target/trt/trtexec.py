"""The program trtexec: its command lines by version, and what it writes (devices.md 3.3).

It is the way to TensorRT where Python has no module for it: JetPack 4, whose module is for Python 3.6.
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
PATIENCE_S = 60.0  # it loads hundreds of megabytes of libraries first, from an SD card
WARM_UP_MS = 200  # its own default in every version


class Times(NamedTuple):
    """Nanoseconds per inference: first byte in to last byte out; on the GPU alone; to hand it over."""

    samples_ns: list
    gpu_ns: list
    enqueue_ns: list


def find(root: str = "/") -> str | None:
    """The program below ``root``, where JetPack puts it, else on PATH; None when it is in neither."""
    folders = os.pathsep.join(str(Path(root) / folder) for folder in FOLDERS)
    return shutil.which("trtexec", path=folders) or shutil.which("trtexec")


def version_of(program: str) -> tuple | None:
    """(major, minor, patch) from the banner that it prints whatever it is asked; None when it prints none."""
    try:
        said = subprocess.run(
            [program, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE_S, check=False,
        ).stdout.decode(errors="replace")  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = BANNER.search(said)
    return banner_version(int(found.group(1))) if found else None


def banner_version(number: int) -> tuple:
    """8201 is 8.2.1 and 100300 is 10.3.0: NV_TENSORRT_VERSION has had a longer form from 10 on.

    >>> banner_version(8201), banner_version(101303)
    ((8, 2, 1), (10, 13, 3))
    """
    step = 1000 if number < 10_000 else 10_000
    major, rest = divmod(number, step)
    return major, *divmod(rest, 100)


def build_command(
    found: tuple, onnx: str, engine: str, *, precision: str, shapes: dict, workspace_mb: int | None = None,
    timing_cache: str | None = None,
) -> list:  # fmt: skip
    """The arguments that build an engine and do not run it. ``shapes`` is {input: shape}, of free ones."""
    words = [f"--onnx={onnx}", f"--saveEngine={engine}"]
    if not strongly_typed(found):
        words += {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]
    for option in ("minShapes", "optShapes", "maxShapes") if shapes else ():
        words.append(f"--{option}={shape_words(shapes)}")
    if workspace_mb is not None and found < (8, 5):
        words.append(f"--workspace={workspace_mb}")
    elif workspace_mb is not None:
        words.append(f"--memPoolSize=workspace:{workspace_mb}")
    if timing_cache:
        words.append(f"--timingCacheFile={timing_cache}")
    if found >= (8, 2):
        words.append("--profilingVerbosity=detailed")
    words.append("--skipInference" if found >= (8, 6) else "--buildOnly")
    return words


def run_command(found: tuple, engine: str, *, shapes: dict, seconds: float, times: str) -> list:
    """The arguments that time an engine: transfers counted, a CUDA graph, the processor waiting actively.

    Up to TensorRT 10 transfers are the default and the rest has to be asked for; from 11 on, the reverse.
    """
    words = [f"--loadEngine={engine}", f"--duration={seconds:g}", f"--warmUp={WARM_UP_MS}"]
    words += [f"--exportTimes={times}"]
    words += ["--includeDataTransfers"] if strongly_typed(found) else ["--useCudaGraph", "--useSpinWait"]
    return words + ([f"--shapes={shape_words(shapes)}"] if shapes else [])


def layer_command(found: tuple, engine: str, *, shapes: dict, seconds: float, files: tuple) -> list:
    """The arguments that time every layer; ``files`` are for the times and for what the layers are."""
    times, information = files
    words = [f"--loadEngine={engine}", f"--duration={seconds:g}", f"--exportProfile={times}"]
    if found >= (8, 2):
        words += [f"--exportLayerInfo={information}", "--profilingVerbosity=detailed"]
    if strongly_typed(found):
        words.append("--noCudaGraph")  # the profiler sees single layers only
    return words + ([f"--shapes={shape_words(shapes)}"] if shapes else [])


def shape_words(shapes: dict) -> str:
    """``{"input": (1, 3, 32, 32)}`` -> "input:1x3x32x32"."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def parse_times(text: str) -> Times:
    """Of --exportTimes."""
    entries = json.loads(text)
    return Times(
        [_ns(entry["latencyMs"]) for entry in entries],
        [_ns(entry["computeMs"]) for entry in entries],
        [_ns(entry["endEnqMs"] - entry["startEnqMs"]) for entry in entries],
    )


def parse_profile(text: str) -> dict:
    """Of --exportProfile: {layer: [median ms]}; before 8.4 there is only the mean."""
    return {
        entry["name"]: [entry.get("medianMs", entry.get("averageMs"))]
        for entry in json.loads(text)
        if "name" in entry
    }


def problem_of(lines: list) -> str:
    """The first thing that went wrong, in trtexec's words."""
    found = [match.group(1).strip() for match in map(PROBLEM.search, lines) if match]
    return next((words for words in found if words), lines[-1].strip() if lines else "it printed nothing")


def check_fit(found: tuple, onnx: Any, path: str, precision: str) -> None:
    """Refuse what trtexec would build wrongly: int8 with made-up scales; from 11 on another precision."""
    if precision == "int8" and not onnx.has_scales:
        raise TargetError(
            f"trtexec makes up int8 scales, and {Path(path).name} has none: give the one that "
            "'edgeprune export RUN --trt --precision int8' writes"
        )
    if strongly_typed(found) and precision == "fp16" and not onnx.half:
        raise TargetError(
            f"TensorRT {found[0]} takes the precision from the ONNX file, and {Path(path).name} computes in "
            "fp32: give the one that 'edgeprune export RUN --trt --precision fp16' writes"
        )


def _ns(milliseconds: float) -> int:
    return round(1e6 * milliseconds)
