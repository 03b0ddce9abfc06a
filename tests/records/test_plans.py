"""Keep-plans as they are written: read, checked, and the same bytes of JSON again."""

import json
from pathlib import Path

import msgspec
import pytest

from edgeprune.errors import PlanError, RunError
from edgeprune.records.runs import KeepPlan, KeptGroup, ModelRecord

GROUPS = [{"name": "a", "size": 4, "kept": [0, 2]}, {"name": "b", "size": 2, "kept": [1]}]
PLAN = {"schema": 1, "fingerprint": "f", "groups": GROUPS, "notes": ["n"], "bypass": True}
MODEL = {
    "schema": 1,
    "model": {"factory": "resnet8", "args": {"num_classes": 2, "in_channels": 1}},
    "input_shape": [1, 8, 8],
    "classes": ["x", "y"],
    "mean": [0.5],
    "std": [0.25],
    "plans": [PLAN],
    "steps": [7],
}


def test_a_plan_is_read_and_written_with_the_keys_of_the_file(tmp_path: Path) -> None:
    plan = KeepPlan.from_dict(PLAN)
    assert plan.groups == (
        KeptGroup(name="a", size=4, kept=(0, 2)),
        KeptGroup(name="b", size=2, kept=(1,)),
    )
    plan.write(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text()) == PLAN
    assert KeepPlan.read(tmp_path / "plan.json") == plan


def test_the_first_plans_had_neither_schema_nor_sizes() -> None:
    first = {"fingerprint": "f", "groups": [{"name": "a", "kept": [3, 1]}]}
    plan = KeepPlan.from_dict(first)
    assert (plan.groups[0].size, plan.groups[0].kept, plan.notes, plan.bypass) == (None, (3, 1), (), False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "made by a newer edgeprune"),
        ({"fingerprint": ""}, "`fingerprint` must be"),
        ({"groups": [{"name": "a", "size": 4, "kept": [1, 1]}]}, "`groups[0].kept` names a channel twice"),
        ({"groups": [{"name": "a", "size": 4, "kept": [4]}]}, "names channel 4 of a group of 4"),
    ],
)
def test_a_damaged_plan_is_refused_in_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError) as error:
        KeepPlan.from_dict({**PLAN, **change}, "x/plan.json")
    assert "\n" not in str(error.value) and str(error.value).startswith("x/plan.json")
    assert message in str(error.value)


def test_a_plan_cannot_be_changed() -> None:
    plan = KeepPlan.from_dict(PLAN)
    with pytest.raises(AttributeError):
        plan.bypass = False  # type: ignore[misc]
    assert msgspec.structs.replace(plan, bypass=False).bypass is False and plan.bypass


def test_items_are_read_by_their_keys_as_of_the_json() -> None:
    plan = KeepPlan.from_dict(PLAN)
    assert plan["groups"][0]["kept"] == (0, 2) and plan["schema"] == 1
    assert "size" in plan["groups"][0] and "sizes" not in plan["groups"][0]
    assert plan.get("sizes", 3) == 3 and {**plan["groups"][1]} == {"name": "b", "size": 2, "kept": (1,)}
    with pytest.raises(KeyError):
        plan["sizes"]


def test_a_model_record_keeps_the_bytes_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    record = ModelRecord.read(tmp_path / "model.json")
    assert record.plans[0] == KeepPlan.from_dict(PLAN)
    assert json.dumps(record.to_dict()) == json.dumps(MODEL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [7, 3]}, "`steps` must hold a rising number for each of `plans`"),
        ({"mean": [0.5, 0.5]}, "`mean` must hold 1 numbers"),
        (
            {"plans": [{**PLAN, "groups": [{"name": "a", "size": 1, "kept": [1]}]}]},
            "names channel 1 of a group of 1",
        ),
    ],
)
def test_a_model_record_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(RunError) as error:
        ModelRecord.from_dict({**MODEL, **change}, "model.json")
    assert message in str(error.value) and "\n" not in str(error.value)
