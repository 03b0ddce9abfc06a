"""A measurement in a browser, played by Python: what it sends becomes a result like any other."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from browser.played import ROUND, WORDS, PlayedBrowser
from click.testing import CliRunner
from onnx_files import summing_onnx

from bench.remote_fixtures import digits_run
from edgeprune.bench import Browser, bench_run
from edgeprune.bench import browser_transport as transport_module
from edgeprune.bench.browser_words import NO_ENERGY, NO_MEMORY, in_runner_form, threads_of, words_of
from edgeprune.browser.messages import Hello, Round
from edgeprune.cli import main
from edgeprune.errors import BenchError, ConnectionLost
from edgeprune.records.bench import BenchResult
from edgeprune.runs.subjects import subjects_of


@pytest.fixture(autouse=True)
def files_for_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The played browser needs none of ONNX Runtime's files."""
    monkeypatch.setattr(transport_module, "version", lambda: "1.30.0")
    monkeypatch.setattr(transport_module, "FAREWELL_S", 20.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return digits_run(tmp_path / "mine")


class Opening:
    """Opens the link with a played browser; ``played`` is that browser."""

    def __init__(self, change: Any = None, **words: Any) -> None:
        """Take what changes the browser before it says hello, and its words."""
        self.change, self.words = change, words
        self.played: PlayedBrowser | None = None

    def __call__(self, link: str) -> None:
        """Open the link."""
        self.played = PlayedBrowser(link)
        if self.change:
            self.change(self.played)
        self.played.start(**self.words)


def half_the_time(played: PlayedBrowser) -> None:
    """The second model that the browser gets is twice as fast."""
    models: list[str] = []

    def one_round(task: dict[str, Any]) -> dict[str, Any]:
        models.extend({task["model"]} - set(models))
        scale = 1 + models.index(task["model"])
        return {**ROUND, "samples_ms": [2.0 / scale, 2.2 / scale, 2.4 / scale]}

    played.rounds = one_round


def measured(run: Path, opening: Opening, **options: Any) -> BenchResult:
    """Measure a run briefly."""
    return bench_run(run, host=Browser(announce=opening, wait="20s"), **{"seconds": 0.1, **options})


def test_a_result_like_any_other(run: Path) -> None:
    opening = Opening(half_the_time)
    result = measured(run, opening)
    assert result.complete and result == BenchResult.read(run / "bench" / "browser.json")
    assert result.device.title == (
        "Web browser: (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1"
    )
    assert result.device.fingerprint["browser"]["user_agent"] == WORDS["user_agent"]
    assert result.device.fingerprint["board"]["model"] is None
    settings = result.settings
    assert (settings.runtime, settings.precision, settings.threads) == ("onnxruntime-web", "fp32", 2)
    assert settings.order == "AB BA, a fresh session in the same page per round"
    assert settings.clock_step_ms == 0.02 and settings.feed == {"input": [1, 3, 32, 32]}
    assert result.speedup is not None and result.speedup.value == pytest.approx(2)
    baseline = result.models["baseline"]
    assert baseline.samples_ns == ([2_000_000, 2_200_000, 2_400_000],) * 8
    assert baseline.load_ms == (5.0,) * 8 and baseline.first_ms == (3.0,) * 8
    assert baseline.runs_per_sample == 2
    assert baseline.energy_reason == NO_ENERGY
    assert baseline.memory_reason == NO_MEMORY
    assert baseline.parity_inputs == "test images"
    assert baseline.parity is not None
    assert (baseline.parity.images, baseline.parity.top1_agreement) == (256, 1.0)
    assert baseline.accuracy is not None and baseline.accuracy_images == 256
    codes = {warning.code for warning in result.warnings}
    assert {"coarse_clock", "few_samples", "few_images", "energy_unavailable"} <= codes
    assert not {"one_thread", "disagreeing", "machine_loaded", "too_many_threads"} & codes


def test_files_with_other_inputs_and_a_single_number(tmp_path: Path) -> None:
    file = summing_onnx(tmp_path / "net.onnx", x=(None, 3, 4, 4), ids=(None, 5, "int64"), scale=(1,))
    opening = Opening()
    subjects = subjects_of([str(file)])
    result = bench_run(subjects, host=Browser(announce=opening, wait="20s"), seconds=0.1)
    assert result.speedup is None and result.models["model"].parity_inputs == "made-up input"
    assert result.models["model"].parity.max_rel_diff == 0
    assert opening.played is not None
    first = opening.played.tasks[0]
    assert first["inputs"] == [
        {"name": "x", "type": "float32", "dims": [1, 3, 4, 4]},
        {"name": "ids", "type": "int64", "dims": [1, 5]},
        {"name": "scale", "type": "float32", "dims": [1]},
    ]


def test_rounds_take_turns_and_the_page_shows_the_end(run: Path) -> None:
    opening = Opening()
    measured(run, opening, accuracy=False)
    assert opening.played is not None
    opening.played.thread.join(timeout=20)
    tasks = opening.played.tasks
    models = [task["model"] for task in tasks if task["kind"] == "round"]
    first, second = models[:2]
    assert models == [first, second, second, first] * 4
    assert [task["kind"] for task in tasks[:4]] == ["outputs", "round", "outputs", "round"]
    assert tasks[1]["progress"]["text"] == "baseline: round 1 of 8"
    assert set(tasks[-2]["keep"]) == {first, second}
    last = tasks[-1]
    assert last["kind"] == "end"
    assert last["result"]["headline"].startswith("speedup 1.00x")
    assert ["latency p50, batch 1", "1.100 ms", "1.100 ms"] in last["result"]["rows"]
    assert ["largest difference from ONNX Runtime here", "0.0e+00", "0.0e+00"] in last["result"]["rows"]


def test_without_isolation_there_is_one_thread(run: Path) -> None:
    result = measured(run, Opening(isolated=False, secure=False, clock_step_ms=1.0), accuracy=False)
    assert result.settings.threads == 1
    (warning,) = (warning for warning in result.warnings if warning.code == "one_thread")
    assert "1 thread was used" in warning.message and "--https" in warning.message
    with pytest.raises(BenchError, match="`threads=2` cannot be: the page was not cross-origin isolated"):
        measured(run, Opening(isolated=False), threads=2)


def test_outputs_that_differ_are_a_warning(run: Path) -> None:
    def differing(played: PlayedBrowser) -> None:
        played.outputs = lambda array: array * np.float32(1.01)

    result = measured(run, Opening(differing))
    assert result.models["pruned"].parity.max_rel_diff == pytest.approx(0.01, rel=1e-3)
    (first, _) = (warning.message for warning in result.warnings if warning.code == "disagreeing")
    assert (
        "differ from ONNX Runtime's here by 0.01 of the largest, with 100.0 % agreement on the test images"
        in first
    )


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"error": "out of\nmemory \x1b[31m"}, "measuring baseline .* the browser says: out of memory"),
        ({**ROUND, "samples_ms": []}, "answer is no round"),
        ({**ROUND, "samples_ms": [0.0]}, "answer is no round"),
        ({**ROUND, "samples_ms": ["1"]}, "answer is no round"),
        ({**ROUND, "load_ms": -1}, "answer is no round"),
        ([], "answer is no round"),
    ],
)
def test_what_is_no_round_ends_the_measurement(run: Path, reply: Any, message: str) -> None:
    def failing(played: PlayedBrowser) -> None:
        played.rounds = lambda _task: reply

    opening = Opening(failing)
    with pytest.raises(BenchError, match=message) as failure:
        measured(run, opening)
    assert "\x1b" not in str(failure.value) and "\n" not in str(failure.value)
    assert opening.played is not None
    opening.played.thread.join(timeout=20)
    assert opening.played.tasks[-1]["kind"] == "end" and "error" in opening.played.tasks[-1]


