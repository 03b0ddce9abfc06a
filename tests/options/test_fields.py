"""Records of options: what each field says of itself, and the check of all of them."""

from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import get_args, get_origin

import pytest

from edgeprune.bench.options import BenchOptions
from edgeprune.comparison.options import CompareOptions
from edgeprune.errors import TrainError
from edgeprune.methods.options import MethodOptions
from edgeprune.options.checks import Choice, Count, Pattern, Quantity
from edgeprune.options.fields import GROUPS, check_fields, like, option, option_of, options_of, type_of
from edgeprune.search.options import SearchOptions
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.training.options import TrainOptions

RECORDS = (TrainOptions, MethodOptions, TrainPruneOptions, SearchOptions, CompareOptions, BenchOptions)
# What a record holds beside options: where it begins, and the options of another record.
NO_OPTIONS = {(SearchOptions, "source"), (CompareOptions, "source"), (BenchOptions, "device")}
NO_OPTIONS |= {(SearchOptions, "training"), (CompareOptions, "training")}
FIELDS = [
    (record, item) for record in RECORDS for item in fields(record) if (record, item.name) not in NO_OPTIONS
]
ids = [f"{record.__name__}.{item.name}" for record, item in FIELDS]


@pytest.mark.parametrize(("record", "item"), FIELDS, ids=ids)
def test_every_field_has_help_a_group_and_a_check_of_its_type(record: type, item: object) -> None:
    about = option_of(item)  # type: ignore[arg-type]
    assert about is not None, record
    assert about.group in GROUPS
    assert about.text[0].isupper() and about.text.rstrip(")").endswith((".", ")")) and "{" not in about.text
    kind = type_of(item)  # type: ignore[arg-type]
    expected = {int: Count, float: Quantity}.get(kind)
    assert expected is None or isinstance(about.check, expected)
    assert expected or kind in (bool, str) or get_origin(kind) in (list, tuple, dict)


@pytest.mark.parametrize(("record", "item"), FIELDS, ids=ids)
def test_a_default_passes_its_own_check(record: type, item: object) -> None:
    default, about = item.default, option_of(item)  # type: ignore[attr-defined, arg-type]
    assert default is not MISSING, record
    if default is None:
        assert isinstance(item.type, UnionType) and type(None) in get_args(item.type)  # type: ignore[attr-defined]
    elif about is not None and about.check is not None:
        about.check("x", default)


@pytest.mark.parametrize("name", ["reduction", "normalise", "reconstruct"])
def test_help_lists_the_names_that_a_costly_import_would_give(name: str) -> None:
    check = options_of(MethodOptions)[name].check
    assert isinstance(check, Choice) and callable(check.names) and check.listed is not None
    assert set(check.listed()) == set(check.names())


def test_a_check_names_the_field_and_the_error_is_the_callers() -> None:
    check_fields(TrainPruneOptions(), TrainError)
    with pytest.raises(TrainError, match="^`prune_iterations` must be at least 1, not 0$"):
        check_fields(TrainPruneOptions(prune_iterations=0), TrainError)
    with pytest.raises(TrainError, match="^`floor` must be a whole number, not None$"):
        check_fields(TrainPruneOptions(floor=None), TrainError)  # type: ignore[arg-type]
    with pytest.raises(TrainError, match="^`weights` is empty"):
        check_fields(TrainPruneOptions(weights=" "), TrainError)


def test_one_option_of_two_records_differs_in_its_default_alone() -> None:
    loop, run = options_of(TrainOptions), options_of(TrainPruneOptions)
    assert loop["lr"].help == run["lr"].help and loop["lr"].check == run["lr"].check
    assert TrainOptions().lr == 0.01 and TrainPruneOptions().lr is None

    @dataclass(frozen=True)
    class Other:
        rate: float = like(TrainOptions, "lr", 3.0, main=True)
        plain: int = 1

    assert list(options_of(Other)) == ["rate"] and Other().rate == 3.0
    assert options_of(Other)["rate"].main


def test_a_group_has_a_known_name() -> None:
    with pytest.raises(ValueError, match="'other'"):
        option(1, "Set it.", "other")


def test_forms_of_a_pattern_are_its_own_or_say_where_a_number_goes() -> None:
    checks = [about.check for record in RECORDS for about in options_of(record).values()]
    patterns = [check for check in checks if isinstance(check, Pattern)]
    assert patterns
    for check in patterns:
        for form in check.forms:
            check("x", form.replace(":N", ":1"))
