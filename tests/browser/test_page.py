"""The page in a real Chromium, from the command line to the result."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.remote_fixtures import digits_run

from browser.chromium import PROGRAM, Chromium
from edgeprune.browser import web_files
from edgeprune.errors import BenchError
from edgeprune.records.bench import BenchResult

try:
    web_files.version()
    MISSING = "" if PROGRAM else "no Chromium here"
except BenchError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
LINK = re.compile(r"https?://\S+/[\w-]{32}/")
STATUS = "document.getElementById('status')?.textContent ?? ''"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_run(tmp_path_factory.mktemp("runs") / "digits")


@contextmanager
def bench(run: Path, log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start `edgeprune bench --device browser`; give the process and the link that it shows."""
    command = [
        sys.executable,
        "-m",
        "edgeprune",
        "bench",
        str(run),
        "--device",
        "browser",
        "--wait",
        "60s",
        *arguments,
    ]
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            yield process, waited(lambda: LINK.search(log.read_text()), process)
        finally:
            process.kill()


def waited(look: object, process: "subprocess.Popen[bytes]", seconds: float = 90) -> str:
    """Return the match of a search, once there is one."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if match := look():  # type: ignore[operator]
            return str(match[0])
        assert process.poll() is None, "the command has ended"
        time.sleep(0.1)
    raise AssertionError("it takes too long")


def test_both_models_are_measured(run: Path, tmp_path: Path) -> None:
    """Threads, the interleaved rounds, parity on test images, and what the page shows in the end."""
    log = tmp_path / "log"
    with (
        bench(run, log, "--seconds", "0.4", "--threads", "2") as (process, link),
        Chromium(tmp_path / "profile") as page,
    ):
        page.resize(390, 760, "dark")
        page.open(link)
        assert process.wait(timeout=240) == 0, log.read_text()
        shown = page.evaluate("document.body.innerText")
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        small = page.evaluate(
            "[...document.querySelectorAll('p, td, th, h2, footer')].filter(e => e.innerText && "
            "parseFloat(getComputedStyle(e).fontSize) < 14).length"
        )
    result = BenchResult.read(run / "bench" / "browser.json")
    assert result.complete and result.settings.threads == 2 and result.settings.rounds == 8
    assert result.device.title.startswith("Web browser: ")
    words = result.device.fingerprint["browser"]
    assert words["isolated"] and words["secure"] and "Chrome" in words["user_agent"]
    assert 0 < words["clock_step_ms"] < 1
    for model in result.models.values():
        assert [len(samples) >= 3 for samples in model.samples_ns] == [True] * 8
        assert len(model.load_ms) == len(model.first_ms) == 8
        assert model.parity is not None and model.parity.max_rel_diff < 1e-5
        assert (model.parity.images, model.parity_inputs, model.accuracy_images) == (256, "test images", 256)
        assert model.accuracy is not None
    assert "disagreeing" not in {warning.code for warning in result.warnings}
    assert f"speedup {result.speedup.value:.2f}x" in shown and "latency p50" in shown
    assert (wide, small) == (False, 0)
    assert [line for line in page.console if "adapter" not in line] == []


@pytest.mark.slow
def test_ctrl_c_ends_it_and_the_page_says_so(run: Path, tmp_path: Path) -> None:
    with (
        bench(run, tmp_path / "log", "--seconds", "60") as (process, link),
        Chromium(tmp_path / "profile") as page,
    ):
        page.open(link)
        until = time.monotonic() + 60
        while "round 1" not in page.evaluate(STATUS) and time.monotonic() < until:
            time.sleep(0.2)
        process.send_signal(2)
        assert process.wait(timeout=60) != 0
        time.sleep(0.5)
        assert "stopped on the computer" in page.evaluate("document.body.innerText")
    assert (run / "bench" / "browser.rounds.jsonl").is_file()


@pytest.mark.slow
def test_a_page_that_is_reloaded_goes_on(run: Path, tmp_path: Path) -> None:
    """The measurement is complete, and another browser cannot take its place meanwhile."""
    log = tmp_path / "log"
    with (
        bench(run, log, "--seconds", "1", "--no-accuracy") as (process, link),
        Chromium(tmp_path / "profile") as page,
    ):
        page.open(link)
        waited(lambda: re.search("round [34]", page.evaluate(STATUS)), process)
        page.send("Page.reload")
        with Chromium(tmp_path / "other") as second:
            second.open(link)
            waited(lambda: re.search("used by another", second.evaluate("document.body.innerText")), process)
        assert process.wait(timeout=120) == 0, log.read_text()
        assert "speedup" in page.evaluate("document.body.innerText")
    result = BenchResult.read(run / "bench" / "browser.json")
    assert result.complete and [len(model.samples_ns) for model in result.models.values()] == [8, 8]
