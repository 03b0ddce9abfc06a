"""A board that garbles: whatever it answers, one line says so."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.conftest import FINGERPRINT, Scripted, a_round
from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench import process as process_module
from edgeprune.bench.accuracy import Scorer
from edgeprune.bench.process import ask, printable_line
from edgeprune.bench.replies import checked
from edgeprune.devices import load_device
from edgeprune.errors import BenchError
from edgeprune.latency.profiling import LayerProfiler

NAN, INF = float("nan"), float("inf")
ANYTHING = [None, True, 5, -1.5, NAN, "text", [], [1], {}, {"a": 1}, [[[]]], {"samples_ns": {}}, "x" * 10_000]
VERBS = ("probe", "measure", "layers", "accuracy", "sensors")
LAYER = {
    "name": "a",
    "kind": "Conv",
    "onnx": ["a"],
    "ms": 1.0,
    "outputs": [],
    "formats": [],
    "reformat": False,
}


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answer", ANYTHING, ids=lambda value: repr(value)[:20])
def test_an_answer_of_another_shape(verb: str, answer: Any) -> None:
    if (verb, answer) == ("sensors", []):
        return  # a device without sensors
    with pytest.raises(BenchError, match=f"the runner's answer to '{verb}' cannot be: ") as caught:
        checked(verb, answer)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ns": []},
        {"samples_ns": [0]},
        {"samples_ns": [1, -5]},
        {"samples_ns": [1, NAN]},
        {"samples_ns": [INF]},
        {"samples_ns": ["1"]},
        {"samples_ns": [10**15]},
        {"samples_ns": [10**400]},
        {"samples_ns": None},
        {"load_ns": -1},
        {"load_ns": "5"},
        {"memory_peak_bytes": -4096},
        {"memory_peak_bytes": 1e300},
        {"window_s": -1.0},
        {"uses_gpu": "no"},
        {"energy": None},
        {"energy": {"gross_j": NAN}},
        {"energy": {"gross_j": "5"}},
        {"energy": {"rails_j": {"A": None}}},
        {"energy": {"samples": -1}},
        {"gpu_ns": [-1]},
        {"engine_warnings": [{"code": 5}]},
        {"before": []},
        {"before": {"monotonic_s": "x"}},
        {"before": {"temperatures_c": {"a": "hot"}}},
        {"after": {"power_mode": None}},
        {"after": {"cooling": [{"cur": 1}]}},
        {"after": {"cpu": {"clocks": [{"min_khz": -1}]}}},
        {"watched": {"gpu_hz": [None]}},
        {"watched": {"warmest_c": []}},
        {"more": deep(100)},
        {"pauses": {"seconds": -1.0}},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_round_that_cannot_be(fake_models, quick: BenchOptions, change: dict[str, Any]) -> None:
    class Garbling(Scripted):
        def call(self, verb: str, arguments: Any, on_event: Any = None) -> Any:
            answer = super().call(verb, arguments, on_event)
            return {**answer, **change} if verb == "measure" else answer

    with pytest.raises(
        BenchError, match="measuring baseline .*: the runner's answer to 'measure' cannot be: "
    ):
        bench_models(fake_models(), options=quick, transport=Garbling())


@pytest.mark.parametrize(
    "change",
    [
        {"cores_physical": 0},
        {"cores_physical": None},
        {"board": None},
        {"board": {"compatible": "text"}},
        {"board": {"gpus": [1]}},
        {"runtimes": []},
        {"runtimes": {"onnxruntime": 5}},
        {"load_average": []},
        {"load_average": [NAN]},
        {"busy_cores": -1},
        {"cores_online": -4},
        {"governors": [None]},
        {"state": {"gpu": 5}},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_machine_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match="the runner's answer to 'probe' cannot be: "):
        checked("probe", {**FINGERPRINT, **change})


def test_what_an_older_runner_leaves_out_has_a_default() -> None:
    reply = checked("probe", {"cores_physical": 4, "runner_version": "0.0.1"})
    assert (reply["runner_version"], reply["board"]["compatible"]) == ("0.0.1", [])
    assert reply["state"]["power_mode"]["modes"] == {}
    item = checked("measure", {"samples_ns": [5], "before": {"odd": 1}})
    assert item["before"]["odd"] == 1 and item["energy"]["gross_j"] is None


def test_a_right_answer_stays_as_it_is() -> None:
    answer = a_round([1, 2])
    reply = checked("measure", answer)
    assert {key: reply[key] for key in answer if key not in ("before", "after", "energy")} == {
        key: answer[key] for key in answer if key not in ("before", "after", "energy")
    }


def test_a_text_cannot_steer_the_terminal() -> None:
    board = {"model": "Evil\x1b[2J\nboard"}
    assert checked("probe", {**FINGERPRINT, "board": board})["board"]["model"] == "Evil [2J board"


SCORES = [{"correct": 5, "count": 4}, {"correct": 0, "count": 0}, {"correct": -1, "count": 4}]


@pytest.mark.parametrize("answer", SCORES)
def test_a_score_that_cannot_be(answer: dict[str, int], tmp_path: Path) -> None:
    class Garbling(Scripted):
        def call(self, verb: str, arguments: Any, on_event: Any = None) -> Any:
            on_event({"event": "progress", "done": "many"})
            return answer

    events: list[Any] = []
    scorer = Scorer(Garbling(), "fake", 1, lambda *news: events.append(news))
    with pytest.raises(BenchError, match="the runner's answer to 'accuracy' cannot be"):
        scorer.score_piece("pruned", 7, ("m", "i", "l"))
    assert events == [("pruned", 7)]


@pytest.mark.parametrize("ms", [NAN, INF, -1.0, "1", [1]])
def test_times_of_layers_that_cannot_be(ms: Any, tmp_path: Path) -> None:
    class Garbling(Scripted):
        def call(self, verb: str, arguments: Any, on_event: Any = None) -> Any:
            return {"layers": [{**LAYER, "ms": ms}]}

    sampler = LayerProfiler(Garbling(), load_device("cpu"), 1, 1, tmp_path)
    with pytest.raises(BenchError, match="the runner's answer to 'layers' cannot be"):
        sampler.passes(tmp_path / "m.onnx")


def answering(message: bytes, code: int = 0) -> list[str]:
    """A child that prints these bytes."""
    return [sys.executable, "-c", f"import sys; sys.stdout.buffer.write({message!r}); sys.exit({code})"]


GARBAGE = [
    b"",
    b"\xff\xfe\x00\x80" * 50,
    b'{"event": "result"}\n',
    b'{"event": "result", "result"',
    b'{"event": "error"}\n',
    b'{"event": "error", "message": null}\n',
    b'[1, 2]\n"result"\nnull\n',
    b"[" * 100_000 + b"\n",
    b'{"event": ["result"], "result": 1}\n',
    b"\x1b[2J\x1b]0;title\x07\n",
    b'{"event": "result", "result": ' + b"9" * 5000 + b"}\n",
]


@pytest.mark.parametrize("message", GARBAGE, ids=lambda value: repr(value[:24]))
def test_a_child_that_garbles(message: bytes) -> None:
    with pytest.raises(BenchError) as caught:
        ask(answering(message))
    line = str(caught.value)
    assert line.isprintable() and len(line) < 700


def test_an_error_of_many_lines_and_signs_is_one_line() -> None:
    message = json.dumps({"event": "error", "message": "bad\n\x1b[31mworse" + "x" * 5000}).encode() + b"\n"
    with pytest.raises(BenchError, match=r"^bad \[31mworsex+ \.\.\.$"):
        ask(answering(message, 1))


def test_output_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "MOST_CHARACTERS", 100_000)
    endless = [sys.executable, "-c", "while True: print('y' * 1000)"]
    with pytest.raises(BenchError, match="printed more than 0.1 MB .*is not edgeprune's runner"):
        ask(endless)


def test_last_words_without_end() -> None:
    code = "import sys; sys.stderr.write('z' * 3_000_000 + '\\nlast words\\n'); sys.exit(3)"
    with pytest.raises(BenchError, match="exit code 3: last words"):
        ask([sys.executable, "-c", code])


def test_a_signal_without_a_name() -> None:
    assert "signal 40" in str(process_module.exit_error(-40, []))


def test_one_line() -> None:
    assert printable_line(" a\n\tb\x00c ") == "a b c"
    assert printable_line("x" * 9, 5) == "xxxxx ..."
