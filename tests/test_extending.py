"""What can be added from outside: one test for each axis, through public registries alone, nothing patched.

Each addition is a function of under 40 lines, which `test_additions_are_short` counts; what it registers is
taken back after the test.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

MOST_LINES = 40
ADDITIONS: list[Callable[..., Any]] = []  # the functions that add something


@pytest.mark.parametrize("addition", ADDITIONS)
def test_additions_are_short(addition: Callable[..., Any]) -> None:
    assert len(inspect.getsource(addition).splitlines()) < MOST_LINES
