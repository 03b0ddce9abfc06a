import pytest

from bench.conftest import Scripted, a_round
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.session import MOST_DISCARDED, Session, interruption
from edgeprune.devices import load_device
from edgeprune.errors import BenchError


def session(
    fake_models, options: BenchOptions, transport: Scripted, events: list | None = None, **more
) -> Session:
    progress = (lambda *news: events.append(news)) if events is not None else (lambda *news: None)
    return Session(fake_models(), options, transport, progress, **more)


def test_rounds_alternate_and_swap(fake_models, quick: BenchOptions) -> None:
    transport = Scripted()
    under_way = session(fake_models, quick, transport)
    list(under_way.paired_rounds(threads=3))
    assert [model for _, model in transport.asked] == ["baseline", "pruned", "pruned", "baseline"]
    assert {name: len(rounds) for name, rounds in under_way.rounds.items()} == {"baseline": 2, "pruned": 2}


def test_what_the_runner_is_asked(fake_models, quick: BenchOptions) -> None:
    transport = Scripted()
    session(fake_models, quick, transport, feed_shapes={"": (1, 3, 8, 8)}).measure("pruned", threads=3)
    words = transport.arguments[0]
    requested = dict(zip(words[::2], words[1::2], strict=True))
    assert requested.pop("--model").endswith("pruned.json")
    assert requested == {
        "--runtime": "fake",
        "--batch": "1",
        "--threads": "3",
        "--seconds": "0.05",
        "--sensors": "none",
        "--shape": "1x3x8x8",
    }


def test_an_engine_is_built_first_and_told_its_precision(fake_models) -> None:
    transport, events = Scripted(), []
    under_way = session(
        fake_models, BenchOptions(load_device("jetson-orin-nano"), batch=4), transport, events
    )
    under_way.build(threads=2)
    assert transport.asked == [("build", "baseline"), ("build", "pruned")]
    words = transport.arguments[1]
    assert dict(zip(words[2::2], words[3::2], strict=True)) == {
        "--runtime": "tensorrt",
        "--batch": "4",
        "--threads": "2",
        "--precision": "fp16",
    }
    assert events[0][2].startswith("baseline: the engine")


def test_what_needs_no_engine_builds_none(fake_models, quick: BenchOptions) -> None:
    transport = Scripted()
    session(fake_models, quick, transport).build(threads=1)
    assert transport.asked == []


def test_failure_to_build_names_the_model(fake_models) -> None:
    options = BenchOptions(load_device("jetson-orin-nano"))
    with pytest.raises(BenchError, match=r"build of pruned \(pruned.json\) failed: .*boom"):
        session(fake_models, options, Scripted(fail_at=2)).build(threads=1)


def test_failure_names_the_model(fake_models, quick: BenchOptions) -> None:
    under_way = session(fake_models, quick, Scripted(fail_at=2))
    with pytest.raises(BenchError, match=r"measuring pruned \(pruned.json\) failed: .*boom"):
        list(under_way.paired_rounds(threads=1))


def test_progress_ends_where_it_should(fake_models, quick: BenchOptions) -> None:
    events: list = []
    under_way = session(fake_models, quick, Scripted(), events, scoring=True)
    list(under_way.paired_rounds(threads=1))
    under_way.scored("pruned", 64)
    assert [done for done, _, _ in events] == [0, 1, 2, 3, 5]
    assert {total for _, total, _ in events} == {6}
    assert events[2][2] == "pruned: round 2 of 2"
    assert events[-1][2] == "pruned: 64 test images"


def test_totals_of_the_profile_are_passed_on(fake_models) -> None:
    transport = Scripted()
    options = BenchOptions(load_device("jetson-agx-thor"))
    session(fake_models, options, transport).measure("baseline", threads=1)
    words = transport.arguments[0]
    assert words[words.index("--sensors") + 1] == "ina3221+ina238,ina3221,tegrastats"
    totals = [words[index + 1] for index, word in enumerate(words) if word == "--total"]
    assert totals == ["measured_input=VIN", "rail_sum=VDD_GPU+VDD_CPU_SOC_MSS+VIN_SYS_5V0"]


def test_runtime_is_what_the_machine_has(fake_models) -> None:
    under_way = session(fake_models, BenchOptions(load_device("jetson-nano")), Scripted())
    assert under_way.options.device.runtime == "tensorrt"
    for present, runtime, precision in (
        ("tensorrt", "tensorrt", "fp16"),
        ("onnxruntime", "onnxruntime", "fp32"),
    ):
        device = under_way.chosen({"runtimes": {present: "1"}}).options.device
        assert (device.runtime, device.precision) == (runtime, precision)
    with pytest.raises(BenchError, match="has no tensorrt or onnxruntime: install one there"):
        under_way.chosen({"runtimes": {"tensorrt": None}})


MS = 1_000_000
QUIET, STOPPED = [MS] * 200, [MS] * 199 + [500 * MS]


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ([a_round(QUIET), a_round(QUIET)], None),
        ([a_round(QUIET), a_round(STOPPED)], "something stopped the runner for 0.50 s"),
        (
            [{**a_round(QUIET), "pauses": {"seconds": 30.0, "suspended_s": 30.0}}],
            "the machine slept for 30.00 s",
        ),
        ([{**a_round([MS] * 60_000), "pauses": {"seconds": 0.3, "suspended_s": 0.0}}], None),  # 0.5 %
    ],
)
def test_what_interrupts_a_round(rounds: list, message: str | None) -> None:
    assert interruption(rounds) == message


class Stopping(Scripted):
    """Is stopped in some rounds, by their number."""

    def __init__(self, stopped: set[int]) -> None:
        super().__init__()
        self.stopped, self.count = stopped, 0

    def call(self, verb, arguments, on_event=None):
        self.count += 1
        return a_round(STOPPED if self.count in self.stopped else QUIET)


def test_a_pair_that_was_interrupted_is_measured_again(fake_models, quick: BenchOptions) -> None:
    transport = Stopping({2})
    under_way = session(fake_models, quick, transport)
    list(under_way.paired_rounds(threads=1))
    assert (transport.count, len(under_way.discarded)) == (6, 1)
    assert all(reply["samples_ns"] == QUIET for rounds in under_way.rounds.values() for reply in rounds)


def test_a_machine_that_keeps_stopping_is_measured_and_warned_of(fake_models, quick: BenchOptions) -> None:
    transport = Stopping(set(range(100)))
    under_way = session(fake_models, quick, transport)
    list(under_way.paired_rounds(threads=1))
    assert transport.count == 2 * (quick.round_count + MOST_DISCARDED)
    assert all(len(rounds) == quick.round_count for rounds in under_way.rounds.values())
