"""A YOLO is pruned in Ultralytics' own trainer (in the environment of `make networks`)."""

from pathlib import Path

import pytest
import torch

import edgeprune
from edgeprune.data.canvases import write_yolo
from edgeprune.errors import TrainError
from edgeprune.integrations.ultralytics import prune_while_training

SIDE = 64


class NoYolo:
    """Takes callbacks."""

    def add_callback(self, event: str, function: object) -> None:
        """Take one."""


def test_the_learned_method_is_refused() -> None:
    with pytest.raises(TrainError, match="choose a criterion"):
        prune_while_training(NoYolo(), method="learned")


@pytest.mark.parametrize("ends_at", [0, 1, -1, 2])
def test_a_share_that_makes_no_sense_is_refused(ends_at: float) -> None:
    with pytest.raises(TrainError, match="ends_at must be above 0 and below 1"):
        prune_while_training(NoYolo(), ends_at=ends_at)


@pytest.mark.slow
def test_yolo_is_pruned_trained_validated_exported_and_read_again(tmp_path: Path) -> None:
    ultralytics = pytest.importorskip(
        "ultralytics", reason="Ultralytics is not installed: see `make networks`"
    )
    data = write_yolo(tmp_path / "data", 16, 8, side=SIDE)
    yolo = ultralytics.YOLO("yolo11n.yaml")
    kind = type(yolo.model)
    pruning = prune_while_training(yolo, target="flops=0.6", prune_steps=2)
    averages: list[torch.Tensor] = []  # a layer's that no removal cuts any more, at the end of each epoch
    yolo.add_callback(
        "on_train_epoch_end", lambda trainer: averages.append(next(trainer.ema.ema.parameters()).clone())
    )
    yolo.train(
        data=str(data), epochs=3, imgsz=SIDE, batch=4, project=str(tmp_path), name="run", workers=0, device="cpu",
        plots=False, verbose=False, amp=False, nbs=4,
    )  # fmt: skip
    assert averages[-1].shape == averages[-2].shape and not torch.equal(averages[-1], averages[-2])
    before, after = pruning.report.flops
    assert after <= 0.6 * before
    for name in ("best", "last"):
        again = ultralytics.YOLO(tmp_path / "run" / "weights" / f"{name}.pt")
        assert type(again.model) is kind and again.model.names[3] == "3"
        assert again.model.stride.tolist() == [8, 16, 32] and again.model.args
        graph = edgeprune.trace(again.model.float().eval(), torch.zeros(1, 3, SIDE, SIDE))
        assert graph.flops() == after
        again.predict(torch.rand(1, 3, SIDE, SIDE), verbose=False)
    assert 0 <= yolo.val(data=str(data), imgsz=SIDE, workers=0, plots=False, verbose=False).box.map <= 1
