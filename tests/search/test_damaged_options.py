"""Stored options that were edited: one line, whatever they became."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgeprune.comparison.folder import OPTIONS_FILE as COMPARE_FILE
from edgeprune.comparison.folder import SCHEMA as COMPARE_SCHEMA
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.errors import EdgePruneError
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import SearchOptions

DAMAGE = [{"epochs": "three"}, {"lr": [0.1]}, {"floor": None}, {"model": 3}]


@pytest.mark.parametrize("training", DAMAGE, ids=str)
def test_a_search_refuses_training_options_of_another_type(training: dict[str, Any], tmp_path: Path) -> None:
    folder = SearchFolder(tmp_path)
    folder.write_options({**asdict(SearchOptions(source="resnet8")), "training": training}, None)
    with pytest.raises(EdgePruneError, match=f"training.*{next(iter(training))}"):
        folder.read_options()


@pytest.mark.parametrize("training", DAMAGE, ids=str)
def test_a_comparison_refuses_training_options_of_another_type(
    training: dict[str, Any], tmp_path: Path
) -> None:
    requested = {**asdict(CompareOptions(source="resnet8", methods=("l1",))), "training": training}
    (tmp_path / COMPARE_FILE).write_text(json.dumps({"schema": COMPARE_SCHEMA, **requested}))
    with pytest.raises(EdgePruneError, match=f"training.*{next(iter(training))}"):
        ComparisonFolder(tmp_path).read_options()