def test_outputs_of_another_size(run: Path) -> None:
    def shorter(played: PlayedBrowser) -> None:
        played.outputs = lambda array: array[:, :5]

    with pytest.raises(BenchError, match="the browser's outputs have 20 bytes, ONNX Runtime's here 40"):
        measured(run, Opening(shorter))


def test_a_hidden_page_is_measured_again(run: Path) -> None:
    hidden = iter([900.0, 900.0])

    def hiding(played: PlayedBrowser) -> None:
        played.rounds = lambda _task: {**ROUND, "hidden_ms": next(hidden, 0.0)}

    result = measured(run, Opening(hiding), accuracy=False)
    assert result.settings.discarded_rounds == ("the machine slept for 0.90 s",)
    assert not result.settings.paused_rounds


def test_webgpu_where_there_is_none(run: Path) -> None:
    with pytest.raises(BenchError, match="Web browser has no onnxruntime-webgpu: this browser has no WebGPU"):
        measured(run, Opening(), runtime="onnxruntime-webgpu")
    result = measured(
        run, Opening(no_gpu=None, gpu={"vendor": "apple"}), runtime="onnxruntime-webgpu", accuracy=False
    )
    assert result.settings.runtime == "onnxruntime-webgpu"
    assert result.device.fingerprint["browser"]["gpu"] == {"vendor": "apple"}


