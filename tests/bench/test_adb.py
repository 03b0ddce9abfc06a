"""A phone behind a stand-in adb: with a Python, with onnxruntime_perf_test, with neither."""

import json
from pathlib import Path

import pytest
from boards.phone import SERIAL, Phone, build

from bench.remote_fixtures import linear_onnx
from edgeprune.bench import Host, bench_run
from edgeprune.bench import journal as journal_module
from edgeprune.bench.adb import AdbTransport
from edgeprune.errors import BenchError, ConnectionLost

QUICK = {"seconds": 0.4, "threads": 1}


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_rounds: None) -> Phone:
    made = build(tmp_path / "adb")
    monkeypatch.setenv("PATH", f"{made.folder / 'bin'}:/usr/bin:/bin")
    return made


def test_words() -> None:
    with_serial = AdbTransport("192.168.1.5:5555")
    assert with_serial.shell("id") == ["adb", "-s", "192.168.1.5:5555", "shell", "sh -c id"]
    assert AdbTransport().copy(Path("/a"), "/b") == ["adb", "push", "/a", "/b"]
    with pytest.raises(BenchError, match="give a serial of 'adb devices'"):
        AdbTransport("-e")


@pytest.mark.parametrize(
    "place",
    [
        "data/data/com.termux/files/usr/bin/python3",
        pytest.param("system/bin/python3", marks=pytest.mark.slow),
    ],
)
def test_phone_with_python(phone: Phone, run_of_digits: Path, place: str) -> None:
    phone.give_python(place)
    result = bench_run(run_of_digits, host=Host(f"adb:{SERIAL}"), accuracy=False, **QUICK)
    assert result["device"]["name"] == "android-phone"
    assert result["device"]["host"] == f"adb:{SERIAL}"
    assert result["complete"] is True
    assert any(name.name.endswith("edgeprune_target.pyz") for name in phone.home.iterdir())
    assert all(words[:2] == ["-s", SERIAL] for words in phone.calls())


def test_old_adb_with_two_line_ends_and_no_exit_codes(phone: Phone, run_of_digits: Path) -> None:
    phone.give_python()
    phone.old_adb()
    result = bench_run(run_of_digits, host=Host("adb:"), **QUICK)
    assert result["models"]["pruned"]["accuracy_images"] == 360
    transport = AdbTransport()
    with pytest.raises(BenchError, match="doing it failed: .*nowhere"):
        transport.run("cat /data/nowhere", "doing it")


@pytest.mark.parametrize("old", [False, True])
def test_phone_with_perf_test(phone: Phone, run_of_digits: Path, old: bool) -> None:
    if old:
        phone.old_adb()
    phone.give_perf_test({"baseline": 0.02, "pruned": 0.01})
    result = bench_run(run_of_digits, host=Host(f"adb:{SERIAL}"), seconds=2, threads=4)
    assert result["speedup"]["value"] == pytest.approx(2.0)
    for name, latency_ms in (("baseline", 20.0), ("pruned", 10.0)):
        model = result["models"][name]
        assert model["latency_ms"]["p50"] == pytest.approx(latency_ms)
        assert model["latency_ms"]["p99"] == pytest.approx(latency_ms)  # the first, slow ones were warm-up
        assert [*model["load_ms"]] == [pytest.approx(50.8382)] * 2
        assert sum(len(samples) for samples in model["samples_ns"]) == pytest.approx(2000 / latency_ms)
        assert model["versions"] == {"onnxruntime": "1.23.2"}
        assert (model["memory_peak_bytes"], model["energy_mj_per_inference"], model["accuracy"]) == (
            None,
            None,
            None,
        )
        assert "peak of its whole process" in model["memory_reason"]
        assert "battery gauge" in model["energy_reason"]
        assert "needs a Python on the phone" in model["accuracy_reason"]
        assert "onnxruntime_perf_test: times alone" in model["accuracy_reason"]
    flags = json.loads((phone.home / "flags.json").read_text())
    assert (flags["-x"], flags["-t"]) == ("4", "2")  # 1 s of the round, and 1 s of warm-up
    assert not (phone.home / "edgeprune_times.csv").exists()


