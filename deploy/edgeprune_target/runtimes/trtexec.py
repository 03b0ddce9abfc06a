"""TensorRT through its program trtexec, which times an engine by itself and returns no outputs."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable

from edgeprune_target.errors import TargetError
from edgeprune_target.feeds import with_batch
from edgeprune_target.parent import die_with_parent
from edgeprune_target.runtimes.tensorrt import TensorRtRuntime
from edgeprune_target.scratch import scratch_folder
from edgeprune_target.trt import layers, store, trtexec
from edgeprune_target.trt.making import device_key, workspace_bytes
from edgeprune_target.trt.onnx_file import read_onnx
from edgeprune_target.trt.options import EngineOptions

MB = 1 << 20


class TrtexecRuntime(TensorRtRuntime):
    """One engine. There is no ``infer``: ``run_benchmark`` times it in a separate process."""

    timed_by = "trtexec"

    def __init__(self, program: str, model: str, threads: int, options: EngineOptions) -> None:
        """Read the program's version.

        Args:
            program: trtexec's path.
            model: an ONNX file.
            threads: not used.
            options: of the engine.

        Raises:
            TargetError: it prints no version.
        """
        version = trtexec.trtexec_version(program)
        if version is None:
            raise TargetError(f"{program} does not start: it prints no version")
        super().__init__(model, threads, options.checked())
        self.program, self.version = program, version
        self.record: dict = {}
        self._place: Path | None = None
        self._shapes: dict = {}

    def prepare(self) -> bool:
        """Find or build the engine; return whether it was built now."""
        onnx = read_onnx(self.model)
        trtexec.check_fit(self.version, onnx, self.model, self.options.precision)
        sizes = {name: self._size(name, shape, onnx.inputs) for name, shape in onnx.inputs.items()}
        self._shapes = {name: size for name, size in sizes.items() if None in onnx.inputs[name]}
        self.inputs = {name: (size, "float32") for name, size in sizes.items()}
        key = self._key()
        folder = Path(self.options.folder) if self.options.folder else store.engine_folder()
        self._place = store.place_of(folder, Path(self.model).stem, key)
        record = store.find_engine(self._place, key)
        if record is None:
            start = time.perf_counter()
            content = self._built()
            record = store.keep(self._place, content, self._record(key, sizes, time.perf_counter() - start))
            self.record = {**record, "built_now": True}
            return True
        self.record = {**record, "built_now": False}
        return False

    def load(self) -> None:
        """Find or build the engine."""
        if self._place is None:
            self.prepare()

    def free(self) -> None:
        """Forget the engine's path."""
        self._place = None

    def infer(self, _feed: dict) -> dict:
        """Raise TargetError: trtexec returns no outputs."""
        raise TargetError(
            "trtexec times an engine and gives no answers, so nothing can be said of its accuracy: install "
            "TensorRT's Python module, or onnxruntime, on this board"
        )

    def versions(self) -> dict:
        """Return TensorRT's version and trtexec's path."""
        return {"tensorrt": ".".join(map(str, self.version)), "trtexec": self.program}

    def engine_report(self) -> dict:
        """Return the engine's record, and how it was timed."""
        return {
            **super().engine_report(),
            "cuda_graph": True,
            "cuda_graph_reason": None,
            "samples": "trtexec's GPU events: from the start of the copy in to the end of the copy out",
        }

    def run_benchmark(self, seconds: float, during: tuple) -> dict:
        """Let trtexec time the engine for ``seconds``; the contexts ``during`` are open from after loading to the end.

        ``window_runs`` includes the warm-up: it consumes energy in the window.
        """
        started: list = []
        warmed: list = []

        def on_line(line: str) -> None:
            if trtexec.STARTS in line and not started:
                started.extend(opened.enter_context(context) for context in during)
            warm_up = trtexec.WARMED.search(line)
            if warm_up and started and not warmed:
                opened.close()
                warmed.append((int(warm_up.group(1)), float(warm_up.group(2)) / 1e3))

        with ExitStack() as opened, scratch_folder() as folder:
            file = Path(folder) / "times.json"
            self._run(
                trtexec.run_command(
                    self.version, str(self._place), shapes=self._shapes, seconds=seconds, times=str(file)
                ),
                on_line,
            )
            times = trtexec.parse_times(file.read_text())
        if not warmed:
            raise TargetError(
                f"{self.program} did not say when it had finished: its output is of a version unknown here"
            )
        runs, warm_s = warmed[0]
        return {
            "samples_ns": times.samples_ns,
            "gpu_ns": times.gpu_ns,
            "enqueue_ns": times.enqueue_ns,
            "warm_up": {"runs": runs, "seconds": warm_s},
            "window_runs": runs + len(times.samples_ns),
        }

    def layers(self, _feed: dict, seconds: float) -> list:
        """Return every layer with its median (before 8.4 mean) time."""
        with scratch_folder() as folder:
            files = (f"{folder}/times.json", f"{folder}/layers.json")
            self._run(
                trtexec.layer_command(
                    self.version, str(self._place), shapes=self._shapes, seconds=seconds, files=files
                )
            )
            described = Path(files[1])
            known = layers.parse_layers(described.read_text()) if described.is_file() else []
            return layers.timed_layers(known, trtexec.parse_layer_times(Path(files[0]).read_text()))

    def _size(self, name: str, shape: tuple, inputs: dict) -> tuple:
        fixed_shape = self.options.shapes.get(
            name, self.options.shapes.get("") if name == next(iter(inputs)) else None
        )
        return tuple(fixed_shape) if fixed_shape else with_batch(name, shape, self.options.batch)

    def _key(self) -> dict:
        options = self.options
        return store.key_of(
            tensorrt=".".join(map(str, self.version)),
            onnx_sha256=store.sha256_of(self.model),
            precision=options.precision,
            batch=options.batch,
            shapes=options.shapes,
            workspace_mb=options.workspace_mb,
            calibration_sha256=None,
            built_by="trtexec",
            **device_key(None, options.root),
        )

    def _record(self, key: dict, sizes: dict, seconds: float) -> dict:
        return {
            "key": key,
            "tensorrt": key["tensorrt"],
            "gpu": key["gpu"],
            "compute": None,
            "precision": key["precision"],
            "precision_from": "onnx" if self.version[0] >= 11 else "flags",
            "calibration_images": 0,
            "shapes": {name: [list(size)] * 3 for name, size in sizes.items()},
            "onnx_sha256": key["onnx_sha256"],
            "build_s": seconds,
            "warnings": [],
        }

    def _built(self) -> bytes:
        size = workspace_bytes(self.version, self.options)
        with scratch_folder() as folder:
            engine = Path(folder) / "model.engine"
            self._run(
                trtexec.build_command(
                    self.version,
                    self.model,
                    str(engine),
                    precision=self.options.precision,
                    shapes=self._shapes,
                    workspace_mb=max(1, size // MB) if size else None,
                    timing_cache=self.options.timing_cache,
                )
            )
            return engine.read_bytes()

    def _run(self, words: list, on_line: Callable[[str], None] = lambda _line: None) -> None:
        """Run trtexec to its end and pass on each line of output; raises TargetError with its message if it fails."""
        try:
            child = subprocess.Popen(
                [self.program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", preexec_fn=die_with_parent(),
            )  # fmt: skip
        except OSError as error:
            raise TargetError(f"cannot start {self.program}: {error.strerror}") from error
        lines = []
        try:
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line)
                on_line(line)
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code != 0:
            raise TargetError(f"trtexec failed: {trtexec.problem_of(lines)}")
