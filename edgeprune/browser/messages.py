"""What a browser sends, validated: anybody with the link could send anything."""

from typing import Annotated

import msgspec

from edgeprune.errors import BenchError

MOST_TEXT, MOST_SAMPLES = 500, 200_000
MOST_HELLO_BYTES, MOST_REPLY_BYTES = 1 << 14, 1 << 23
DAY_MS = 86_400_000.0

Text = Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
Words = Annotated[list[Text], msgspec.Meta(max_length=20)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Cores = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=DAY_MS)]
Time = Annotated[float, msgspec.Meta(gt=0, le=DAY_MS)]


class Hello(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A browser in its own words.

    Attributes:
        user_agent: the browser's name for itself.
        brands: name and version of each brand, where the browser has ``userAgentData``.
        platform, platform_version, model, architecture: likewise.
        cores: ``hardwareConcurrency``, logical processors; a browser may say fewer than there are.
        memory_gb: ``deviceMemory``, which is rounded and at most 8.
        secure: whether the page is a secure context.
        isolated: whether it is cross-origin isolated, without which WebAssembly has one thread.
        gpu: vendor, architecture, device and description of the WebGPU adapter.
        no_gpu: why WebGPU cannot be used; None where it can.
        clock_step_ms: the smallest step of ``performance.now()``, as measured.
    """

    user_agent: Text
    brands: Words = []
    platform: Text | None = None
    platform_version: Text | None = None
    model: Text | None = None
    architecture: Text | None = None
    cores: Cores | None = None
    memory_gb: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    secure: bool
    isolated: bool
    gpu: dict[Text, Text] = {}
    no_gpu: Text | None = None
    clock_step_ms: Annotated[float, msgspec.Meta(gt=0, le=1000)]


class Round(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One round of one model.

    Attributes:
        load_ms: of creating the session, without the transfer of the file.
        first_ms: of the first inference.
        warm_runs, warm_ms: of the warm-up, the first inference included.
        runs_per_sample: inferences that are timed together.
        samples_ms: mean time of an inference in each group.
        window_ms: from the first to the last.
        hidden_ms: how long the page was hidden or the device slept meanwhile.
    """

    load_ms: Milliseconds
    first_ms: Milliseconds
    warm_runs: Count
    warm_ms: Milliseconds
    runs_per_sample: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    samples_ms: Annotated[list[Time], msgspec.Meta(min_length=1, max_length=MOST_SAMPLES)]
    window_ms: Milliseconds
    hidden_ms: Milliseconds


class Failure(msgspec.Struct, forbid_unknown_fields=True):
    """Why a browser cannot do a task."""

    error: Annotated[str, msgspec.Meta(max_length=4000)]


def hello_of(body: bytes) -> Hello:
    """Return a browser's first message.

    Raises:
        msgspec.MsgspecError: it is no such message.
    """
    return msgspec.json.decode(body, type=Hello)


def round_of(body: bytes) -> Round:
    """Return a round.

    Raises:
        BenchError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=Round)
    except msgspec.MsgspecError as error:
        raise BenchError(
            f"the browser's answer is no round ({error}): open the link anew and measure again"
        ) from error


def failure_of(body: bytes) -> str | None:
    """Return the error that a browser reports; None where the message is none."""
    try:
        return msgspec.json.decode(body, type=Failure).error
    except msgspec.MsgspecError:
        return None
