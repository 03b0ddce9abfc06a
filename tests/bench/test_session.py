import pytest

from bench.conftest import Scripted
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.session import Session
from edgeprune.devices import load_device
from edgeprune.errors import BenchError


def session(
    fake_models, options: BenchOptions, transport: Scripted, told: list | None = None, **more
) -> Session:
    progress = (lambda *news: told.append(news)) if told is not None else (lambda *news: None)
    return Session(fake_models(), options, transport, progress, **more)


def test_rounds_alternate_and_swap(fake_models, quick: BenchOptions) -> None:
    transport = Scripted()
    under_way = session(fake_models, quick, transport)
    list(under_way.paired_rounds(threads=3))
    assert [model for _, model in transport.asked] == ["baseline", "pruned", "pruned", "baseline"]
    assert {name: len(rounds) for name, rounds in under_way.rounds.items()} == {"baseline": 2, "pruned": 2}


def test_what_the_runner_is_asked(fake_models, quick: BenchOptions) -> None:
    transport = Scripted()
    session(fake_models, quick, transport, feed_shape=(1, 3, 8, 8)).measure("pruned", threads=3)
    words = transport.arguments[0]
    asked = dict(zip(words[::2], words[1::2], strict=True))
    assert asked.pop("--model").endswith("pruned.json")
    assert asked == {
        "--runtime": "fake",
        "--batch": "1",
        "--threads": "3",
        "--seconds": "0.05",
        "--sensors": "none",
        "--shape": "1x3x8x8",
    }


def test_an_engine_is_built_first_and_told_its_precision(fake_models) -> None:
    transport, told = Scripted(), []
    under_way = session(fake_models, BenchOptions(load_device("jetson-orin-nano"), batch=4), transport, told)
    under_way.build(threads=2)
    assert transport.asked == [("build", "baseline"), ("build", "pruned")]
    words = transport.arguments[1]
    assert dict(zip(words[2::2], words[3::2], strict=True)) == {
        "--runtime": "tensorrt",
        "--batch": "4",
        "--threads": "2",
        "--precision": "fp16",
    }
    assert told[0][2].startswith("baseline: the engine")


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
    told: list = []
    under_way = session(fake_models, quick, Scripted(), told, scoring=True)
    list(under_way.paired_rounds(threads=1))
    under_way.scored("pruned", 64)
    assert [done for done, _, _ in told] == [0, 1, 2, 3, 5]
    assert {total for _, total, _ in told} == {6}
    assert told[2][2] == "pruned: round 2 of 2"
    assert told[-1][2] == "pruned: 64 test images"


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
    for there, runtime, precision in (
        ("tensorrt", "tensorrt", "fp16"),
        ("onnxruntime", "onnxruntime", "fp32"),
    ):
        device = under_way.chosen({"runtimes": {there: "1"}}).options.device
        assert (device.runtime, device.precision) == (runtime, precision)
    with pytest.raises(BenchError, match="has no tensorrt or onnxruntime: install one there"):
        under_way.chosen({"runtimes": {"tensorrt": None}})
