"""Limits against a run made up by hand, and the command line's exit codes."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from edgeprune import tasks
from edgeprune.cli import main
from edgeprune.errors import BudgetError, RunError
from edgeprune.files.reading import sha256
from edgeprune.files.writing import write_json
from edgeprune.runs.verification import LIMITS, verify, write_junit

NAMES = ("baseline", "pruned")
BOARDLESS = {"model": None, "compatible": [], "soc": None, "l4t": None, "android": False, "gpus": []}


def bench_of(run: Path, **pruned: Any) -> dict[str, Any]:
    model = {
        "size_bytes": 1000,
        "accuracy": 0.95,
        "accuracy_reason": None,
        "latency_ms": {"p50": 4.0, "p90": 5.0, "p99": 8.0, "mean": 4.0},
        "throughput_ips": 250.0,
        "memory_peak_bytes": 20_000_000,
        "memory_reason": None,
        "energy_mj_per_inference": None,
        "energy_reason": "no sensor",
        "versions": {},
    }
    models = {}
    for name in NAMES:
        file = run / "export" / f"{name}.onnx"
        models[name] = {**model, "file": str(file), "sha256": sha256(file)}
    models["pruned"].update(pruned)
    settings = {"runtime": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1, "seconds": 1.0}
    fingerprint = {"board": BOARDLESS, "runtimes": {"onnxruntime": "1"}}
    return {
        "schema": 1,
        "models": models,
        "speedup": {"value": 1.6, "low": 1.5, "high": 1.7, "confidence": 0.95, "pairs": 10},
        "settings": settings,
        "device": {"name": "cpu", "title": "CPU", "fingerprint": fingerprint},
        "warnings": [],
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished, exported and measured run, as far as `verify` looks at it."""
    place = tmp_path / "runs" / "mine"
    (place / "export").mkdir(parents=True)
    write_json(place / "config.json", {"schema": 1})
    models = {
        "baseline": {"accuracy": 0.96, "params": 200, "flops": 4000},
        "settled": {"accuracy": 0.9, "params": 50, "flops": 2000},
        "pruned": {"accuracy": 0.95, "params": 50, "flops": 2000},
    }
    for model in models.values():
        model |= {"test_images": 100, "size_bytes": 1000}
    outcome = {"kind": "flops", "asked": "flops=0.5", "fraction": 0.5, "got_fraction": 0.5}
    fractions: dict[str, Any] = {"params_fraction": 0.25, "flops_fraction": 0.5, "accuracy_drop": 0.01}
    interval = {
        "value": 0.01,
        "low": -0.005,
        "high": 0.025,
        "confidence": 0.95,
        "images": 100,
        "method": "by hand",
    }
    fractions["drop_interval"] = interval
    write_json(
        place / "summary.json",
        {"schema": 1, "target": outcome, "targets": [outcome], **fractions, "models": models, "notes": []},
    )
    exported = {}
    for name, agreement in zip(NAMES, (1.0, 0.99), strict=True):
        file = place / "export" / f"{name}.onnx"
        file.write_text(name)
        parity = {"top1_agreement": agreement, "max_rel_diff": 1e-6, "max_abs_diff": 1e-6}
        exported[name] = {
            "file": file.name, "sha256": sha256(file), "size_bytes": 1500, "params": 9, "parity": parity,
        }  # fmt: skip
    write_json(place / "export" / "export.json", {"schema": 1, "models": exported})
    write_json(place / "bench" / "cpu.json", bench_of(place))
    return place


def held(run: Path, text: str, **more: Any) -> dict[str, Any]:
    budget = run.parent / "budget.toml"
    budget.write_text(text)
    return verify(run, budget, **more)


@pytest.mark.parametrize(
    ("name", "value", "better"),
    [
        ("accuracy", 0.95, 0.9),
        ("accuracy_drop_points", 1.0, 2.0),
        ("accuracy_drop_upper_points", 2.5, 3.0),
        ("params", 50, 60),
        ("params_fraction", 0.25, 0.3),
        ("flops", 2000, 3000),
        ("flops_fraction", 0.5, 0.6),
        ("onnx_top1_agreement", 0.99, 0.9),
        ("onnx_max_rel_diff", 1e-6, 1.5e-6),
        ("size_kb", 1.5, 2),
        ("onnx_accuracy", 0.95, 0.9),
        ("latency_p50_ms", 4.0, 5.0),
        ("latency_p90_ms", 5.0, 6.0),
        ("latency_p99_ms", 8.0, 9.0),
        ("throughput_ips", 250.0, 200),
        ("speedup", 1.5, 1.2),
        ("memory_peak_mb", 20.0, 30),
    ],
)
def test_each_limit_is_met_at_it_and_missed_beyond(run: Path, name: str, value: float, better: float) -> None:
    for limit in (value, better):
        result = held(run, f"{name} = {limit}")
        assert result["passed"] and result["checks"][0]["value"] == pytest.approx(value)
    worse = value + (value - better) / 2
    result = held(run, f"{name} = {worse}")
    assert not result["passed"] and result["checks"][0]["verdict"] == "missed"


