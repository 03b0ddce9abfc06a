import argparse
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import edgeprune_target
import pytest
from edgeprune_target.__main__ import main, named_shape

from edgeprune.bench.local import runner_environment


def lines(*arguments: str) -> tuple[int, list[dict]]:
    out = io.StringIO()
    code = main(list(arguments), out)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_result_is_the_last_line(fake_file: Path) -> None:
    code, events = lines("measure", "--runtime", "fake", "--model", str(fake_file), "--seconds", "0.01")
    assert code == 0
    assert events[-1]["event"] == "result"
    assert events[-1]["result"]["samples_ns"]


def test_layers_of_an_onnx_file(onnx_file: Path) -> None:
    code, events = lines("layers", "--model", str(onnx_file), "--seconds", "0.01")
    result = events[-1]["result"]
    assert code == 0 and {"name", "kind", "ms", "outputs", "reformat"} <= set(result["layers"][0])
    assert all(layer["ms"] >= 0 for layer in result["layers"])
    assert [layer["kind"] for layer in result["layers"]] == ["GlobalAveragePool", "Flatten"]


def test_layers_that_nobody_timed(fake_file: Path) -> None:
    code, events = lines("layers", "--model", str(fake_file), "--runtime", "fake")
    assert code == 1 and events[-1]["message"].startswith("fake timed no layer of")


def test_build_where_there_is_nothing_to_build(onnx_file: Path) -> None:
    code, events = lines("build", "--model", str(onnx_file))
    assert (code, events[-1]["result"]["built_now"], events[-1]["result"]["engine"]) == (0, False, None)


def test_options_of_an_engine_reach_it(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprune_target.runtimes import RUNTIMES, Runtime
    from edgeprune_target.trt.options import EngineOptions

    seen = []

    class Spy(Runtime):
        def __init__(self, model: str, threads: int, options: EngineOptions) -> None:
            super().__init__(model, threads, options)
            seen.append(options)

    monkeypatch.setitem(RUNTIMES, "tensorrt", Spy)
    words = "--precision int8 --batch 4 --workspace-mb 64 --timing-cache t --engines e --calibration c.npy"
    lines("build", "--runtime", "tensorrt", "--model", "m", *words.split(), "--shape", "2x3", "--root", "/r")
    assert seen == [EngineOptions("int8", 4, {"": (2, 3)}, 64, "t", "e", "c.npy", "/r")]


def test_error_is_one_line_and_code_1() -> None:
    code, events = lines("measure", "--model", "absent.onnx")
    assert code == 1
    assert events == [{"event": "error", "message": "no such model file: absent.onnx"}]


def test_probe() -> None:
    code, events = lines("probe", "--sensors", "rapl")
    assert (code, events[-1]["result"]["cores_available"] >= 1) == (0, True)


def test_sensors_asks_every_one(five_watts: Path) -> None:
    code, events = lines("sensors", "--sensors", f"none,replay:{five_watts}")
    assert code == 0
    assert [sensor["answers"] for sensor in events[-1]["result"]] == [False, True]


def test_total_of_the_rails(fake_file: Path, five_watts: Path) -> None:
    command = ["measure", "--runtime", "fake", "--model", str(fake_file), "--seconds", "0.01"]
    command += ["--sensors", f"replay:{five_watts}"]
    _, events = lines(*command, "--total", "measured_input=VIN", "--total", "rail_sum=VDD_IN")
    energy = events[-1]["result"]["energy"]
    assert (energy["total_kind"], energy["total_rails"]) == ("rail_sum", ["VDD_IN"])
    with pytest.raises(SystemExit):
        lines(*command, "--total", "VDD_IN")


@pytest.mark.parametrize(
    ("text", "expected"), [("input=1x3x32x32", ("input", (1, 3, 32, 32))), ("2x8", ("", (2, 8)))]
)
def test_shapes(text: str, expected: tuple) -> None:
    assert named_shape(text) == expected


@pytest.mark.parametrize("text", ["", "input=", "input=1xtwo", "0x3"])
def test_no_shapes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write it as"):
        named_shape(text)


def test_what_libraries_print_stays_out_of_the_answer() -> None:
    code = (
        "import os, sys, edgeprune_target.__main__ as m\n"
        "m.VERBS['probe'] = lambda o, e: os.write(1, b'chatter\\n')\n"
        "sys.argv = ['x', 'probe']\n"
        "m.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=runner_environment(), capture_output=True, text=True
    )
    assert done.stdout == '{"event": "result", "result": 8}\n'
    assert done.stderr == "chatter\n"
    assert done.returncode == 0


RUNTIME = """
from edgeprune_target.runtimes import Runtime, register

@register
class Sent(Runtime):
    name = "sent"

    def load(self):
        self.inputs = {"x": ((1, 2), "float32")}

    def infer(self, feed):
        return {"y": feed["x"]}
"""


def test_a_runtime_of_a_file_sent_along(
    tmp_path: Path, fake_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune_target import runtimes

    monkeypatch.setattr(runtimes, "RUNTIMES", dict(runtimes.RUNTIMES))
    (tmp_path / "sent.py").write_text(RUNTIME)
    words = ("--runtime-file", str(tmp_path / "sent.py"))
    code, events = lines(
        "measure", "--model", str(fake_file), "--runtime", "sent", "--seconds", "0.01", *words
    )
    result = events[-1]["result"]
    assert (code, result["runtime"], result["versions"]) == (
        0,
        "sent",
        {"sent": edgeprune_target.__version__},
    )
    assert result["feed"] == {"x": [1, 2]} and len(result["samples_ns"]) >= 3
    assert (result["uses_gpu"], result["gpu_ns"], result["engine"]) == (False, None, None)
    assert result["device_memory"] is None and result["engine_warnings"] == []
    code, events = lines("build", "--model", str(fake_file), "--runtime", "sent")
    assert (code, events[-1]["result"]["built_now"]) == (0, False)
    code, events = lines("layers", "--model", str(fake_file), "--runtime", "sent", "--seconds", "0.01")
    assert (code, events[-1]["message"]) == (1, f"sent timed no layer of {fake_file}")
    _, events = lines("probe")
    assert events[-1]["result"]["runtimes"]["sent"] == edgeprune_target.__version__


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such runtime file: "),
        ("import no_such_module_here\n", "needs the Python package no_such_module_here on this machine"),
        ("x = (\n", "the runtime file bad.py does not run on Python .* .SyntaxError: "),
        ("1 / 0\n", "does not run on Python .* .ZeroDivisionError: division by zero"),
        (RUNTIME.replace('"sent"', '"fake"'), "there is a runtime 'fake' already: give Sent another name"),
        (RUNTIME.replace('"sent"', '""'), "Sent is not a runtime: derive it from Runtime and give it a name"),
    ],
)
def test_a_runtime_file_that_cannot_be_used(
    tmp_path: Path, fake_file: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    code, events = lines("measure", "--model", str(fake_file), "--runtime-file", str(tmp_path / "bad.py"))
    assert code == 1 and re.search(reason, events[-1]["message"])
    assert "\n" not in events[-1]["message"]
