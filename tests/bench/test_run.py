import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from bench.conftest import Scripted
from bench.remote_fixtures import record_onnx
from edgeprune.backends import MODELS, Artifact, ExportRecord
from edgeprune.bench import BenchOptions, Host, bench_every, bench_models, bench_run
from edgeprune.bench import run as bench_module
from edgeprune.cli import main
from edgeprune.devices import load_device
from edgeprune.errors import BenchError, InUseError
from edgeprune.files.locks import held
from edgeprune.reporting.rows import runtimes_lines, runtimes_table

MODEL_KEYS = {
    "file",
    "sha256",
    "size_bytes",
    "latency_ms",
    "throughput_ips",
    "memory_peak_bytes",
    "energy_mj_per_inference",
    "energy_reason",
    "accuracy",
    "accuracy_reason",
    "samples_ns",
}


def two_images() -> list:
    return [(np.zeros((2, 1, 1, 1), np.float32), [0, 1])]


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    for name in ("baseline", "pruned"):
        (run / "export" / f"{name}.onnx").write_bytes(name.encode())
    record_onnx(run / "export")
    return run


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    transport = Scripted()
    monkeypatch.setattr(bench_module, "LocalTransport", lambda: transport)
    return transport


@pytest.fixture
def fake_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for edgeprune.runs.run: a run whose test images are two."""
    bundle = SimpleNamespace(batches=lambda split: two_images() if split == "test" else [])
    module: Any = ModuleType("edgeprune.runs.run")
    module.Run = SimpleNamespace(
        open=lambda path: SimpleNamespace(data=lambda: bundle, task="classification")
    )
    monkeypatch.setitem(sys.modules, "edgeprune.runs.run", module)


def test_half_the_latency_is_twice_the_speed(fake_models, quick: BenchOptions) -> None:
    models = fake_models({"latency_ns": 1_000_000}, {"latency_ns": 500_000})
    result = bench_models(models, options=quick)
    # Wide bounds: the machine that tests run on is seldom idle.
    assert 1.6 < result["speedup"]["value"] < 2.5
    assert result["speedup"]["pairs"] == 2
    assert result["models"]["baseline"]["latency_ms"]["p50"] == pytest.approx(1.0, rel=0.2)
    assert [len(samples) > 10 for samples in result["models"]["pruned"]["samples_ns"]] == [True, True]


def test_result_has_what_a_reader_needs(fake_models, quick: BenchOptions) -> None:
    result = bench_models(fake_models(), options=quick, transport=Scripted())
    assert result["schema"] == 1
    assert result["complete"] is True
    assert set(result["models"]) == {"baseline", "pruned"}
    assert set(result["models"]["pruned"]) >= MODEL_KEYS
    assert {"batch", "threads", "seconds", "rounds", "warm_up", "feed"} <= set(result["settings"])
    assert set(result["speedup"]) == {"value", "low", "high", "confidence", "method", "pairs"}
    assert result["speedup"]["value"] == 2.0
    assert result["device"]["fingerprint"]["cores_physical"] == 2
    json.dumps(result.to_dict(), allow_nan=False)


def test_threads_default_to_the_physical_cores(fake_models) -> None:
    transport = Scripted()
    options = BenchOptions(load_device("cpu"), seconds=0.1, rounds=2)
    result = bench_models(fake_models(), options=options, transport=transport)
    assert result["settings"]["threads"] == 2
    assert transport.arguments[1][transport.arguments[1].index("--threads") + 1] == "2"


def test_saved_after_every_pair(fake_models, quick: BenchOptions) -> None:
    seen: list[tuple[int, bool]] = []

    def save(result: dict) -> None:
        seen.append((len(result["models"]["pruned"]["samples_ns"]), result["complete"]))

    bench_models(fake_models(), options=quick, transport=Scripted(), save=save)
    assert seen == [(1, False), (2, False), (2, False), (2, True)]


def test_accuracy_is_added(fake_models, quick: BenchOptions) -> None:
    result = bench_models(fake_models(), options=quick, transport=Scripted(), batches=two_images)
    assert result["models"]["pruned"]["accuracy"] == 0.75
    assert result["models"]["pruned"]["accuracy_images"] == 4


@pytest.mark.parametrize("missing", ["baseline", "pruned"])
def test_models_that_are_not_given(fake_models, quick: BenchOptions, missing: str) -> None:
    models = fake_models()
    models[missing].unlink()
    with pytest.raises(BenchError, match=f"no such model file: .*{missing}"):
        bench_models(models, options=quick)
    del models[missing]
    with pytest.raises(BenchError, match="name them baseline and pruned"):
        bench_models(models, options=quick)


def test_crash_of_the_model_is_one_line(fake_models, quick: BenchOptions) -> None:
    models = fake_models({}, {"fail": "out of memory"})
    with pytest.raises(BenchError, match="measuring pruned .*RuntimeError: out of memory$"):
        bench_models(models, options=quick)


def test_run_writes_both_places(run_path: Path, scripted: Scripted, fake_runs: None, tmp_path: Path) -> None:
    result = bench_run(run_path, seconds=1, json_path=tmp_path / "copy.json")
    place = run_path / "bench" / "cpu.json"
    assert json.loads(place.read_text()) == result.to_dict()
    assert place.read_text() == (tmp_path / "copy.json").read_text()
    assert [path.name for path in place.parent.iterdir()] == ["cpu.json"]
    assert result["models"]["pruned"]["accuracy"] == 0.75


def test_run_without_accuracy_opens_no_data(run_path: Path, scripted: Scripted) -> None:
    result = bench_run(run_path, accuracy=False)
    assert result["models"]["pruned"]["accuracy_reason"] == "not asked for"
    assert ("accuracy", "pruned") not in scripted.asked


def test_failure_keeps_the_old_result_and_what_was_measured(
    run_path: Path, scripted: Scripted, fake_runs: None
) -> None:
    place = run_path / "bench" / "cpu.json"
    place.parent.mkdir()
    place.write_text("the last one")
    scripted.fail_at = 4  # probe, then one whole pair, then this
    with pytest.raises(BenchError, match="measuring pruned"):
        bench_run(run_path)
    assert place.read_text() == "the last one"
    partial = json.loads((place.parent / "cpu.json.partial").read_text())
    assert partial["complete"] is False
    assert len(partial["models"]["baseline"]["samples_ns"]) == 1


def spoil(run: Path, name: str) -> None:
    (run / "export" / name).unlink()


@pytest.mark.parametrize(
    ("arguments", "prepare", "message"),
    [
        ({"device": "toaster"}, None, "unknown device 'toaster'.*nown: .*auto, .*cpu"),
        ({"threads": 0}, None, "`threads` must be at least 1, not 0"),
        ({"batch": 0}, None, "`batch` must be at least 1, not 0"),
        ({"seconds": 0}, None, "`seconds` must be above 0"),
        ({}, lambda run: spoil(run, "pruned.onnx"), "has no export/pruned.onnx: .*edgeprune export"),
        ({}, lambda run: (run / "bench").write_text(""), "cannot write .*cpu.json"),
        ({"json_path": "."}, None, "it is a folder"),
    ],
)
def test_checked_before_anything_is_measured(
    run_path: Path, scripted: Scripted, arguments: dict, prepare: Callable | None, message: str
) -> None:
    if prepare:
        prepare(run_path)
    with pytest.raises(BenchError, match=message) as caught:
        bench_run(run_path, **arguments)
    assert "\n" not in str(caught.value)
    assert scripted.asked == []


def test_no_such_run(tmp_path: Path, scripted: Scripted) -> None:
    with pytest.raises(BenchError, match="no such run folder"):
        bench_run(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("host", [None, "user@board"])
def test_a_profile_that_the_machine_contradicts(
    run_path: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    """An error before anything is measured; with assume_device a result that says so everywhere."""
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    monkeypatch.setattr(Host, "connect", lambda self: scripted)
    present = None if host is None else Host(host)
    expected: dict[str, Any] = {
        "device": "jetson-orin-nano",
        "accuracy": False,
        "seconds": 0.1,
        "host": present,
    }
    with pytest.raises(BenchError, match="`device=jetson-orin-nano` is not what this is: a machine without"):
        bench_run(run_path, **expected)
    assert not (run_path / "bench").exists()
    result = bench_run(run_path, **expected, assume_device=True)
    assert result["device"]["assumed"] == "a machine without a device tree (CPU of this machine)"
    warning = next(warning for warning in result["warnings"] if warning["code"] == "device_assumed")
    assert "nothing here was measured on a jetson-orin-nano" in warning["message"]
    written = json.loads((run_path / "bench" / "jetson-orin-nano.json").read_text())
    assert written["device"] == result.device.to_dict()


def test_a_library_call_is_checked_too(fake_models) -> None:
    options = BenchOptions(load_device("jetson-nano"), seconds=0.1, rounds=2)
    with pytest.raises(BenchError, match="`device=jetson-nano` is not what this is"):
        bench_models(fake_models(), options=options, transport=Scripted())


def test_a_run_without_a_summary_is_found_before_measuring(
    run_path: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_path / "config.json").write_text('{"schema": 1}')
    done = CliRunner().invoke(main, ["bench", str(run_path)])
    assert done.exit_code == 1 and "is not finished" in done.stderr
    assert scripted.asked == []


# --- nothing lost ---------------------------------------------------------------------------------


def test_a_run_in_use_is_not_measured(run_path: Path, scripted: Scripted) -> None:
    with held(run_path), pytest.raises(InUseError, match="is in use by process"):
        bench_run(run_path, seconds=1, accuracy=False)


def test_a_second_place_may_be_a_device_or_a_link(run_path: Path, scripted: Scripted, tmp_path: Path) -> None:
    link, target = tmp_path / "link.json", tmp_path / "elsewhere" / "target.json"
    link.symlink_to(target)
    result = bench_run(run_path, seconds=1, accuracy=False, json_path=link)
    assert link.is_symlink() and json.loads(target.read_text()) == result.to_dict()
    bench_run(run_path, seconds=1, accuracy=False, json_path="/dev/null")
    assert Path("/dev/null").is_char_device()


# --- every runtime ----------------------------------------------------------------------------------------


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch, scripted: Scripted) -> Scripted:
    """A machine with ONNX Runtime alone, where int8 is faster."""
    answer = scripted.call

    def call(verb: str, arguments: Any, *more: Any) -> Any:
        scripted.latency_ns = {"baseline": 2_000_000, "pruned": 1_000_000}
        words = " ".join(arguments)
        if ".int8" in words:
            scripted.latency_ns = {"baseline.int8": 1_000_000, "pruned.int8": 400_000}
        return answer(verb, arguments, *more)

    monkeypatch.setattr(scripted, "call", call)
    return scripted


def with_int8(run: Path) -> Path:
    """Add int8 ONNX files, and an OpenVINO export that was skipped, to a run's record."""
    record = ExportRecord.read(run / "export")
    for name in MODELS:
        (run / "export" / f"{name}.int8.onnx").write_bytes(b"int8 " + name.encode())
    more = [Artifact("onnx-int8", "int8", name, f"{name}.int8.onnx", None, 10, params=1) for name in MODELS]
    more += [
        Artifact("openvino", "fp32", name, None, None, None, 1, skipped_because="openvino is missing")
        for name in MODELS
    ]
    msgspec.structs.replace(record, artifacts=(*record.artifacts, *more)).write(run / "export/export.json")
    return run


