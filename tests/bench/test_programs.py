"""Runtimes' own benchmark programs on a phone without a Python: what they print, and what becomes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from boards.phone import SERIAL, Phone, build
from edgeprune_target.packed import pack

from bench.remote_fixtures import digits_run
from edgeprune import backends
from edgeprune.backends import MODELS, Artifact, ExportRecord
from edgeprune.bench import Host, bench_run
from edgeprune.bench.executorch_program import ExecutorRunner
from edgeprune.bench.litert_program import BenchmarkModel
from edgeprune.bench.ncnn_program import BenchNcnn
from edgeprune.bench.program import Start
from edgeprune.errors import BenchError
from edgeprune.files.reading import sha256
from edgeprune.files.writing import write_json
from edgeprune.records.bench import BenchResult

LATENCY_MS = {"baseline": 20.0, "pruned": 10.0}
HOST = Host(f"adb:{SERIAL}")
START = Start("/f", "/f/m", Path("m.fp32.zip"), threads=4, batch=1, seconds=1.0, runs=64)

# of TI's Processor SDK's manual (source/linux/Foundational_Components/Machine_Learning/tflite.rst), an AM62
AM62 = """\
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 1 \
delegate kernels.
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 614.333ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=905463 p5=905463 median=905463 p95=905463
INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=900416 curr=898333 min=898007 max=906121 avg=899641 std=1549 p5=898333 median=899281 p95=904305
INFO: Inference timings in us: Init: 614333, First inference: 905463, Warmup (avg): 905463, Inference (avg): 899641
INFO: Memory footprint delta from the start of the tool (MB): init=146.363 overall=150.141
""".splitlines()


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_rounds: None) -> Phone:
    made = build(tmp_path / "adb")
    monkeypatch.setenv("PATH", f"{made.folder / 'bin'}:/usr/bin:/bin")
    return made


def exported(path: Path, runtime: str, precision: str) -> Path:
    """A run with files of a backend that no program here can read: the phone's is a stand-in."""
    run, backend = digits_run(path), backends.for_runtime(runtime, precision)
    assert backend is not None
    artifacts = []
    for name in MODELS:
        file = run / "export" / backend.file_name(name)
        about = json.dumps({"precision": precision, "shape": [3, 24, 32]}).encode()
        pack(str(file), {"model.ncnn.param": name.encode(), "model.ncnn.bin": b"", "about.json": about})
        artifacts.append(
            Artifact(backend.name, precision, name, file.name, sha256(file), file.stat().st_size, params=1)
        )
    record = ExportRecord.read(run / "export")
    write_json(
        run / "export/export.json",
        ExportRecord(artifacts=(*record.artifacts, *artifacts)).to_dict(),
    )
    return run


def measured(run: Path, runtime: str, precision: str, **more: Any) -> BenchResult:
    return bench_run(
        run, host=HOST, runtime=runtime, precision=precision, **{"seconds": 1, "threads": 4, **more}
    )


def words_of(phone: Phone) -> list[str]:
    words: list[str] = json.loads((phone.home / "words.json").read_text())
    return words


def test_benchmark_model(phone: Phone, tmp_path: Path) -> None:
    phone.give_program("benchmark_model", LATENCY_MS)
    result = measured(exported(tmp_path / "run", "litert", "int8"), "litert", "int8")
    for name, ms in LATENCY_MS.items():
        model = result.models[name]
        assert model.latency_ms.p50 == pytest.approx(ms)
        assert model.latency_ms.mean == pytest.approx(1.1 * ms)
        assert (model.latency_ms.p10, model.latency_ms.p90, model.latency_ms.p99) == (None, None, None)
        assert "no times of single ones; p50 is the median of the rounds' medians" in str(
            model.latency_ms.reason
        )
        assert model.throughput_ips == pytest.approx(1000 / (1.1 * ms))
        assert [*model.load_ms] == [pytest.approx(5.579)] * 2
        assert model.versions["litert"].startswith("unknown (benchmark_model, sha256 ")
        assert model.engine == {"program": "benchmark_model", "delegate": "XNNPACK: partially"}
        assert "not the peak" in str(model.memory_reason)
    assert result.speedup is not None and result.speedup.value == pytest.approx(2.0)
    assert "sums its inferences up" in str(result.speedup.method)
    assert result.speedup_undisturbed is None
    assert not {"few_samples"} & {warning.code for warning in result.warnings}
    assert {"--num_threads=4", "--use_xnnpack=true"} <= set(words_of(phone))
    assert json.loads(json.dumps(result.to_dict()))["models"]["pruned"]["latency_ms"]["p99"] is None


def test_the_lines_of_a_real_benchmark_model() -> None:
    timing = BenchmarkModel().timing(AM62, START)
    assert timing.samples_ns == [899_281_000] and timing.load_ns == 614_333_000
    assert timing.summary == {
        "runs": 50, "value": "median", "mean_ns": 899_641_000.0,
        "reason": "benchmark_model sums its inferences up: there are no times of single ones",
    }  # fmt: skip
    assert timing.warm_up == {"runs": 1, "seconds": pytest.approx(0.905463)}
    assert timing.quiet_ns == 898_007_000 and timing.delegate == "XNNPACK: partially"
    gpu = "VERBOSE: Replacing 58 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions"
    assert BenchmarkModel().timing([gpu, *AM62], START).delegate == "TfLiteGpuDelegateV2: 58 of 58 nodes"
    with pytest.raises(BenchError, match="gave no times that edgeprune knows"):
        BenchmarkModel().timing(AM62[:5], START)