def test_energy(run: Path) -> None:
    bench = bench_of(run, energy_mj_per_inference=3.0)
    bench["models"]["baseline"]["energy_mj_per_inference"] = 6.0
    write_json(run / "bench" / "cpu.json", bench)
    result = held(run, "energy_mj = 3\nenergy_fraction = 0.4")
    assert [c["verdict"] for c in result["checks"]] == ["met", "missed"]
    assert result["checks"][1]["value"] == 0.5


def test_all_limits_are_is_tested() -> None:
    marks = test_each_limit_is_met_at_it_and_missed_beyond.pytestmark[0].args[1]
    names = {name for name, _, _ in marks} | {"energy_mj", "energy_fraction", "onnx_accuracy_drop_points"}
    assert names | set(MASKS) == {name for name in LIMITS if is_tested(name)}


MASKS = {
    "mean_iou": 0.7,
    "mean_iou_drop_points": 2.0,
    "mean_iou_drop_upper_points": 3.0,
    "onnx_mean_iou": 0.69,
}


@pytest.mark.parametrize(("interval", "words"), [(None, "too few test images"), ("unset", "earlier version")])
def test_a_drop_without_an_interval_is_not_met(run: Path, interval: Any, words: str) -> None:
    summary = json.loads((run / "summary.json").read_text())
    del summary["drop_interval"]
    write_json(
        run / "summary.json", summary if interval == "unset" else {**summary, "drop_interval": interval}
    )
    check = held(run, "accuracy_drop_upper_points = 5")["checks"][0]
    assert check["verdict"] == "not measured" and words in check["reason"]


def is_tested(name: str) -> bool:
    """Return whether a limit is not that of another task than classification and segmentation."""
    return not any(
        task not in ("classification", "segment") and tasks.get(task).metric.name in name
        for task in tasks.names()
    )


@pytest.mark.parametrize(("name", "value"), MASKS.items())
def test_limits_of_segmentation(run: Path, name: str, value: float) -> None:
    assert not held(run, f"{name} = {value}")["passed"]
    assert "the run's task is not segment" in str(held(run, f"{name} = {value}"))
    summary = json.loads((run / "summary.json").read_text())
    for model, score in {"baseline": 0.72, "settled": 0.5, "pruned": 0.7}.items():
        del summary["models"][model]["accuracy"]
        summary["models"][model] |= {"mean_iou": score, "pixel_accuracy": 0.9}
    summary |= {"mean_iou_drop": 0.02, "task": "segment"}
    summary["drop_interval"] |= {"value": 0.02, "low": 0.01, "high": 0.03}
    write_json(run / "summary.json", summary)
    bench = bench_of(run)
    bench["models"]["pruned"] |= {"accuracy": None, "scores": {"mean_iou": 0.69, "pixel_accuracy": 0.9}}
    write_json(run / "bench" / "cpu.json", bench)
    result = held(run, f"{name} = {value}")
    assert result["passed"] and result["checks"][0]["value"] == pytest.approx(value)
    worse = value - 0.1 if "drop" in name else value + 0.1
    assert held(run, f"{name} = {worse}")["checks"][0]["verdict"] == "missed"
    assert "the run's task is not classification" in str(held(run, "accuracy = 0.5"))


def test_what_was_not_measured_is_not_met_and_says_why(run: Path) -> None:
    result = held(run, "energy_mj = 5\nenergy_fraction = 1\nflops = 2000")
    assert not result["passed"]
    assert [(c["verdict"], c["reason"]) for c in result["checks"]] == [
        ("not measured", "no sensor"), ("not measured", "no sensor"), ("met", None),
    ]  # fmt: skip


def test_a_measurement_of_other_files_does_not_count(run: Path) -> None:
    (run / "export" / "pruned.onnx").write_text("new")
    result = held(run, "latency_p50_ms = 5\nsize_kb = 5\naccuracy = 0.9")
    assert [c["verdict"] for c in result["checks"]] == ["not measured", "not measured", "met"]
    assert "measured another pruned model" in result["checks"][0]["reason"]
    assert "pruned.onnx is not what export.json describes" in result["checks"][1]["reason"]


def test_nothing_exported_or_measured(run: Path) -> None:
    (run / "bench" / "cpu.json").unlink()
    (run / "export" / "export.json").unlink()
    result = held(run, "speedup = 1\nonnx_max_rel_diff = 1")
    bench, export = (c["reason"] for c in result["checks"])
    assert bench == f"nothing was measured: edgeprune bench {run}"
    assert export == f"the run has not been exported: edgeprune export {run}"
    result = held(run, 'device = "jetson-nano"\nspeedup = 1')
    assert "nothing was measured on jetson-nano" in result["checks"][0]["reason"]


