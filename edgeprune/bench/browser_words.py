"""What a browser says of itself and of a round, in the runner's form; what it cannot know is None, with the reason."""

import re
from typing import Any

import msgspec
from edgeprune_target.pauses import pauses

from edgeprune.bench.browser import WASM, WEBGPU
from edgeprune.browser.messages import Hello, Round

MOST_IMAGES = 256  # that are scored: as many as an export is compared on
MOST_THREADS = 4  # of ONNX Runtime's own default in browsers: half of the logical processors, up to this
NO_ENERGY = "a page can read no power sensor: no energy"
NO_MEMORY = "a browser tells the memory of all its pages together, if at all, and not what the model adds"
ONE_THREAD = (
    "the page was not cross-origin isolated, as a page over plain http in the network is not: WebAssembly then has "
    "one thread, and the clock is coarse; serve it with --https"
)


def described(hello: Hello, runtime: str) -> dict[str, Any]:
    """Return a browser's words as the runner's ``probe`` gives them.

    Args:
        hello: its words.
        runtime: version of ONNX Runtime's files for browsers.
    """
    return {
        "cores_physical": hello.cores or 1,
        "cores_online": hello.cores,
        "system": " ".join(filter(None, (hello.platform, hello.platform_version))) or None,
        "machine": hello.architecture,
        "board": {"model": hello.model},
        "runtimes": {WASM: runtime, WEBGPU: None if hello.no_gpu else runtime},
        "runtime_reasons": {WEBGPU: hello.no_gpu} if hello.no_gpu else {},
        "title": words_of(hello),
        "threads": threads_of(hello),
        "threads_reason": None if hello.isolated else ONE_THREAD,
        "round_is": "a fresh session in the same page",
        "most_images": MOST_IMAGES,
        "browser": msgspec.to_builtins(hello),
    }


def threads_of(hello: Hello) -> int:
    """Return how many threads ONNX Runtime takes in this browser by itself: one where the page is not isolated."""
    return max(1, min(MOST_THREADS, -(-(hello.cores or 1) // 2))) if hello.isolated else 1


def words_of(hello: Hello) -> str:
    """Return the browser's words for itself: its brands and platform, or its user agent without the usual phrases."""
    brands = [brand for brand in hello.brands if not re.match(r"\W*not\b", brand, re.IGNORECASE)]
    if brands:
        platform = " ".join(filter(None, (hello.platform, hello.platform_version)))
        return ", ".join(filter(None, [*brands, platform, hello.model]))
    usual = r"Mozilla/5\.0\s*|\(KHTML, like Gecko\)\s*|AppleWebKit/\S+\s*"
    return re.sub(usual, "", hello.user_agent).strip() or hello.user_agent


def in_runner_form(measured: Round, clock_step_ms: float) -> dict[str, Any]:
    """Return a round's numbers as the runner gives them, and why there are not the others.

    Args:
        measured: by the browser.
        clock_step_ms: the smallest step of its clock.
    """
    samples = [max(1, round(ms * 1e6)) for ms in measured.samples_ms]
    between_s = measured.window_ms / 1e3 - measured.runs_per_sample * sum(samples) / 1e9
    return {
        "load_ns": round(measured.load_ms * 1e6),
        "first_ns": round(measured.first_ms * 1e6),
        "warm_up": {"runs": measured.warm_runs, "seconds": measured.warm_ms / 1e3},
        "window_s": measured.window_ms / 1e3,
        "window_runs": measured.runs_per_sample * len(samples),
        "samples_ns": samples,
        "runs_per_sample": measured.runs_per_sample,
        "clock_step_ms": clock_step_ms,
        "memory_peak_bytes": None,
        "memory_reason": NO_MEMORY,
        "energy": {"reason": NO_ENERGY},
        "uses_gpu": False,  # it may, and nobody sees the clock of it
        "pauses": pauses(samples, max(0.0, between_s), measured.hidden_ms / 1e3),
    }
