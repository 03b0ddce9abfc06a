"""A device with the fake runtime, and a transport that answers from a script."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from boards.loopback import Loopback, start

from bench.remote_fixtures import digits_run
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.devices import Device
from edgeprune.errors import BenchError

FAKE = Device(name="fake", title="A made-up device", runtime="fake")

FINGERPRINT = {
    "cores_online": 4,
    "cores_physical": 2,
    "governors": ["performance"],
    "load_average": [0.1, 0.2, 0.3],
    "busy_cores": 0.1,
    "runtimes": {"onnxruntime": "1.23.2", "tensorrt": None},
    "board": {"model": None, "compatible": [], "soc": None, "l4t": None, "android": False, "gpus": []},
}


def a_state(at_s: float = 0.0, **more: Any) -> dict[str, Any]:
    """What the runner says of a quiet machine."""
    quiet = {
        "monotonic_s": at_s,
        "cpu": {"online": "0-3", "clocks": []},
        "gpu": None,
        "power_mode": {"name": None, "id": None, "modes": {}, "reason": "no nvpmodel"},
        "temperatures_c": {},
        "passive_trips_c": {},
        "cooling": [],
        "over_current": {},
        "alarms": [],
        "swap_used_bytes": 0,
        "pi_throttled": None,
        "nvidia": [],
    }
    return {**quiet, **more}


def a_round(samples_ns: list[int], **energy: Any) -> dict[str, Any]:
    """What the runner says of one round."""
    part = {
        "sensor": "none",
        "unit": "watts",
        "total_kind": "none",
        "total_rails": [],
        "gross_j": None,
        "net_j": None,
        "idle_w": None,
        "window_s": 0.0,
        "samples": 0,
        "rails_j": {},
        "failed_reads": 0,
        "longest_gap_s": None,
        "reason": "no sensor",
    }
    return {
        "samples_ns": samples_ns,
        "load_ns": 2_000_000,
        "versions": {"fake": "1"},
        "feed": {"input": [1, 3]},
        "warm_up": {"runs": 10, "seconds": 0.2},
        "memory_peak_bytes": 1000,
        "memory_reason": None,
        "energy": {**part, **energy},
        "uses_gpu": False,
        "before": a_state(),
        "watched": {"gpu_hz": [], "warmest_c": {}, "period_s": 1.0},
        "after": a_state(),
    }


class Scripted:
    """A transport that answers at once and keeps what it was asked."""

    def __init__(self, latency_ns: dict[str, int] | None = None, fail_at: int | None = None) -> None:
        self.latency_ns = latency_ns or {"baseline": 2_000_000, "pruned": 1_000_000}
        self.fail_at = fail_at
        self.asked: list[tuple[str, str]] = []
        self.arguments: list[list[str]] = []
        self.removed: list[str] = []

    def send(self, path: Path) -> str:
        return str(path)

    def remove(self, remote: str) -> None:
        self.removed.append(remote)

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        words = list(arguments)
        model = Path(words[words.index("--model") + 1]).stem if "--model" in words else ""
        self.asked.append((verb, model))
        self.arguments.append(words)
        if self.fail_at == len(self.asked):
            raise BenchError("the runner stopped with exit code 3: boom")
        if verb == "probe":
            return FINGERPRINT
        if verb == "accuracy":
            on_event({"event": "progress", "done": 4, "total": 4})
            return {"correct": 3, "count": 4, "not_finite": 0}
        return a_round([self.latency_ns[model]] * 200)


@pytest.fixture
def fake_models(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Make two files for the fake runtime."""

    def make(baseline: dict[str, Any] | None = None, pruned: dict[str, Any] | None = None) -> dict[str, Path]:
        files = {}
        for name, content in (("baseline", baseline), ("pruned", pruned)):
            files[name] = tmp_path / f"{name}.json"
            files[name].write_text(json.dumps(content or {}))
        return files

    return make


@pytest.fixture
def quick() -> BenchOptions:
    return BenchOptions(FAKE, threads=1, seconds=0.1, rounds=2)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A real sshd, for as long as the tests run; without one its tests are skipped, with the reason."""
    started = start(tmp_path_factory.mktemp("sshd"))
    if isinstance(started, str):
        pytest.skip(started)
    yield started
    started.stop()


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds for each model: each is a fresh Python, and a login over ssh."""
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)


@pytest.fixture
def loopback(sshd: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_rounds: None) -> Loopback:
    """That board with nothing on it, and ssh here told of it."""
    monkeypatch.setenv("EDGEPRUNE_SSH", sshd.environment["EDGEPRUNE_SSH"])
    sshd.clear()
    return sshd


@pytest.fixture
def run_of_digits(tmp_path: Path) -> Path:
    """A run folder with two exported models."""
    return digits_run(tmp_path / "run")