def test_a_delegate_that_takes_nothing_and_a_build_without_medians() -> None:
    """As the source has the one, and builds of 2021 print the other."""
    none = (
        "Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate."
    )
    old = [
        "count=1 curr=3512391",
        "count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798",
        "Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): "
        "2.95034e+06",
    ]
    timing = BenchmarkModel().timing([none, *old], START)
    assert timing.delegate == "none: the delegate took nothing" and [*timing.warnings] == ["no_delegate"]
    assert timing.samples_ns == [2_950_340_000] and timing.quiet_ns == 2_727_568_000
    assert timing.summary is not None and timing.summary["value"] == "mean"
    assert BenchmarkModel().timing(old, START).delegate == "none"


def test_executor_runner_tells_each_inference(phone: Phone, tmp_path: Path) -> None:
    phone.give_program("executor_runner", LATENCY_MS)
    result = measured(exported(tmp_path / "run", "executorch", "int8"), "executorch", "int8")
    model = result.models["pruned"]
    assert (model.latency_ms.p50, model.latency_ms.p99) == (pytest.approx(10), pytest.approx(10))
    assert (
        sum(map(len, model.samples_ns)) == 2 * 50
    )  # half a second a round; the slow first ones are left out
    assert [*model.load_ms] == [pytest.approx(4.25)] * 2
    assert {"--cpu_threads=4", "--num_executions=27"} <= set(words_of(phone))


def test_older_executor_runners_tell_the_sum_or_nothing() -> None:
    log = "I 00:00:00.001234 executorch:executor_runner.cpp:412] "
    timing = ExecutorRunner().timing(
        [f"{log}Model executed successfully 50 time(s) in 115.500000 ms."], START
    )
    assert (timing.samples_ns, timing.load_ns, timing.warm_up) == ([2_310_000], None, None)
    assert timing.summary is not None and (timing.summary["runs"], timing.summary["value"]) == (50, "mean")
    assert timing.window_s == pytest.approx(0.1155)
    with pytest.raises(BenchError, match="gave no times that edgeprune knows"):
        ExecutorRunner().timing(
            ["F 00:00:00 executorch:main.cpp:1] In function main(), assert failed"], START
        )
    with pytest.raises(BenchError, match="this executor_runner tells no times: build that of a newer"):
        ExecutorRunner().timing([f"{log}Model executed successfully."], START)


def test_benchncnn(phone: Phone, tmp_path: Path) -> None:
    """It gets the network without its weights, and the image's sizes in its own order."""
    phone.give_program("benchncnn", LATENCY_MS)
    result = measured(exported(tmp_path / "run", "ncnn", "fp32"), "ncnn", "fp32")
    loops, threads, *rest, param, shape = words_of(phone)
    assert (int(loops), threads, rest, shape) == (25, "4", ["0", "-1", "0"], "shape=[32,24,3]")
    sent = phone.home / Path(param.removeprefix("param=")).name
    assert sent.name.endswith("-baseline.fp32.ncnn.param") and sent.read_bytes() == b"baseline"
    model = result.models["pruned"]
    assert (model.latency_ms.p50, model.latency_ms.p99) == (pytest.approx(10), None)
    assert {warning.code for warning in model.engine_warnings} == {"not_the_weights", "in_half"}
    assert result.settings.feed == {"in0": [1, 3, 24, 32]}


def test_a_program_of_another_version_is_one_line(phone: Phone, tmp_path: Path) -> None:
    """And no result is left, whatever else the program prints."""
    phone.give_program("benchncnn", LATENCY_MS, version="old")
    run = exported(tmp_path / "run", "ncnn", "int8")
    with pytest.raises(
        BenchError, match=r"this benchncnn measures networks of its own \(squeezenet\)"
    ) as caught:
        measured(run, "ncnn", "int8")
    assert "\n" not in str(caught.value) and not list(run.glob("bench/*.json"))
    with pytest.raises(
        BenchError, match=r"benchncnn gave no times that edgeprune knows \(Segmentation fault\)"
    ):
        BenchNcnn().timing(["loop_count = 4", "Segmentation fault"], START)


@pytest.mark.parametrize(
    ("runtime", "more", "message"),
    [
        (
            "litert",
            {},
            rf"has no litert: push benchmark_model of LiteRT.*: adb -s {SERIAL} push benchmark_model ",
        ),
        ("openvino", {}, "has no openvino: it needs a Python on the phone"),
        ("ncnn", {"batch": 4}, "has a batch of 1, and benchncnn takes that: leave --batch 4 out"),
        ("ncnn", {"cool_to": 40.0}, "benchncnn begins at once"),
        pytest.param(
            *("ncnn", {"sustained": "2s"}, "no times of single ones, and `sustained` needs them"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ncnn", {"layers": True}, "benchncnn gives times alone: for layers", marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_phone_with_one_program_cannot_do(
    phone: Phone, tmp_path: Path, runtime: str, more: dict[str, Any], message: str
) -> None:
    phone.give_program("benchncnn", LATENCY_MS)
    with pytest.raises(BenchError, match=message) as caught:
        measured(exported(tmp_path / "run", runtime, "int8"), runtime, "int8", **more)
    assert "\n" not in str(caught.value)


def test_small_models_are_timed_for_latency_tables(phone: Phone, tmp_path: Path) -> None:
    phone.give_program("benchmark_model", {"a": 2.0, "b": 0.5})
    transport = HOST.connect()
    sent = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.int8.tflite").write_text(name)
        sent.append(transport.send(tmp_path / f"{name}.int8.tflite"))
    words = ["--models", *sent, "--runtime", "litert", "--threads", "2"]
    times: list[float] = transport.call("times", words)["times_ms"]
    assert times == [pytest.approx(1.8), pytest.approx(0.45)]  # the fastest of each
    assert BenchNcnn().version("") == "unknown (benchncnn)"
