"""How much time a pruning without labels takes, said in a word."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_graph import networks
from onnx_graph.networks import exported

from edgeprune.cli import main
from edgeprune.errors import TargetError
from edgeprune.post_training.options import PruneOptions


def test_minutes_are_the_default_and_what_is_said_counts() -> None:
    plain = PruneOptions(target="flops=0.5")
    assert (plain.criterion, plain.refit, plain.sensitivity, plain.distills) == (
        "thinet", "sequential", True, False
    )  # fmt: skip
    quick = PruneOptions(target="flops=0.5", effort="seconds", refit="none")
    assert (quick.criterion, quick.refit, quick.sensitivity, quick.distills) == ("l2", "none", False, False)


def test_hours_learn_for_ten_epochs_or_four_thousand_steps() -> None:
    long = PruneOptions(target="flops=0.5", effort="hours")
    assert long.distills and long.epochs(391) == 11 and long.epochs(500) == 10 and long.epochs(3) == 1334
    assert not PruneOptions(target="flops=0.5", effort="hours", distill_epochs=0).distills
    assert PruneOptions(target="flops=0.5", distill_epochs=3).epochs(391) == 3


def test_other_words_and_a_curve_that_would_learn_are_refused() -> None:
    with pytest.raises(TargetError, match=r"`effort`: unknown effort 'minuts'.*minutes"):
        PruneOptions(target="flops=0.5", effort="minuts")
    with pytest.raises(TargetError, match="`curve` prunes nothing"):
        PruneOptions(curve=True, effort="hours")


def test_seconds_fit_each_layer_once(tmp_path: Path) -> None:
    exported(networks.Residual, tmp_path / "net.onnx", dynamic_axes={"in0": {0: "batch"}})
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 3, 8, 8)).astype(np.float32))
    words = ["prune", str(tmp_path / "net.onnx"), "--target", "flops=0.6", "--run", str(tmp_path / "run")]
    quick = CliRunner().invoke(
        main, [*words, "--images", str(tmp_path / "x.npy"), "--effort", "seconds", "--json"]
    )
    assert quick.exit_code == 0, quick.output
    record = json.loads(quick.stdout)
    assert [step["step"] for step in record["held_out"]] == ["cut", "fitted (kernel)"]
    assert record["distilled"] is None
    alone = CliRunner().invoke(main, [*words, "--effort", "hours", "--force"])
    assert alone.exit_code == 1 and "--effort hours learns from inputs" in alone.stderr