def test_every_runtime_in_one_table(run_path: Path, two_kinds: Scripted, tmp_path: Path) -> None:
    run = with_int8(run_path)
    table = bench_every(run, seconds=0.1, accuracy=False, json_path=tmp_path / "table.json")
    assert [(row["runtime"], row["precision"]) for row in table["rows"]] == [
        ("onnxruntime", "int8"),
        ("onnxruntime", "fp32"),
    ]
    assert [row["result"]["speedup"]["value"] for row in table["rows"]] == [2.5, 2.0]
    why = {(entry["runtime"], entry["precision"]): entry["why"] for entry in table["skipped"]}
    assert why["openvino", "fp32"] == "openvino is missing"
    assert why["ncnn", "int8"] == f"it was not exported: edgeprune export {run} --to ncnn --precision int8"
    assert "has no tensorrt" in why["tensorrt", "fp16"]
    assert json.loads((tmp_path / "table.json").read_text()) == table.to_dict()
    heads, rows = runtimes_table(table)
    assert [len(row) for row in rows] == [len(heads)] * 2
    assert rows[0][0] == "onnxruntime int8"
    assert rows[0][3] == "2.50x ±0.00"
    lines = "\n".join(runtimes_lines(table))
    assert "ncnn int8, " in lines and lines.count("it was not exported: each as edgeprune export ") == 1
    assert "openvino fp32 skipped: openvino is missing" in lines