def test_an_interrupted_measurement_goes_on(run: Path) -> None:
    def losing(played: PlayedBrowser) -> None:
        left = iter(range(5))
        played.rounds = lambda _task: ROUND if next(left, None) is not None else {"error": "out of memory"}

    with pytest.raises(BenchError, match="out of memory"):
        measured(run, Opening(losing), accuracy=False)
    result = measured(run, Opening(), accuracy=False, resume=True)
    assert result.settings.stretches == 2 and len(result.models["pruned"].samples_ns) == 8
    with pytest.raises(BenchError, match="out of memory"):
        measured(run, Opening(losing), accuracy=False)
    with pytest.raises(BenchError, match="the browser was .*iPhone.*, and is .*Firefox"):
        measured(run, Opening(user_agent="Mozilla/5.0 Firefox/150.0"), accuracy=False, resume=True)


def test_no_browser_comes(run: Path) -> None:
    with pytest.raises(ConnectionLost, match="no browser opened the link for 1 seconds"):
        bench_run(run, host=Browser(wait="1s"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "browser", "--host", "user@board"], "--device browser needs none"),
        (["--lan"], "need --device browser"),
        (["--wait", "5m"], "need --device browser"),
        (["--device", "browser", "--port", "70000"], "--port must be at most 65,535"),
        (["--device", "browser", "--wait", "soon"], "--wait must be a time such as 90s"),
        (["--device", "browser", "--runtime", "all"], "in no browser"),
        (
            ["--device", "browser", "--runtime", "onnxruntime"],
            "a browser has no onnxruntime: it runs onnxruntime-web",
        ),
        (
            ["--runtime", "onnxruntime-web"],
            "onnxruntime-web runs in a browser alone: measure it with --device browser",
        ),
        (["--device", "browser", "--address", "192.0.2.77"], "cannot serve the page at 192.0.2.77"),
        (["--device", "browser", "--cool-to", "40", "--sustained", "1m"], "leave one of them out"),
    ],
)
def test_options_that_cannot_be(run: Path, arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(main, ["bench", str(run), *arguments])
    assert outcome.exit_code != 0
    assert message in " ".join(outcome.output.split())


def test_files_for_browsers_that_are_missing(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgeprune.browser import web_files

    monkeypatch.setattr(transport_module, "version", lambda: web_files.version(tmp_path))
    outcome = CliRunner().invoke(main, ["bench", str(run), "--device", "browser"])
    assert outcome.exit_code == 1 and "make web" in outcome.output and outcome.output.count("\n") == 1


def test_a_latency_table_is_no_business_of_a_browser() -> None:
    outcome = CliRunner().invoke(main, ["lut", "build", "--model", "resnet8", "--device", "browser"])
    assert outcome.exit_code == 1 and "a browser measures files alone, by edgeprune bench" in outcome.output


def hello(**words: Any) -> Hello:
    """The words of a browser."""
    return msgspec.convert({**WORDS, **words}, Hello)


def test_words_are_the_browser_s_own() -> None:
    brands = ["Not:A-Brand 8.0", "Chromium 156.0", "Google Chrome 156.0"]
    android = hello(brands=brands, platform="Android", platform_version="16.0", model="Pixel 9")
    assert words_of(android) == "Chromium 156.0, Google Chrome 156.0, Android 16.0, Pixel 9"
    firefox = "Mozilla/5.0 (Android 15; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0"
    assert words_of(hello(user_agent=firefox)) == "(Android 15; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0"


def test_threads_are_onnx_runtime_s_own_choice() -> None:
    assert [threads_of(hello(cores=cores)) for cores in (None, 1, 2, 3, 6, 8, 10)] == [1, 1, 1, 2, 3, 4, 4]
    assert threads_of(hello(cores=8, isolated=False)) == 1


def test_a_round_in_nanoseconds() -> None:
    numbers = in_runner_form(msgspec.convert({**ROUND, "hidden_ms": 300.0}, Round), 0.1)
    assert numbers["samples_ns"] == [1_000_000, 1_100_000, 1_200_000]
    assert numbers["window_runs"] == 6 and numbers["warm_up"] == {"runs": 10, "seconds": 0.5}
    assert numbers["pauses"] == {"count": 1, "seconds": 0.3, "longest_s": 0.3, "suspended_s": 0.3}


def test_the_link_is_shown_with_a_qr_code(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "network_address", lambda: "127.0.0.1")
    shown = CliRunner().invoke(
        main, ["bench", str(run), "--device", "browser", "--lan", "--wait", "1s", "--json", "-"]
    )
    assert "http://127.0.0.1:" in shown.stderr and "can read both models" in shown.stderr
    assert shown.stdout == ""
    assert ("█▄▄▄▄▄▄▄█" in shown.stderr) == (find_spec("segno") is not None)
    assert ("edgeprune[browser]" in shown.stderr) == (find_spec("segno") is None)
