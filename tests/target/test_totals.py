import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.totals import choose_total, parse_total

THOR = [("measured_input", ["VIN"]), ("rail_sum", ["GPU", "CPU"])]


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("measured_input=VDD_IN", ("measured_input", ["VDD_IN"])),
        ("rail_sum=GPU+CPU", ("rail_sum", ["GPU", "CPU"])),
        ("rail_sum=*", ("rail_sum", ["*"])),
    ],
)
def test_parse(text: str, total: tuple) -> None:
    assert parse_total(text) == total


@pytest.mark.parametrize("text", ["", "VDD_IN", "sum=GPU", "rail_sum=", "none=GPU"])
def test_what_is_no_total(text: str) -> None:
    with pytest.raises(TargetError, match="write it as"):
        parse_total(text)


@pytest.mark.parametrize(
    ("totals", "rails", "chosen"),
    [
        (THOR, ["GPU", "CPU", "VIN"], ("measured_input", ["VIN"])),
        (THOR, ["CPU", "GPU", "other"], ("rail_sum", ["GPU", "CPU"])),
        (THOR, ["CPU"], ("none", [])),
        ([], ["CPU"], ("none", [])),
        ([("rail_sum", ["*"])], ["b", "a"], ("rail_sum", ["a", "b"])),
        ([("rail_sum", ["*"])], [], ("none", [])),
    ],
)
def test_choice(totals: list, rails: list, chosen: tuple) -> None:
    assert choose_total(totals, rails) == chosen
