"""A stand-in for the program trtexec: it has the flags of its version (devices.md 3.3) and no others.

``install(folder, version)`` puts it where JetPack does. Its engine is a small JSON; an inference takes 2 ms
in all, of which 1.5 ms on the GPU and 0.25 ms to hand over. What it prints follows recorded output, a line
at a time.
"""

import sys
from pathlib import Path

ALWAYS = {
    "onnx",
    "saveEngine",
    "loadEngine",
    "shapes",
    "minShapes",
    "optShapes",
    "maxShapes",
    "duration",
    "warmUp",
    "exportTimes",
    "exportProfile",
    "exportLayerInfo",
    "profilingVerbosity",
    "timingCacheFile",
}
OLD = {"fp16", "int8", "useCudaGraph", "useSpinWait"}  # gone in 11, the last two but as words without effect
BANNERS = {"8.2.1": 8201, "8.5.2": 8502, "8.6.1": 8601, "10.3.0": 100300, "10.13.3": 101303, "11.4.0": 110400}


def flags(version: str) -> set[str]:
    """Options that this version takes."""
    numbers = tuple(int(part) for part in version.split("."))
    flags = set(ALWAYS)
    if numbers < (11,):
        flags |= OLD
    if numbers < (10,):
        flags |= {"workspace", "buildOnly"}
    if numbers >= (8, 5):
        flags |= {"memPoolSize"}
    if numbers >= (8, 6):
        flags |= {"skipInference"}
    if numbers >= (11,):
        flags |= {"includeDataTransfers", "noCudaGraph", "useCudaGraph", "useSpinWait"}
    return flags


def install(root: Path, version: str, *, queries: int = 40) -> Path:
    """The program below ``root``; every command line goes into ``trtexec.log`` beside it."""
    place = root / "usr/src/tensorrt/bin/trtexec"
    place.parent.mkdir(parents=True, exist_ok=True)
    words = {
        "PYTHON": sys.executable,
        "NUMBER": str(BANNERS[version]),
        "FLAGS": repr(sorted(flags(version))),
        "QUERIES": str(queries),
        "MEDIAN": repr(version != "8.2.1"),  # no medianMs before 8.4
        "NEW": repr(version.startswith("11")),
    }
    text = SCRIPT
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    place.write_text(text)
    place.chmod(0o755)
    return place


SCRIPT = r"""#!@PYTHON@ -S
import json, sys, time
from pathlib import Path

with open(__file__ + ".log", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\n")
name = "TensorRT.trtexec [TensorRT v@NUMBER@]"
tail = "# " + " ".join(sys.argv)


def say(text, level="I"):
    print(f"[08/11/2022-06:55:33] [{level}] {text}", flush=True)


print(f"&&&& RUNNING {name} {tail}", flush=True)
if "--help" in sys.argv:
    print("=== Model Options ===")
    sys.exit(0)


def fail(text):
    say(text, "E")
    print(f"&&&& FAILED {name} {tail}", flush=True)
    sys.exit(1)


given = {}
for word in sys.argv[1:]:
    key, _, value = word[2:].partition("=")
    if key not in @FLAGS@:
        fail(f"Unknown option: {word}")
    given[key] = value
if "onnx" in given:
    content = Path(given["onnx"]).read_bytes()
    if b"Unheard" in content:
        fail("Failed to parse onnx file")
    plan = {"size": len(content), "shapes": given.get("optShapes"), "flags": sorted(given)}
    Path(given["saveEngine"]).write_text(json.dumps(plan))
    if not {"buildOnly", "skipInference"} & set(given):
        fail("the stand-in only builds")
    print(f"&&&& PASSED {name} {tail}", flush=True)
    sys.exit(0)
plan = json.loads(Path(given["loadEngine"]).read_text())
if plan["shapes"] != given.get("shapes"):
    fail("Static dimension mismatch while setting input shape")
time.sleep(0.05)
say("Starting inference")
time.sleep(float(given["duration"]))
if "exportProfile" in given:
    if @NEW@ and "noCudaGraph" not in given:
        fail("the profiler needs single launches")
    both = "conv1 + relu1"
    layers = [(f"Reformatting CopyNode for Input Tensor 0 to {both}", 0.25), (both, 1.25)]
    found = [{"count": 100}]
    for layer, ms in layers:
        entry = {"name": layer, "timeMs": 100 * ms, "averageMs": 2 * ms, "percentage": 50}
        if @MEDIAN@:
            entry["medianMs"] = ms
        found.append(entry)
    Path(given["exportProfile"]).write_text(json.dumps(found))
    if "exportLayerInfo" in given:
        kinds = ("Reformat", "CaskConvolution")
        about = [{"Name": name, "LayerType": kind} for (name, _), kind in zip(layers, kinds)]
        Path(given["exportLayerInfo"]).write_text(json.dumps({"Layers": about, "Bindings": []}))
    print(f"&&&& PASSED {name} {tail}", flush=True)
    sys.exit(0)
say(f"Warmup completed 10 queries over {float(given['warmUp']):g} ms")
say("Timing trace has @QUERIES@ queries over 3.0 s")
times = []
for index in range(@QUERIES@):
    start = 2.0 * index
    times.append({
        "startEnqMs": start, "endEnqMs": start + 0.25, "startH2dMs": start, "endH2dMs": start + 0.25,
        "startComputeMs": start + 0.25, "endComputeMs": start + 1.75, "startD2hMs": start + 1.75,
        "endD2hMs": start + 2.0, "h2dMs": 0.25, "computeMs": 1.5, "d2hMs": 0.25, "latencyMs": 2.0,
    })
Path(given["exportTimes"]).write_text(json.dumps(times))
say("Throughput: 2.54521e+06 qps")
print(f"&&&& PASSED {name} {tail}", flush=True)
"""
