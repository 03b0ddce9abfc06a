"""The base class of all runtimes, with defaults for everything that is optional."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprune_target import __version__
from edgeprune_target.errors import TargetError


class Runtime:
    """One model on one runtime; a context manager that loads the model on entry and frees it on exit.

    A runtime has a name and a library, and overrides ``load``, ``infer`` and ``versions``; the rest has defaults.
    The constructor only imports the library, so that the library's memory is not counted as the model's.

    name        of ``--runtime``
    library     the required Python package; None if none is required
    distribution its name for pip, where its version can be read without importing it
    install     the remedy if it is missing
    listed      whether a probe lists it; fakes for tests are not listed
    uses_gpu    whether it computes on a GPU, whose clock then matters
    timed_by    the program that runs and times the model itself (``run_benchmark``); None if ``infer`` does
    inputs      after entry: {name: (shape with None for a dynamic size, numpy type name)}
    warnings    ``[{"code", "message"}]`` about the loaded model
    record      the engine that was built for this machine, as JSON; None if nothing is built
    """

    name = ""
    library: str | None = None
    distribution = ""
    install = ""
    listed = True
    uses_gpu = False
    timed_by: str | None = None

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Store the arguments and import the library.

        Args:
            model: the model's file.
            threads: per inference.
            options: the ``EngineOptions``, for runtimes that build an engine.
        """
        self.model, self.threads, self.options = model, threads, options
        self.inputs: dict = {}
        self.warnings: list = []
        self.record: Any = None

    @classmethod
    def open(cls, model: str, threads: int, options: Any = None) -> Runtime:
        """Make the runtime; of a family of classes, the one whose library this machine has.

        Args:
            model: the model's file.
            threads: per inference.
            options: the ``EngineOptions``, for runtimes that build an engine.
        """
        return cls(model, threads, options)

    @classmethod
    def installed(cls, _root: str = "/") -> str | None:
        """Return the version of the library on this machine; None if it is not installed."""
        if cls.library is None:
            return __version__
        if cls.distribution and (known := distribution_version(cls.distribution)):
            return known
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
        """Free the resources of ``load``."""

    def infer(self, feed: dict) -> dict:
        """Run the model once, {input: array} -> {output: array}; may return before the computation has finished."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until all computations have finished."""

    def versions(self) -> dict:
        """Return {library: version}."""
        return {self.name: self.installed()}

    def prepare(self) -> bool:
        """Do the work that is needed once per machine and model (build an engine); return whether it was done now."""
        return False

    def engine_report(self) -> Any:
        """Return the engine's record as JSON; None if nothing is built."""
        return None

    def device_memory(self) -> Any:
        """Return the bytes on the device, as JSON; None if the device has no separate memory."""
        return None

    def gpu_pass(self, _feed: dict, _seconds: float) -> dict:
        """Return ``{"gpu_ns", "enqueue_ns"}``, lists from a separate pass; None without a GPU."""
        return {"gpu_ns": None, "enqueue_ns": None}

    def layers(self, _feed: dict, _seconds: float) -> list:
        """Return every layer with its time, from a separate pass (see ``trt.layers``); none by default."""
        return []

    def run_benchmark(self, _seconds: float, _during: tuple) -> dict:
        """Let the program ``timed_by`` time the model, with the contexts ``during`` open meanwhile.

        Returns:
            ``samples_ns``, ``warm_up``, ``window_runs``, and ``gpu_ns`` and ``enqueue_ns`` if there are any.
        """
        raise NotImplementedError


def has_magic(model: str, magic: bytes) -> bool:
    """Return whether a file is a flatbuffer of a kind, whose mark stands behind its first four bytes.

    Raises:
        TargetError: there is no such file.
    """
    path = Path(model)
    if not path.is_file():
        raise TargetError(f"no such model file: {model}")
    with path.open("rb") as file:
        return file.read(8)[4:] == magic


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_pieces(run: Any, feed: dict, size: int) -> dict:
    """Run a model of a fixed batch on as many images as there are; return {output: array} of all.

    Args:
        run: {input: array of ``size`` images} -> {output: array}.
        feed: {input: array}.
        size: the batch.

    Raises:
        TargetError: the batch does not divide the number of images.
    """
    count = len(next(iter(feed.values())))
    if count == size:
        outputs: dict = run(feed)
        return outputs
    if count % size:
        raise TargetError(f"the model's batch is {size}, which does not divide {count} images")
    import numpy

    pieces = [
        run({name: value[at : at + size] for name, value in feed.items()}) for at in range(0, count, size)
    ]
    return {name: numpy.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def distribution_version(distribution: str) -> str | None:
    """Return the version of an installed package by its name for pip; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
