"""The runner promises Python 3.8 and needs nothing but what a device has."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import edgeprune_target
import pytest
from boards.stand_in import build
from trt.trtexec_stand_in import install

from edgeprune.bench.pyz import write_runner

PACKAGE = Path(edgeprune_target.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FLOOR = (3, 8)
ALLOWED = {"numpy", "onnxruntime", "openvino", "ncnn", "executorch", "torch", "pycuda", "edgeprune_target"}


def interpreters(minors: range) -> list[str]:
    """Those of Python 3 that run, on PATH or installed beside the running one, oldest first."""
    collected = []
    for minor in minors:
        beside = Path(sys.base_prefix).parent.glob(f"*/bin/python3.{minor}")
        collected += [str(path) for path in beside]
        collected += [path for path in [shutil.which(f"python3.{minor}")] if path]
    return [path for path in collected if runs(path)]


def runs(path: str) -> bool:
    return subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def oldest() -> str:
    return next(iter(interpreters(range(FLOOR[1], 11))), sys.executable)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_syntax_is_that_of_the_floor(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_a_device_has(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            assert top in ALLOWED or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runner(tmp_path_factory.mktemp("pyz"))


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_compiles_on_the_oldest(oldest: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "p", ignore=shutil.ignore_patterns("__pycache__"))
    done = run(oldest, "-m", "compileall", "-q", str(tmp_path / "p"))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "verb", [[], ["probe"], ["sensors"], ["build"], ["measure"], ["layers"], ["accuracy"]]
)
def test_help_on_the_oldest(oldest: str, pyz: Path, verb: list[str]) -> None:
    done = run(oldest, "-S", str(pyz), *verb, "--help")
    assert done.returncode == 0
    assert "usage: edgeprune_target" in done.stdout


def test_measures_on_the_oldest_without_any_package(
    oldest: str, pyz: Path, fake_file: Path, five_watts: Path
) -> None:
    sensor = f"replay:{five_watts}"
    done = run(
        *(oldest, "-S", str(pyz), "measure", "--runtime", "fake", "--model", str(fake_file)),
        *("--seconds", "0.05", "--sensors", sensor),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result["energy"]["gross_j"] == pytest.approx(5 * result["energy"]["window_s"])


def test_probes_on_the_oldest(oldest: str, pyz: Path) -> None:
    done = run(oldest, "-S", str(pyz), "probe")
    assert json.loads(done.stdout)["result"]["runtimes"] == {
        "executorch": None, "litert": None, "ncnn": None, "onnxruntime": None, "openvino": None, "tensorrt": None,
    }  # fmt: skip


@pytest.mark.parametrize("sensor", ["ina3221", "tegrastats", "ina3221+ina238"])
def test_measures_a_board_on_the_oldest(
    oldest: str, pyz: Path, fake_file: Path, tmp_path: Path, sensor: str
) -> None:
    root = build("jetson-agx-thor", tmp_path / "board")
    done = run(
        *(oldest, "-S", str(pyz), "measure", "--runtime", "fake", "--model", str(fake_file)),
        *("--seconds", "0.5", "--sensors", sensor, "--root", str(root)),
        *("--total", "measured_input=VIN", "--total", "rail_sum=VDD_GPU+VDD_CPU_SOC_MSS+VIN_SYS_5V0"),
    )
    assert done.returncode == 0, done.stderr
    energy = json.loads(done.stdout)["result"]["energy"]
    watts = 2.5 if sensor == "ina3221" else 5.0
    assert energy["gross_j"] == pytest.approx(watts * energy["window_s"])


def test_missing_runtime_is_one_line_on_the_oldest(oldest: str, pyz: Path) -> None:
    done = run(oldest, "-S", str(pyz), "measure", "--model", "m.onnx")
    assert done.returncode == 1
    assert "pip install onnxruntime" in json.loads(done.stdout)["message"]


@pytest.mark.parametrize("verb", ["build", "measure", "layers"])
def test_trtexec_on_the_oldest_without_any_package(
    oldest: str, pyz: Path, tmp_path: Path, onnx_file: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson Nano, whose TensorRT has no module for this Python."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = build("jetson-nano", tmp_path / "board")
    install(root, "8.2.1")
    words = ["--runtime", "tensorrt", "--model", str(onnx_file), "--root", str(root)]
    words += [] if verb == "build" else ["--seconds", "0.1"]
    done = run(oldest, "-S", str(pyz), verb, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)["result"]
    if verb == "measure":
        assert result["feed"] == {"input": [1, 3, 4, 4]} and result["samples_ns"] == [2_000_000] * 40
    elif verb == "layers":
        assert [layer["ms"] for layer in result["layers"]] == [0.5, 2.5]
    else:
        assert result["engine"]["tensorrt"] == "8.2.1"


def test_missing_tensorrt_is_one_line_on_the_oldest(oldest: str, pyz: Path) -> None:
    done = run(oldest, "-S", str(pyz), "measure", "--model", "m.onnx", "--runtime", "tensorrt")
    assert done.returncode == 1
    message = json.loads(done.stdout)["message"]
    assert "Python module is not installed" in message and "there is no program trtexec" in message


def test_missing_numpy_is_one_line_on_the_oldest(oldest: str, pyz: Path, fake_file: Path) -> None:
    done = run(
        *(oldest, "-S", str(pyz), "accuracy", "--runtime", "fake", "--model", str(fake_file)),
        *("--images", "i.npy", "--labels", "l.npy"),
    )
    assert done.returncode == 1
    assert "has no numpy: install it there" in json.loads(done.stdout)["message"]


def test_older_than_the_floor_is_one_line(pyz: Path) -> None:
    too_old = interpreters(range(4, FLOOR[1]))
    if not too_old:
        pytest.skip("no Python 3 older than 3.8 on this machine")
    for path in too_old:
        done = run(path, str(pyz), "probe")
        assert done.returncode == 1
        assert "is too old on this machine" in json.loads(done.stdout)["message"]


def test_what_an_old_python_compiles_first_is_plain(pyz: Path) -> None:
    """The start of the .pyz must get as far as its message on any Python 3."""
    with zipfile.ZipFile(pyz) as archive:
        ast.parse(archive.read("__main__.py"), feature_version=(3, 4))
