"""What a runtime is: the base class of all of them, with a default for whatever a runtime need not do."""

from __future__ import annotations

from importlib import import_module
from types import TracebackType
from typing import Any

from edgeprune_target import __version__


class Runtime:
    """One model on one runtime; a context manager that loads the model on entering and frees it on leaving.

    A runtime has a name and a library, and overrides ``load``, ``infer`` and ``versions``; the rest has defaults.
    Making it imports the library and nothing more, so that the library's memory is not counted as the model's.

    name        as the runner is told it
    library     the Python package that must be there; None where none is needed
    install     what to do where it is missing
    listed      whether a probe names it; stand-ins for tests are not
    uses_gpu    whether it computes on a GPU, whose clock then matters
    timed_by    the program that runs and times the model itself (``run_benchmark``); None where ``infer`` does
    inputs      after entering: {name: (shape with None where it is free, numpy type name)}
    warnings    ``[{"code", "message"}]`` about what was loaded
    record      what was built for this machine, as JSON; None where nothing is built
    """

    name = ""
    library: str | None = None
    install = ""
    listed = True
    uses_gpu = False
    timed_by: str | None = None

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Keep what is wanted, and import the library.

        Args:
            model: the model's file.
            threads: that one inference may use.
            options: the ``EngineOptions``, for runtimes that build an engine.
        """
        self.model, self.threads, self.options = model, threads, options
        self.inputs: dict = {}
        self.warnings: list = []
        self.record: Any = None

    @classmethod
    def open(cls, model: str, threads: int, options: Any = None) -> Runtime:
        """Make the runtime; of a family of classes, the one that this machine has a library for."""
        return cls(model, threads, options)

    @classmethod
    def installed(cls, _root: str = "/") -> str | None:
        """Return the version of the library on this machine; None where it is not there."""
        if cls.library is None:
            return __version__
        try:
            return str(import_module(cls.library).__version__)
        except (ImportError, OSError, RuntimeError):  # NVIDIA's wheels raise the last without their libraries
            return None

    def __enter__(self) -> Runtime:
        self.load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    def load(self) -> None:
        """Load the model, and set ``inputs``."""
        raise NotImplementedError

    def free(self) -> None:
        """Give back what ``load`` took."""

    def infer(self, feed: dict) -> dict:
        """Run the model once: {input: array} -> {output: array}; may return before it is computed."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Return when all that was asked for has been computed."""

    def versions(self) -> dict:
        """Return {library: version}."""
        return {self.name: self.installed()}

    def prepare(self) -> bool:
        """Do what is done once per machine and model (build an engine); return whether it was done now."""
        return False

    def engine_report(self) -> Any:
        """Return what was built, as JSON; None where nothing is built."""
        return None

    def device_memory(self) -> Any:
        """Return bytes on the device, as JSON; None where there is no memory of its own."""
        return None

    def gpu_pass(self, _feed: dict, _seconds: float) -> dict:
        """Return ``{"gpu_ns", "enqueue_ns"}``, lists from a pass of its own; None where there is no GPU."""
        return {"gpu_ns": None, "enqueue_ns": None}

    def layers(self, _feed: dict, _seconds: float) -> list:
        """Return every layer with its time, from a pass of its own (see ``trt.layers``); none by default."""
        return []

    def run_benchmark(self, _seconds: float, _during: tuple) -> dict:
        """Have the model timed by the program ``timed_by``, with the contexts ``during`` open meanwhile.

        Returns:
            ``samples_ns``, ``warm_up``, ``window_runs``, and ``gpu_ns`` and ``enqueue_ns`` where there are any.
        """
        raise NotImplementedError
