"""Command lines and outputs of trtexec, by version; the stand-in program refuses what a version has not."""

import json
import subprocess
from pathlib import Path

import pytest
from edgeprune_target.trt import trtexec
from trt.trtexec_stand_in import BANNERS, install

VERSIONS = [tuple(int(part) for part in name.split(".")) for name in BANNERS]
SHAPES = {"input": (2, 3, 6, 6)}


def named(seen: tuple) -> str:
    return ".".join(map(str, seen))


@pytest.mark.parametrize("version", list(BANNERS))
def test_version_is_in_the_banner(tmp_path: Path, version: str) -> None:
    program = str(install(tmp_path, version))
    assert trtexec.find_trtexec(str(tmp_path)) == program
    assert named(trtexec.trtexec_version(program) or ()) == version


def test_a_program_that_says_nothing(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    assert trtexec.trtexec_version(str(program)) is None
    assert trtexec.trtexec_version(str(tmp_path / "absent")) is None


@pytest.mark.parametrize("seen", VERSIONS, ids=named)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_version_takes_its_command_lines(tmp_path: Path, seen: tuple, precision: str) -> None:
    program, onnx, engine = (
        str(install(tmp_path, named(seen))),
        tmp_path / "m.onnx",
        str(tmp_path / "m.engine"),
    )
    onnx.write_bytes(b"onnx")
    files = (str(tmp_path / "times.json"), str(tmp_path / "layers.json"))
    build = trtexec.build_command(
        seen,
        str(onnx),
        engine,
        precision=precision,
        shapes=SHAPES,
        workspace_mb=64,
        timing_cache=str(tmp_path / "cache"),
    )
    run = trtexec.run_command(seen, engine, shapes=SHAPES, seconds=0.05, times=files[0])
    layers = trtexec.layer_command(seen, engine, shapes=SHAPES, seconds=0.05, files=files)
    for command in (build, run, layers):
        done = subprocess.run([program, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "&&&& PASSED" in done.stdout


def test_precision_is_no_option_from_11_on() -> None:
    build = {"precision": "fp16", "shapes": {}}
    assert "--fp16" in trtexec.build_command((10, 3, 0), "m", "e", **build)
    assert "--fp16" not in trtexec.build_command((11, 4, 0), "m", "e", **build)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ((8, 2, 1), ["--workspace=64", "--buildOnly"]),
        ((8, 5, 2), ["--memPoolSize=workspace:64", "--buildOnly"]),
        ((8, 6, 1), ["--memPoolSize=workspace:64", "--skipInference"]),
        ((11, 4, 0), ["--memPoolSize=workspace:64", "--skipInference"]),
    ],
)
def test_options_that_were_renamed(seen: tuple, words: list) -> None:
    command = trtexec.build_command(seen, "m", "e", precision="fp32", shapes={}, workspace_mb=64)
    assert set(words) <= set(command)


def test_numbers_of_10_and_11_are_measured_alike() -> None:
    """A CUDA graph, active waiting, transfers counted: asked for up to 10; the last one asked for in 11."""
    old = trtexec.run_command((10, 3, 0), "e", shapes={}, seconds=1, times="t")
    new = trtexec.run_command((11, 4, 0), "e", shapes={}, seconds=1, times="t")
    assert {"--useCudaGraph", "--useSpinWait"} <= set(old) and "--noDataTransfers" not in old
    assert "--includeDataTransfers" in new


def test_times() -> None:
    entry = {"latencyMs": 2.0, "computeMs": 1.5, "startEnqMs": 4.0, "endEnqMs": 4.25}
    times = trtexec.parse_times(json.dumps([entry, {**entry, "latencyMs": 2.5}]))
    assert times == ([2_000_000, 2_500_000], [1_500_000] * 2, [250_000] * 2)


def test_profile_with_medians_and_without() -> None:
    text = json.dumps(
        [{"count": 3}, {"name": "a", "averageMs": 2.0, "medianMs": 1.0}, {"name": "b", "averageMs": 3.0}]
    )
    assert trtexec.parse_layer_times(text) == {"a": [1.0], "b": [3.0]}


def test_the_first_problem_is_named() -> None:
    lines = ["[I] fine\n", "[08/11/2022] [E] Unknown option: --fp16 \n", "[E] later\n"]
    assert trtexec.problem_of(lines) == "Unknown option: --fp16"
    assert trtexec.problem_of(["Segmentation fault\n"]) == "Segmentation fault"
    assert trtexec.problem_of([]) == "it printed nothing"
