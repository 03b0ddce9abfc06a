"""Which options do nothing beside the others, and which were typed."""

from dataclasses import asdict, replace

import pytest

from edgeprune.errors import TrainError
from edgeprune.train_prune.effects import check_effect, idle_options, typed_names, typed_options
from edgeprune.train_prune.options import TrainPruneOptions


def idle(**options: object) -> set[str]:
    return set(idle_options(TrainPruneOptions(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "name", "is_idle"),
    [
        ({"method": "l1"}, "prune_steps", True),
        ({"method": "taylor"}, "prune_steps", False),
        ({"method": "l1", "prune_schedule": "iterative"}, "prune_steps", False),
        ({"method": "learned"}, "prune_steps", True),
        ({"method": "l1"}, "switch", True),
        ({"method": "taylor"}, "switch", True),
        ({"method": "saliency-similarity"}, "switch", False),
        ({"method": "saliency-similarity", "prune_schedule": "one-shot"}, "switch", True),
        ({"method": "learned"}, "switch", True),
        ({"method": "ssl"}, "shrink", False),
        ({"method": "sss"}, "shrink", False),
        ({"method": "fpgm"}, "shrink", True),
        ({"method": "learned"}, "shrink", True),
        ({"method": "learned"}, "mask_images", False),
        ({"method": "l1"}, "mask_images", True),
        ({"method": "l1"}, "offset", True),
        ({"method": "l1"}, "prune_iterations", True),
        ({"method": "fpgm"}, "prune_iterations", False),
        ({"method": "learned"}, "prune_iterations", False),
        ({"method": "l1"}, "score_batches", True),
        ({"method": "taylor"}, "score_batches", False),
        ({"method": "lasso"}, "score_batches", False),
        ({"method": "l1", "reconstruct": "kernel"}, "score_batches", False),
        ({"method": "l1", "reconstruct": "sequential"}, "score_batches", True),
        ({"method": "l1", "reconstruct": "merge"}, "score_batches", True),
        ({"method": "l1", "reconstruct": "fold"}, "score_batches", False),
        ({"method": "sss"}, "score_batches", True),
        ({"method": "learned", "allocation": "masks"}, "score_batches", True),
        ({"method": "learned"}, "score_batches", False),
        ({"method": "l1", "init": "random"}, "baseline_lr", True),
        ({"method": "l1"}, "baseline_lr", False),
        ({"weights": None}, "weights_key", True),
        ({"weights": "w.pt"}, "weights_key", False),
        ({"momentum": 0.0}, "nesterov", True),
        ({}, "nesterov", False),
        ({"data": "digits"}, "download", True),
        ({"data": "cifar10"}, "download", False),
        ({"data": "some/folder"}, "data_root", True),
        ({"plan": "plan.json"}, "target", True),
        ({"plan": "plan.json"}, "method", True),
        ({"plan": "plan.json"}, "align", True),
        ({"plan": "plan.json"}, "floor", True),
        ({"plan": "plan.json"}, "prune_steps", True),
        ({"plan": "plan.json"}, "score_batches", True),
        ({"plan": "plan.json", "reconstruct": "kernel"}, "score_batches", False),
        ({"plan": "plan.json"}, "epochs", False),
        ({"method": "no such method"}, "prune_steps", False),
    ],
)
def test_what_does_nothing(options: dict, name: str, is_idle: bool) -> None:
    assert (name in idle(**options)) == is_idle


def test_the_message_names_the_option_and_the_reason() -> None:
    rows = [TrainPruneOptions(method="l1")]
    with pytest.raises(TrainError, match="`prune_steps` has no effect here: the schedule is one-shot, and"):
        check_effect(rows, ["epochs", "prune_steps"])
    check_effect(rows, ["epochs", "lr"])
    check_effect([], ["prune_steps"])


def test_one_row_that_uses_an_option_is_enough() -> None:
    rows = [TrainPruneOptions(method=method) for method in ("l1", "taylor")]
    check_effect(rows, ["prune_steps"])
    with pytest.raises(TrainError, match="`shrink` has no effect"):
        check_effect(rows, ["shrink"])


def test_what_was_typed_is_what_differs_from_the_defaults() -> None:
    assert typed_names(TrainPruneOptions()) == []
    assert typed_names(TrainPruneOptions(method="l1", epochs=3, reconstruct="none", momentum=0.9)) == [
        "method", "reconstruct", "epochs",
    ]  # fmt: skip


def test_what_was_typed_is_found_again_in_a_stored_run() -> None:
    resolved = TrainPruneOptions(method="l1", reconstruct="none", distill=True, lr=0.02, epochs=3)
    config = {"options": asdict(resolved), "typed": ["method", "epochs"]}
    assert typed_options(config) == {
        "model": "resnet20", "data": "digits", "method": "l1", "target": "flops=0.5", "epochs": 3,
    }  # fmt: skip
    older = typed_options({"options": asdict(replace(resolved, device="cuda", precision="bf16"))})
    assert older["lr"] == 0.02
    assert not {"reconstruct", "distill", "device", "precision"} & older.keys()