def test_a_stopped_table_goes_on_with_what_it_lacks(
    run_path: Path, two_kinds: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_int8(run_path)
    answer = two_kinds.call
    rounds: list[bool] = []  # whether each was of int8
    stop_at = 0

    def call(verb: str, arguments: Any, *more: Any) -> Any:
        if verb == "measure":
            rounds.append(".int8" in " ".join(arguments))
            if len(rounds) == stop_at:
                raise KeyboardInterrupt
        return answer(verb, arguments, *more)

    monkeypatch.setattr(two_kinds, "call", call)
    measure = partial(bench_every, run, seconds=0.1, accuracy=False)
    table = measure()
    count = len(rounds)
    assert count >= 12
    assert rounds == [False] * (count // 2) + [True] * (count // 2)

    rounds.clear()
    stop_at = count // 2 + 4
    with pytest.raises(KeyboardInterrupt):
        measure()

    stop_at = 0
    rounds.clear()
    resumed = measure(resume=True)
    assert rounds == [True] * (count // 2 - 2)  # a pair of rounds was complete
    times = [[row.result.models[name].latency_ms.p50 for name in MODELS] for row in resumed.rows]
    assert times == [[row.result.models[name].latency_ms.p50 for name in MODELS] for row in table.rows]

    rounds.clear()
    assert measure(resume=True).rows == resumed.rows and not rounds
    stop_at = count // 2 + 4
    with pytest.raises(KeyboardInterrupt):
        measure()
    stop_at = 0
    rounds.clear()
    assert len(measure(resume=True, batch=2).rows) == 2 and len(rounds) == count


def test_ctrl_c_says_how_to_go_on(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_run(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeprune.bench.bench_run", stopped_run)
    stopped = CliRunner().invoke(main, ["bench", str(run_path), "--no-accuracy"])
    assert stopped.exit_code == 130, stopped.output
    assert stopped.stderr == "stopped; go on with the same command and --resume\n"
    loose = [str(run_path / f"export/{name}.onnx") for name in MODELS]
    assert CliRunner().invoke(main, ["bench", *loose]).stderr == "stopped\n"


def test_every_runtime_in_one_precision(run_path: Path, two_kinds: Scripted) -> None:
    table = bench_every(with_int8(run_path), precision="int8", seconds=0.1, accuracy=False)
    assert [row["precision"] for row in table["rows"]] == ["int8"]
    assert {entry["precision"] for entry in table["skipped"]} == {"int8"}


def test_every_runtime_of_nothing(run_path: Path, tmp_path: Path, scripted: Scripted) -> None:
    with pytest.raises(BenchError, match=r"has no export/export.json: make it with: edgeprune export"):
        bench_every(tmp_path / "nothing")
    with pytest.raises(BenchError, match="unknown precision 'int4': known are fp16, fp32, int8"):
        bench_every(run_path, precision="int4")
    with pytest.raises(BenchError, match="nothing could be measured: onnxruntime: it was not exported"):
        bench_every(run_path, precision="int8")
    outcome = CliRunner().invoke(main, ["bench", str(run_path), "--runtime", "all", "--layers"])
    assert outcome.exit_code != 0