def test_an_int8_measurement_has_limits_of_its_own(run: Path) -> None:
    result = bench_of(run, accuracy=0.93)
    result["models"]["baseline"]["accuracy"] = 0.955
    write_json(run / "bench" / "cpu.int8.json", result)
    checked = held(run, 'device = "cpu.int8"\nonnx_accuracy = 0.93\nonnx_accuracy_drop_points = 2.5')
    assert checked["passed"]
    assert checked["checks"][1]["value"] == pytest.approx(2.5)
    assert not held(run, 'device = "cpu.int8"\nonnx_accuracy_drop_points = 2.4')["passed"]
    result["models"]["baseline"]["accuracy"] = None
    result["models"]["baseline"]["accuracy_reason"] = "no images"
    write_json(run / "bench" / "cpu.int8.json", result)
    (unknown,) = held(run, "onnx_accuracy_drop_points = 9", device="cpu.int8")["checks"]
    assert (unknown["verdict"], unknown["reason"]) == ("not measured", "no images")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("jetson-nano", "--device jetson-nano"),
        ("cpu.int8", "--device cpu --precision int8"),
        ("cpu.openvino-int8", "--device cpu --runtime openvino --precision int8"),
        ("cpu.ncnn", "--device cpu --runtime ncnn"),
        ("cpu.myboard", "--device cpu"),
    ],
)
def test_what_was_not_measured_names_the_command(run: Path, device: str, words: str) -> None:
    (check,) = held(run, "speedup = 1", device=device)["checks"]
    assert check["reason"] == f"nothing was measured on {device}: edgeprune bench {run} {words}"


def test_which_device(run: Path) -> None:
    slow = bench_of(run)
    slow["speedup"]["low"] = 0.8
    write_json(run / "bench" / "jetson-nano.json", slow)
    assert held(run, 'device = "cpu"\nspeedup = 1')["passed"]
    assert not held(run, 'device = "cpu"\nspeedup = 1', device="jetson-nano")["passed"]
    with pytest.raises(BudgetError, match="was measured on cpu, jetson-nano: say which"):
        held(run, "speedup = 1")
    assert held(run, "flops_fraction = 0.5")["device"] is None  # nothing of a device is asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency_p50 = 5", "unknown limit 'latency_p50' .did you mean 'latency_p50_ms'"),
        ("accuracy 5", "is no TOML file"),
        ('accuracy = "high"', "accuracy is 'high': a limit is a number"),
        ("accuracy = true", "a limit is a number"),
        ("accuracy = nan", "a limit is a number"),
        ("[accuracy]\ndrop = 1", "a limit is a number"),
        ('device = "cpu"', "limits nothing"),
        ("device = 5\naccuracy = 0.5", "device is 5, which is no name"),
    ],
)
def test_a_budget_that_cannot_be_used(run: Path, text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        held(run, text)


def test_other_mistakes(run: Path) -> None:
    with pytest.raises(BudgetError, match="no such budget file"):
        verify(run, run / "nowhere.toml")
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        held(run, "accuracy = 0.5")


def test_junit(run: Path, tmp_path: Path) -> None:
    write_junit(held(run, "accuracy = 0.99\nflops = 2000\nenergy_mj = 1"), tmp_path / "out" / "junit.xml")
    suite = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    failures = [case.find("failure") for case in suite]
    messages = [None if failure is None else failure.get("message") for failure in failures]
    assert messages == [
        "accuracy is 0.95, at least 0.99 was asked", None, "energy_mj is not known: no sensor",
    ]  # fmt: skip


def test_command(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "budget.toml").write_text("accuracy_drop_points = 1.5\nspeedup = 1.55\n")
    words = ["verify", str(run), "--budget", "budget.toml"]
    done = CliRunner().invoke(main, [*words, "--json", "--junit", "j.xml"])
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert [c["verdict"] for c in result["checks"]] == ["met", "missed"]
    assert result["checks"][1]["value"] == 1.5  # the interval's lower end
    assert (tmp_path / "j.xml").is_file()
    (tmp_path / "budget.toml").write_text("speedup = 1.5\n")
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "all limits are met" in done.stdout
    assert "speedup (lower end of its 95 % interval)" in " ".join(done.stdout.replace("│", " ").split())
    assert CliRunner().invoke(main, ["verify", str(run)]).exit_code == 2


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "-1e-9", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["latency_p50_ms", "onnx_max_rel_diff", "params"])
def test_a_limit_that_cannot_be(run: Path, name: str, value: str) -> None:
    with pytest.raises(BudgetError, match=f"{name} is .*: (a limit is a number|it is never below 0)"):
        held(run, f"{name} = {value}")


