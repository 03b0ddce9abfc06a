"""Registries: what is named, what is refused, and what other packages bring."""

from pathlib import Path

import pytest

from edgeprune.errors import PlanError
from edgeprune.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    colours: Registry[int] = Registry("colour", "edgeprune.tests.colours", PlanError)
    colours.register("red", 1)
    colours.register("green", 2)
    return colours


def test_names_stand_in_order_and_give_what_was_registered(colours: Registry[int]) -> None:
    assert colours.names() == tuple(colours) == ("red", "green")
    assert colours["green"] == 2 and "red" in colours and "blue" not in colours and len(colours) == 2


def test_an_unknown_name_is_one_line_that_names_all(colours: Registry[int]) -> None:
    with pytest.raises(PlanError) as error:
        colours["rde"]
    assert str(error.value) == "unknown colour 'rde' (did you mean 'red'?); known: green, red"


@pytest.mark.parametrize("name", ["", " red", "a,b", 3])
def test_names_that_cannot_be_typed(colours: Registry[int], name: str) -> None:
    with pytest.raises(PlanError, match="write a word without commas"):
        colours.register(name, 3)


def test_a_name_is_taken_once_unless_it_is_replaced(colours: Registry[int]) -> None:
    with pytest.raises(PlanError, match="there is a colour 'red' already"):
        colours.register("red", 3)
    colours.register("red", 3, replace=True)
    assert colours["red"] == 3
    colours.unregister("red")
    colours.unregister("red")
    assert colours.names() == ("green",)


def test_other_packages_bring_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brings.py").write_text("BLUE = 7\n")
    info = tmp_path / "brings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeprune.tests.colours]\nblue = brings:BLUE\nlost = brings:LOST\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    colours: Registry[int] = Registry("colour", "edgeprune.tests.colours", PlanError)
    assert colours.names() == ("blue", "lost")
    assert colours["blue"] == 7
    with pytest.raises(PlanError, match="the colour 'lost' cannot be imported from brings:LOST") as error:
        colours["lost"]
    assert "\n" not in str(error.value)
