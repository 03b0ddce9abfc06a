"""Hold one measurement in progress: its rounds so far, and the calls that add to them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune_target.pauses import pauses

from edgeprune.backends import for_runtime, target_packages
from edgeprune.backends.base import MODELS, Backend
from edgeprune.bench.files import Files, LooseFiles
from edgeprune.bench.local import Transport
from edgeprune.bench.options import BenchOptions, schedule
from edgeprune.bench.replies import call
from edgeprune.bench.words import engine_words, model_words, runtime_words, sensor_words
from edgeprune.errors import BenchError, ConnectionLost
from edgeprune.processes.progress import ProgressCallback

MOST_PAUSED = 0.01  # of a round's time: more would show in the throughput
MOST_DISCARDED = 4  # pairs of rounds; a machine that keeps stopping is what it is, and the result warns of it

Round = dict[str, Any]


@dataclass
class Session:
    """What is measured and how it is reached; ``rounds`` and ``discarded`` fill up.

    Attributes:
        files: name -> model file, as it is measured.
        source: where files come from once the runtime is known; None for ``files`` themselves.
        originals: name -> the file that it is a private copy of; empty where it is measured itself.
        options: what was asked for.
        transport: to the runner.
        progress: called with ``(done, total, text)``; one unit is one round, or the scoring of one model.
        feed_shapes: input -> shape, batch included, where it is not the model's own; "" is the first input.
        names: of the models, a pair or one.
        scoring: whether accuracy follows, so that the total is right.
        rounds: name -> the runner's answers, in order.
        segment: how often the measurement was resumed; each round keeps it.
        discarded: what interrupted pairs of rounds that were measured again.
    """

    files: Mapping[str, Path]
    options: BenchOptions
    transport: Transport
    progress: ProgressCallback
    feed_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    names: tuple[str, ...] = MODELS
    scoring: bool = False
    rounds: dict[str, list[Round]] = field(default_factory=lambda: defaultdict(list))
    segment: int = 0
    discarded: list[str] = field(default_factory=list)
    originals: Mapping[str, Path] = field(default_factory=dict)
    source: Files | None = None

    @property
    def total(self) -> int:
        """Units of work in all."""
        return len(self.names) * (self.options.round_count + self.scoring)

    @property
    def backend(self) -> Backend | None:
        """The backend whose files the runtime runs; None for a stand-in."""
        return for_runtime(self.options.device.runtime, self.options.device.precision)

    @property
    def builds_engines(self) -> bool:
        """Whether the runtime makes an engine of its own from each file."""
        return self.backend is not None and self.backend.builds_on_target

    @property
    def sensors(self) -> str:
        """The device's power sensors, as the runner takes them."""
        return ",".join(self.options.device.sensors) or "none"

    def chosen(self, fingerprint: Mapping[str, Any]) -> "Session":
        """Return this session with the first runtime of the device's profile that the machine has.

        Raises:
            BenchError: it has none of them, or needs files that were not exported.
        """
        device = self.options.device.running_on(
            fingerprint["runtimes"], target_packages(), fingerprint.get("runtime_reasons")
        )
        session = replace(self, options=replace(self.options, device=device))
        if session.backend is None:
            return session
        version = fingerprint["runtimes"].get(device.runtime)
        source = self.source or LooseFiles(self.files)
        named = f"{session.backend.title or device.runtime} {version}"
        return replace(session, files=source.of(session.backend.measured_file(version), named))

    def onnx_file(self, name: str) -> Path:
        """Return the ONNX file that says what a model's layers are called: for other kinds, the one beside it.

        Args:
            name: of the model.
        """
        path = Path(self.files[name])
        onnx = self.source.onnx(name) if self.source and path.suffix != ".onnx" else None
        return onnx or path

    def probe(self) -> dict[str, Any]:
        """Return the machine's fingerprint; the probe sleeps meanwhile, so that it does not count as load."""
        self.progress(0, self.total, "looking at the machine")
        device = self.options.device
        words = runtime_words(self.transport, device.runtimes or [device.runtime])
        fingerprint: dict[str, Any] = call(self.transport, "probe", ["--sensors", self.sensors, *words])
        return fingerprint

    def resumed(self, pairs: Sequence[Mapping[str, Round]]) -> "Session":
        """Return this session with the rounds of earlier segments."""
        rounds = {name: [pair[name] for pair in pairs] for name in self.names}
        last = max((reply.get("stretch", 0) for reply in rounds[self.names[0]]), default=-1)
        return replace(self, rounds=rounds, segment=last + 1)

    def paired_rounds(self, threads: int) -> Iterator[None]:
        """Measure a round of each model at a time, in a fresh process each, with none other of ours alive.

        A second session alive would take the cores with its spinning threads, and ruin the ratios. A pair in
        which something stopped the runner is measured again, a few times in all.
        """
        for pair in schedule(self.options.round_count, self.names)[len(self.rounds[self.names[0]]) :]:
            rounds = self.pair_of_rounds(pair, threads)
            while len(self.discarded) < MOST_DISCARDED and (pause := interruption(rounds.values())):
                self.discarded.append(pause)
                rounds = self.pair_of_rounds(pair, threads)
            for name in pair:
                self.rounds[name].append(rounds[name])
            yield

    def pair_of_rounds(self, pair: Sequence[str], threads: int) -> dict[str, Round]:
        """Measure one round of each model, in this order."""
        rounds: dict[str, Round] = {}
        for name in pair:
            done = sum(map(len, self.rounds.values())) + len(rounds)
            text = f"{name}: round {len(self.rounds[name]) + 1} of {self.options.round_count}"
            self.progress(done, self.total, text)
            rounds[name] = self.measure(name, threads)
        return rounds

    def measure(self, name: str, threads: int) -> Round:
        """Measure one round of one model."""
        path, options = self.files[name], self.options
        arguments = [
            *("--model", self.transport.send(path)),
            *self.words(threads),
            *("--seconds", str(options.round_seconds)),
            *(("--cool-to", str(options.cool_to)) if options.cool_to is not None else ()),
            *sensor_words(options.device),
        ]
        try:
            answer: Round = call(self.transport, "measure", arguments)
        except ConnectionLost:
            raise
        except BenchError as error:
            raise BenchError(f"measuring {name} ({path.name}) failed: {error}") from error
        if answer.get("summary") and options.sustained is not None:
            raise BenchError(f"{answer['summary']['reason']}, and `sustained` needs them: leave it out")
        return {**answer, "stretch": self.segment}

    def words(self, threads: int) -> list[str]:
        """Return the arguments of every verb that loads a model."""
        words = model_words(self.transport, self.options.device, self.options.batch, threads)
        for name, shape in self.feed_shapes.items():
            words += ["--shape", f"{name}{'=' if name else ''}{'x'.join(map(str, shape))}"]
        return words

    def scoring_words(self) -> list[str]:
        """Return the runner's arguments beside runtime, batch and threads when it scores a model."""
        device = self.options.device
        return [*engine_words(device), *runtime_words(self.transport, [device.runtime])]

    def build(self, threads: int) -> None:
        """Build the engines before anything is timed, where the runtime needs them."""
        for name in self.names if self.builds_engines else ():
            self.progress(0, self.total, f"{name}: the engine (built once, which takes minutes on a board)")
            self.ask("build", name, self.words(threads))

    def layers(self, name: str, threads: int, seconds: float) -> list[dict[str, Any]]:
        """Time the layers of one model in one pass.

        Args:
            name: of the model.
            threads: of the runtime.
            seconds: of timed inference.
        """
        answer: list[dict[str, Any]] = self.ask(
            "layers", name, [*self.words(threads), "--seconds", str(seconds)]
        )["layers"]
        return answer

    def ask(self, verb: str, name: str, words: Sequence[str]) -> dict[str, Any]:
        """Run a verb on one model; return the answer.

        Args:
            verb: of the runner.
            name: of the model; an error names it.
            words: further arguments.

        Raises:
            BenchError: the runner failed.
        """
        path = self.files[name]
        try:
            remote = self.transport.send(path)
            answer: dict[str, Any] = call(self.transport, verb, ["--model", remote, *words])
        except BenchError as error:
            raise type(error)(f"{verb} of {name} ({path.name}) failed: {error}") from error
        return answer

    def scored(self, name: str, images: int) -> None:
        """Report the progress of the accuracy."""
        done = len(self.names) * self.options.round_count + self.names.index(name)
        self.progress(done, self.total, f"{name}: {images} test images")


def load_s(reply: Round) -> float:
    """Return the seconds of timed inference of a round."""
    return max(sum(reply["samples_ns"]) / 1e9, reply.get("window_s") or 0.0)


def interruption(rounds: Iterable[Round]) -> str | None:
    """Return what stopped the runner for more than `MOST_PAUSED` of a round; None where nothing did.

    An older runner does not report pauses; its samples show most of them.
    """
    for reply in rounds:
        paused = reply.get("pauses") or pauses(reply["samples_ns"])
        if paused["seconds"] > MOST_PAUSED * (load_s(reply) + paused["suspended_s"]):
            why = "the machine slept" if paused["suspended_s"] else "something stopped the runner"
            return f"{why} for {paused['seconds']:.2f} s"
    return None
