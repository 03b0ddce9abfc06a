"""train-prune under torchrun: the keep-plan of one process, from two."""

import json
import os
import sys
from pathlib import Path

import fresh
import pytest

COMMAND = [
    "train-prune", "--model", "tiny_nets:tiny", "--target", "flops=0.6", "--epochs", "2", "--batch-size", "8",
    "--baseline-epochs", "1", "--precision", "fp32",
    "--device", "cpu", "--json",
]  # fmt: skip


def run(place: Path, out: Path, method: str, processes: int, port: int) -> str:
    """stdout of all processes together."""
    command = [*COMMAND, "--data", str(place / "images"), "--out", str(out), "--method", method]
    if method == "learned":  # a criterion's single removal has no phase
        command += ["--prune-iterations", "4", "--mask-images", "4"]
    started = []
    for rank in range(processes):
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(place), *sys.path])}
        if processes > 1:
            env |= {"MASTER_ADDR": "127.0.0.1", **{k: str(v) for k, v in world.items()}}
        code = "from edgeprune.cli import main; main()"
        started.append(fresh.start(["-c", code, *command], env=env, cwd=place))
    ended = [process.wait() for process in started]
    assert [process.returncode for process in ended] == [0] * processes, ended
    return "".join(process.stdout for process in ended)


@pytest.mark.parametrize("method", ["learned", pytest.param("l1", marks=pytest.mark.slow)])
def test_two_processes_choose_what_one_does(tmp_path: Path, place: Path, free_port: int, method: str) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    run(place, alone, method, 1, 0)
    message = run(place, both, method, 2, free_port)
    assert json.loads(message)["run"] == str(both)  # one of them speaks
    plans = [json.loads((out / "model.json").read_text())["plans"] for out in (alone, both)]
    assert plans[0] == plans[1]
    losses = [
        [json.loads(line).get("loss") for line in (out / "metrics.jsonl").read_text().splitlines()]
        for out in (alone, both)
    ]
    assert len(losses[0]) == len(losses[1])
    for item, two in zip(*losses, strict=True):
        assert (item is None and two is None) or item == pytest.approx(two, rel=0.02)