def test_a_drop_may_be_asked_to_be_a_gain(run: Path) -> None:
    assert held(run, "accuracy_drop_points = -1")["checks"][0]["verdict"] == "missed"


def changed(path: Path, value: Any, *keys: str) -> None:
    """Put a value that JSON has no word for, or any other, into a result."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


NOT_NUMBERS = [float("nan"), float("inf"), -float("inf"), "4", True, [4]]
PRUNED = ("models", "pruned")


@pytest.mark.parametrize(
    ("limit", "file", "keys", "also"),
    [
        ("latency_p50_ms = 5", "bench/cpu.json", (*PRUNED, "latency_ms", "p50"), [-4.0, 0]),
        ("latency_p99_ms = 9", "bench/cpu.json", (*PRUNED, "latency_ms", "p99"), [-4.0, 0]),
        ("throughput_ips = 1", "bench/cpu.json", (*PRUNED, "throughput_ips"), [-4.0]),
        ("memory_peak_mb = 99", "bench/cpu.json", (*PRUNED, "memory_peak_bytes"), [-4.0, 0]),
        ("energy_mj = 99", "bench/cpu.json", (*PRUNED, "energy_mj_per_inference"), [-4.0, 0]),
        ("onnx_accuracy = 0.1", "bench/cpu.json", (*PRUNED, "accuracy"), [1.01, -0.1]),
        ("speedup = 0.5", "bench/cpu.json", ("speedup", "low"), [-1.0]),
        ("accuracy = 0.1", "summary.json", (*PRUNED, "accuracy"), [2.0, -1.0]),
        ("accuracy_drop_points = 5", "summary.json", ("accuracy_drop",), []),
        ("params = 99", "summary.json", (*PRUNED, "params"), [-1]),
        ("flops_fraction = 0.9", "summary.json", (*PRUNED, "flops"), [-1]),
        ("onnx_top1_agreement = 0.5", "export/export.json", (*PRUNED, "parity", "top1_agreement"), [1.5]),
        ("onnx_max_rel_diff = 1", "export/export.json", (*PRUNED, "parity", "max_rel_diff"), [-1e-6]),
        ("onnx_max_rel_diff = 1", "export/export.json", ("models", "baseline", "parity", "max_rel_diff"), []),
        ("size_kb = 5", "export/export.json", (*PRUNED, "size_bytes"), [-1]),
    ],
)
def test_what_cannot_be_is_not_met(
    run: Path, limit: str, file: str, keys: tuple[str, ...], also: list[Any]
) -> None:
    for value in [*NOT_NUMBERS, *also]:
        changed(run / file, value, *keys)
        result = held(run, limit)
        assert not result["passed"], value
        assert result["checks"][0]["verdict"] == "not measured", value
        assert "again" in result["checks"][0]["reason"]
        json.dumps(result, allow_nan=False)


def test_a_measurement_on_another_machine_does_not_count(run: Path) -> None:
    """As versions before --assume-device wrote it: an x86 machine under a Jetson's name."""
    device = {"name": "jetson-orin-nano", "title": "x", "fingerprint": {"board": BOARDLESS, "runtimes": {}}}
    write_json(run / "bench" / "jetson-orin-nano.json", {**bench_of(run), "device": device})
    result = held(run, "speedup = 1", device="jetson-orin-nano")
    assert not result["passed"]
    assert "not measured on that device but on a machine without a" in result["checks"][0]["reason"]


def test_an_assumed_device_counts_and_is_shown(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {
        "name": "jetson-orin-nano",
        "title": "x",
        "fingerprint": {"board": BOARDLESS, "runtimes": {}},
        "assumed": "some machine",
    }
    (run / "bench" / "cpu.json").unlink()
    write_json(run / "bench" / "jetson-orin-nano.json", {**bench_of(run), "device": device})
    result = held(run, "speedup = 1")
    assert (result["passed"], result["device_assumed"]) == (True, "some machine")
    monkeypatch.chdir(tmp_path)
    budget = str(run.parent / "budget.toml")
    done = CliRunner().invoke(main, ["verify", str(run), "--budget", budget, "--junit", "j.xml"])
    message = "jetson-orin-nano was assumed when measuring (--assume-device): the machine was some machine"
    assert message in done.stdout
    assert ElementTree.parse(tmp_path / "j.xml").getroot()[0].findtext("system-out") == message


def test_a_cut_measurement_does_not_count(run: Path) -> None:
    write_json(run / "bench" / "cpu.json", {**bench_of(run), "complete": False})
    assert "was cut" in held(run, "speedup = 1")["checks"][0]["reason"]
