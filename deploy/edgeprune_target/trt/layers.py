"""Describe an engine layer by layer: times from TensorRT's profiler, formats and ONNX names from its inspector.

A layer is ``{"name", "kind", "onnx", "ms", "outputs", "formats", "reformat"}``: its name in the engine,
its kind, the ONNX nodes it was built from, its median time, the shapes and formats of its outputs,
and whether it only changes a format. Unknown values are None, or an empty list.
"""

from __future__ import annotations

import json
import re
from statistics import median
from typing import Any

# In "Metadata" the nodes of one layer are separated by control characters, \x1f and \x1e.
ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
COPY = re.compile(
    r"Reformatting CopyNode for (?:Network )?(?:Input|Output)(?: Tensor \d+)?(?: (?:to|from))? (.*)"
)
REFORMAT = "Reformat"


def make_profiler(trt: Any) -> Any:
    """Make a profiler that collects ``profiler.times``: {layer: [milliseconds]}, one value per inference."""

    class Profiler(trt.IProfiler):
        """Called by TensorRT after every inference, once per layer."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """Store a layer's time."""
            self.times.setdefault(layer_name, []).append(float(ms))

    return Profiler()


def attach(context: Any, profiler: Any) -> bool:
    """Profile the runs of ``context``; return whether ``report_to_profiler`` must be called after each run."""
    context.profiler = profiler
    if not hasattr(context, "report_to_profiler"):  # before 8.2 every run synchronizes and reports by itself
        return False
    context.enqueue_emits_profile = False
    return True


def inspect_layers(trt: Any, engine: Any) -> list:
    """Return the engine's layers, in order; empty without an inspector (before 8.2)."""
    if not hasattr(engine, "create_engine_inspector"):
        return []
    inspector = engine.create_engine_inspector()
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(text: str) -> list:
    """Parse the inspector's JSON, or that of trtexec's --exportLayerInfo, to layers without times.

    From TensorRT 11 on a format has two parts; an engine that was built without detail has only names.
    """
    try:
        information = json.loads(text)
    except ValueError:
        return []
    layers = information.get("Layers", []) if isinstance(information, dict) else []
    return [_layer(entry) for entry in layers]


def timed_layers(layers: list, times: dict) -> list:
    """Add ``ms``, the median of ``times``, to ``layers``; layers that are timed but not described come last."""
    known = {layer["name"]: layer for layer in layers}
    names = [*known, *[name for name in times if name not in known]]
    return [
        {**known.get(name, _layer(name)), "ms": median(times[name]) if times.get(name) else None}
        for name in names
    ]


def onnx_names(name: str, metadata: str) -> list:
    """Return the ONNX nodes that a layer was built from, by its metadata or else its name."""
    named = ONNX_LAYER.findall(metadata)
    if named:
        return list(dict.fromkeys(named))
    copied = COPY.fullmatch(name)
    plain = copied.group(1) if copied else name
    while "PWN(" in plain:  # fused pointwise nodes
        plain = plain.replace("PWN(", "", 1).replace(")", "", 1)
    parts = [part.strip() for part in re.split(r" \+ | \|\| |, ", plain)]
    return [part for part in parts if part and not part.startswith("(Unnamed Layer")]


def _layer(entry: Any) -> dict:
    if not isinstance(entry, dict):  # built without detail: there is only the name
        entry = {"Name": str(entry)}
    name, kind = str(entry.get("Name", "")), entry.get("LayerType")
    outputs = [output for output in entry.get("Outputs", []) if isinstance(output, dict)]
    return {
        "name": name,
        "kind": kind,
        "onnx": onnx_names(name, str(entry.get("Metadata", ""))),
        "ms": None,
        "outputs": [list(output.get("Dimensions", [])) for output in outputs],
        "formats": [_format(output) for output in outputs],
        "reformat": kind == REFORMAT or name.startswith("Reformatting CopyNode"),
    }


def _format(output: dict) -> str:
    parts = [output.get("Format/Datatype"), output.get("Format"), output.get("Datatype")]
    return " ".join(str(part) for part in parts if part)
