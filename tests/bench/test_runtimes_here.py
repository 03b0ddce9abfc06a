"""Every runtime that is installed here: exported, compared, measured and scored, on this machine and over ssh."""

import json
from pathlib import Path
from typing import Any

import pytest
from boards.loopback import Loopback
from click.testing import CliRunner

from bench.remote_fixtures import digits_run, exported_digits
from edgeprune import backends
from edgeprune.bench import Host, bench_run
from edgeprune.cli import main

OTHERS = ("openvino", "ncnn", "litert", "executorch")
KINDS = [(name, precision) for name in OTHERS for precision in backends.get(name).precisions]
QUICK = {"seconds": 0.3, "threads": 1}


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request: Any) -> backends.Backend:
    """A backend in a precision; skipped, with the reason, where its package is not installed."""
    name, precision = request.param
    options = {"calibration_images": 32} if precision == "int8" else {}
    backend = backends.get(name)(precision, **options)
    if reason := backend.why_skipped():
        pytest.skip(reason)
    return backend


def run_cli(*words: object) -> Any:
    return CliRunner().invoke(main, list(map(str, words)), env={"COLUMNS": "200"})


@pytest.mark.slow
@pytest.mark.usefixtures("few_rounds")
def test_the_whole_way(kind: backends.Backend, loopback: Loopback, tmp_path: Path) -> None:
    """By the command line here, then the same files over ssh."""
    run = exported_digits(tmp_path / "run", kind)
    artifacts = json.loads((run / "export/export.json").read_text())["artifacts"]
    made = [artifact for artifact in artifacts if artifact["backend"] == kind.name]
    assert [item["precision"] for item in made] == [kind.precision] * 2
    assert all(item["parity"]["images"] == 32 and item["sha256"] for item in made)
    assert all(version for item in made for version in item["versions"].values())

    words = ["--runtime", kind.runtime, "--precision", kind.precision]
    outcome = run_cli(
        "bench", run, *words, "--seconds", 0.3, "--threads", 1, "--json", tmp_path / "here.json"
    )
    assert outcome.exit_code == 0, outcome.output
    assert f"{kind.runtime} {kind.precision}" in outcome.output
    here = json.loads((tmp_path / "here.json").read_text())
    assert here["settings"]["runtime"] == kind.runtime
    assert here["models"]["baseline"]["versions"][kind.runtime]
    assert here["models"]["baseline"]["sha256"] == made[0]["sha256"]
    assert [here["models"][name]["accuracy_images"] for name in backends.MODELS] == [360, 360]

    board = Host("board", python=str(loopback.python()), folder=str(loopback.home))
    remote = bench_run(run, device="cpu", host=board, runtime=kind.runtime, precision=kind.precision, **QUICK)
    for name in backends.MODELS:
        assert remote["models"][name]["accuracy"] == here["models"][name]["accuracy"]


@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_without_the_package_it_is_skipped_with_the_command(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgeprune.backends.base.find_spec", lambda package: None if package != "onnx" else package
    )
    run = exported_digits(tmp_path / "run", "onnx", backends.get(name)(precision))
    artifacts = json.loads((run / "export/export.json").read_text())["artifacts"]
    reasons = {artifact["skipped_because"] for artifact in artifacts if artifact["backend"] == name}
    assert len(reasons) == 1
    assert f"is not installed: pip install 'edgeprune[{name}]'" in reasons.pop()
    outcome = run_cli("bench", run, "--runtime", backends.get(name).runtime, "--precision", precision)
    assert outcome.exit_code == 1
    assert "it was skipped, because the Python package" in outcome.output
    assert outcome.output.count("\n") == 1


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_not_exported_names_the_command(name: str, tmp_path: Path) -> None:
    if reason := backends.get(name)().why_skipped():
        pytest.skip(reason)
    run = digits_run(tmp_path / "run")
    outcome = run_cli("bench", run, "--runtime", backends.get(name).runtime, "--precision", "int8")
    assert outcome.exit_code == 1
    assert f"make it with: edgeprune export {run} --to {name} --precision int8" in outcome.output


def test_unknown_runtimes_and_precisions_name_the_known(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    outcome = run_cli("bench", run, "--runtime", "openvimo")
    assert outcome.exit_code == 1
    assert "unknown runtime 'openvimo' (did you mean 'openvino'?)" in outcome.output
    outcome = run_cli("bench", run, "--runtime", "openvino", "--precision", "int4")
    assert outcome.exit_code == 1
    assert "unknown precision 'int4'" in outcome.output
    assert "fp32, int8" in outcome.output
    assert not (run / "bench").exists()
    outcome = run_cli("export", run, "--to", "openvino", "--precision", "int4")
    assert outcome.exit_code == 1
    assert "unknown precision 'int4'" in outcome.output
