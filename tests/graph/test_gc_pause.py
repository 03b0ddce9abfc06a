"""The collector is off inside, and afterwards as it was."""

import gc

import pytest

from edgeprune.graph.gc_pause import gc_paused


@gc_paused
def inside(fail: bool = False) -> bool:
    """Says whether it collects."""
    if fail:
        raise ValueError
    return gc.isenabled()


def test_off_inside_and_on_again() -> None:
    assert gc.isenabled()
    assert inside() is False
    with pytest.raises(ValueError):
        inside(fail=True)
    assert gc.isenabled()


def test_a_user_who_turned_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        assert inside() is False
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert inside.__name__ == "inside"
