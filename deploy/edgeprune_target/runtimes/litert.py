"""LiteRT (once TensorFlow Lite) on the CPU, with its XNNPACK delegate."""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePath
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime, distribution_version, first_line, has_magic, in_pieces

PACKAGES = {
    "ai_edge_litert": "ai-edge-litert",
    "tflite_runtime": "tflite-runtime",
}  # today's name, and the older one
DELEGATE = "DELEGATE"
MAGIC = b"TFL3"


class LiteRtRuntime(Runtime):
    """One interpreter; a file with a fixed batch runs on larger ones piece by piece."""

    name = "litert"
    library, distribution = "ai_edge_litert", "ai-edge-litert"

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Import the library."""
        super().__init__(model, threads, options)
        self.package = next((name for name in PACKAGES if distribution_version(PACKAGES[name])), self.library)
        self.make = import_module(f"{self.package}.interpreter").Interpreter
        self.interpreter: Any = None

    @classmethod
    def installed(cls, _root: str = "/") -> str | None:
        """Return the version of the package, under its present or its older name."""
        return next(filter(None, map(distribution_version, PACKAGES.values())), None)

    def load(self) -> None:
        """Read the model, and apply the delegate."""
        if not has_magic(self.model, MAGIC):
            raise self._refusal("it is no .tflite file")
        try:
            self.interpreter = self.make(model_path=self.model, num_threads=self.threads)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise self._refusal(first_line(error)) from error
        self.details = {item["name"]: item for item in self.interpreter.get_input_details()}
        self.outputs = {item["name"]: item["index"] for item in self.interpreter.get_output_details()}
        self.inputs = {
            name: (tuple(map(int, item["shape"])), item["dtype"].__name__)
            for name, item in self.details.items()
        }

    def free(self) -> None:
        """Drop the interpreter."""
        self.interpreter = None

    def infer(self, feed: dict) -> dict:
        """Run the model; more images than its batch go through it in pieces."""
        return in_pieces(self._run, feed, next(iter(self.inputs.values()))[0][0])

    def _run(self, feed: dict) -> dict:
        for name, value in feed.items():
            self.interpreter.set_tensor(self.details[name]["index"], value)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.outputs.items()}

    def versions(self) -> dict:
        """Return the library's version."""
        return {"litert": self.installed()}

    def delegation(self) -> dict:
        """Return ``{"ops", "delegated", "partitions", "left": {op: number}}``: what XNNPACK took, and what not."""
        nodes = self.interpreter._get_ops_details()  # the library has no public way
        own = [node for node in nodes if node["op_name"] != DELEGATE]
        parts = [node for node in nodes if node["op_name"] == DELEGATE]
        taken = _inside(own, parts)
        left: dict = {}
        for index, node in enumerate(own):
            if index not in taken:
                left[node["op_name"]] = left.get(node["op_name"], 0) + 1
        return {"ops": len(own), "delegated": len(taken), "partitions": len(parts), "left": left}

    def _refusal(self, reason: str) -> TargetError:
        return TargetError(
            f"{self.package} {self.installed()} cannot load {PurePath(self.model).name}: {reason}: export the model "
            "again, or install a newer one"
        )


def _inside(own: list, parts: list) -> set:
    """Return the places of the ops that delegates replace: from a delegate's outputs back to its inputs."""
    makers = {int(value): index for index, node in enumerate(own) for value in node["outputs"]}
    taken: set = set()
    for part in parts:
        stops = set(map(int, part["inputs"]))
        waiting = [int(value) for value in part["outputs"]]
        while waiting:
            value = waiting.pop()
            index = makers.get(value)
            if index is None or index in taken:
                continue
            taken.add(index)
            waiting += [int(read) for read in own[index]["inputs"] if int(read) not in stops]
    return taken