def test_what_a_phone_says_of_itself(phone: Phone, run_of_digits: Path) -> None:
    phone.give_perf_test({"baseline": 0.02, "pruned": 0.01}, library=False)
    result = bench_run(run_of_digits, host=Host("adb:"), seconds=2, threads=1)
    machine = result["device"]["fingerprint"]
    assert machine["board"]["model"] == "SM-S911B"
    assert (machine["cpu_model"], machine["machine"]) == ("SM8550", "arm64-v8a")
    assert machine["system"].startswith("Android 14")
    assert machine["memory_total_bytes"] == 7_600_000 * 1024
    assert machine["clock_khz"]["max"] == [2_800_000, 2_800_000]
    assert machine["runtimes"]["onnxruntime"] == "unknown (onnxruntime_perf_test)"
    state = result["machine"]["before"]
    assert state["temperatures_c"] == {"cpu-0-0": 41.0, "battery": 30.0}
    assert state["cpu"]["clocks"][0]["max_khz"] == 2_800_000


def test_a_hot_phone_and_a_batch_which_is_told_by_the_name_of_the_free_size(
    phone: Phone, run_of_digits: Path
) -> None:
    phone.give_perf_test({"baseline": 0.02, "pruned": 0.01})
    (phone.root / "sys/class/thermal/thermal_zone0/temp").write_text("96000\n")
    result = bench_run(run_of_digits, host=Host("adb:"), batch=4, seconds=2, threads=1)
    assert json.loads((phone.home / "flags.json").read_text())["-f"] == "batch:4"
    assert result["settings"]["feed"] == {"input": [4, 3, 32, 32]}
    assert result["models"]["pruned"]["throughput_ips"] == pytest.approx(400)
    messages = {warning["code"]: warning["message"] for warning in result["warnings"]}
    assert "zone cpu-0-0 reached 96 C" in messages["hot"]


def test_phone_with_neither(phone: Phone, run_of_digits: Path) -> None:
    with pytest.raises(
        BenchError, match="has neither a Python nor onnxruntime_perf_test, nor benchmark_model"
    ) as caught:
        bench_run(run_of_digits, host=Host(f"adb:{SERIAL}"))
    assert str(caught.value).endswith(
        f"adb -s {SERIAL} push onnxruntime_perf_test libonnxruntime.so /data/local/tmp/edgeprune/"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unauthorized", "unlock it and accept"),
        ("offline", "it is offline"),
        ("absent", "adb sees no phone"),
    ],
)
def test_phone_that_is_not_ready(phone: Phone, run_of_digits: Path, state: str, message: str) -> None:
    phone.is_(state)
    with pytest.raises(ConnectionLost, match=message) as caught:
        bench_run(run_of_digits, host=Host("adb:"))
    assert "\n" not in str(caught.value)


def test_serial_that_is_not_there(phone: Phone, run_of_digits: Path) -> None:
    with pytest.raises(ConnectionLost, match="adb does not see it"):
        bench_run(run_of_digits, host=Host("adb:OTHER"))


def test_unplugged_in_mid_run_and_resumed(
    phone: Phone, run_of_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 4)
    phone.give_perf_test({"baseline": 0.02, "pruned": 0.01})
    add = journal_module.Journal.add

    def unplug_after_two(journal: journal_module.Journal, pair: journal_module.Pair) -> None:
        add(journal, pair)
        if len(journal.path.read_text().splitlines()) == 3:
            phone.is_("absent")

    monkeypatch.setattr(journal_module.Journal, "add", unplug_after_two)
    with pytest.raises(ConnectionLost, match="adb sees no phone"):
        bench_run(run_of_digits, host=Host("adb:"), seconds=2, threads=1)
    phone.is_("device")
    result = bench_run(run_of_digits, host=Host("adb:"), seconds=2, threads=1, resume=True)
    assert (result["speedup"]["pairs"], result["settings"]["stretches"]) == (4, 2)


def test_program_that_fails(phone: Phone, run_of_digits: Path) -> None:
    phone.give_perf_test({"baseline": 0.02})
    with pytest.raises(BenchError, match=r"measuring pruned \(pruned.onnx\) failed: .*KeyError"):
        bench_run(run_of_digits, host=Host("adb:"), seconds=2, threads=1)


def test_what_the_program_cannot_do_is_one_line(phone: Phone) -> None:
    phone.give_perf_test({})
    with pytest.raises(BenchError, match="gives times alone: for sensors there must be a Python"):
        Host("adb:").connect().call("sensors", ["--sensors", "ina3221"])


def test_adb_that_is_not_installed(
    run_of_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="cannot start adb: No such file"):
        bench_run(run_of_digits, host=Host("adb:"))


def test_models_are_pushed_once(phone: Phone, tmp_path: Path) -> None:
    phone.give_python()
    path = linear_onnx(tmp_path / "m.onnx", layers=0)
    for _ in range(2):
        transport = AdbTransport(SERIAL)
        transport.connect()
        transport.send(path)
    assert sum(words[2] == "push" for words in phone.calls()) == 2  # the runner and the model
