from pathlib import Path

import pytest

from bench.conftest import Scripted, a_round
from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench.journal import Journal, differences
from edgeprune.errors import BenchError, EdgePruneError

ABOUT = {"--device": "cpu", "--seconds": 10}
PAIR = {"baseline": a_round([2]), "pruned": a_round([1])}


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    first = Journal(path)
    assert first.begin(ABOUT) == []
    first.add(PAIR)
    assert Journal(path, resume=True).begin(ABOUT) == [PAIR]
    assert Journal(path).begin(ABOUT) == []  # anew
    assert Journal(path, resume=True).begin(ABOUT) == []
    first.drop()
    assert not path.exists()


def test_a_line_that_was_cut_is_left_out_and_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    first = Journal(path)
    first.begin(ABOUT)
    first.add(PAIR)
    path.write_bytes(path.read_bytes() + b'{"pair": {"base')
    again = Journal(path, resume=True)
    assert again.begin(ABOUT) == [PAIR]
    again.add(PAIR)
    assert Journal(path, resume=True).begin(ABOUT) == [PAIR, PAIR]


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    with pytest.raises(BenchError, match="nothing to resume: there is no .*rounds.jsonl"):
        Journal(path, resume=True).begin(ABOUT)
    Journal(path).begin(ABOUT)
    before = path.read_bytes()
    with pytest.raises(BenchError, match="--seconds was 10, and is 5; give the same options"):
        Journal(path, resume=True).begin({**ABOUT, "--seconds": 5})
    assert path.read_bytes() == before
    path.write_text("not JSON\n")
    with pytest.raises(EdgePruneError, match="is not JSON"):
        Journal(path, resume=True).begin(ABOUT)


def test_differences() -> None:
    assert differences({"a": 1}, {"a": 1}) == []
    assert differences({"a": 1}, {"b": 2}) == ["a was 1, and is None", "b was None, and is 2"]


def test_measurement_goes_on_with_the_rounds_that_are_missing(
    fake_models, tmp_path: Path, quick: BenchOptions
) -> None:
    path, models = tmp_path / "rounds.jsonl", fake_models()
    first = Scripted(fail_at=5)  # probe, two of the first pair, one of the second, then this
    with pytest.raises(BenchError, match="boom"):
        bench_models(models, options=quick, transport=first, journal=Journal(path))
    second = Scripted()
    result = bench_models(models, options=quick, transport=second, journal=Journal(path, resume=True))
    assert [model for verb, model in second.asked if verb == "measure"] == ["pruned", "baseline"]
    assert result["speedup"]["pairs"] == 2
    assert result["settings"]["stretches"] == 2
    assert [warning["code"] for warning in result["warnings"]].count("resumed") == 1


def test_other_model_files_are_another_measurement(fake_models, tmp_path: Path, quick: BenchOptions) -> None:
    path = tmp_path / "rounds.jsonl"
    with pytest.raises(BenchError, match="boom"):
        bench_models(fake_models(), options=quick, transport=Scripted(fail_at=5), journal=Journal(path))
    changed = fake_models({}, {"classes": 4})
    with pytest.raises(BenchError, match="the pruned model was .*, and is "):
        bench_models(changed, options=quick, transport=Scripted(), journal=Journal(path, resume=True))


def test_stretches_are_judged_apart() -> None:
    """A board that was started anew counts from zero, and has cooled down: neither is a finding."""
    from bench.conftest import a_state
    from edgeprune.bench.result import machine_report

    late = {**a_round([1, 2, 3]), "stretch": 0}
    late["before"] = a_state(5000.0, over_current={"oc3": 7}, temperatures_c={"cpu": 30.0})
    late["after"] = a_state(5001.0, over_current={"oc3": 9}, temperatures_c={"cpu": 31.0})
    early = {**a_round([1, 2, 3]), "stretch": 1}
    early["before"] = a_state(10.0, over_current={"oc3": 0}, temperatures_c={"cpu": 60.0})
    early["after"] = a_state(11.0, over_current={"oc3": 0}, temperatures_c={"cpu": 61.0})
    report = machine_report([early, late])
    assert [warning["code"] for warning in report["warnings"]] == ["over_current"]
    assert "2 over-current events" in report["warnings"][0]["message"]
    assert report["after"]["monotonic_s"] == 11.0
