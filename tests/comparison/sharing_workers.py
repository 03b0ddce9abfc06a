"""Workers that share a comparison's rows, each a process with a folder of its own, one of which is killed."""

import json
import os
from pathlib import Path
from typing import Any

import fresh
from studies.workers import until

WORKER = """
import sys
from edgeprune.comparison import running
running.compare.__kwdefaults__["heartbeat_s"] = 0.5
from edgeprune.__main__ import main
sys.argv = ["edgeprune", *sys.argv[1:]]
main()
"""
METHODS = ("l1", "random", "fpgm", "learned")


def command(place: Path, weights: Path, url: str, out: Path) -> list[str]:
    return [
        "-c", WORKER, "compare", "tiny_nets:tiny", "--data", str(place / "images"), "--weights", str(weights),
        "--methods", ",".join(METHODS), "--seeds", "2", "--target", "flops=0.6", "--epochs", "2", "--batch-size", "8",
        "--precision", "fp32", "--device", "cpu", "--no-latency", "--storage", url, "--out", str(out),
    ]  # fmt: skip


def result_of(out: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def events(out: Path, event: str) -> list[str]:
    path = out / "attempts.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.exists() else []
    return [line["row"] for line in lines if line["event"] == event]


def check_three_of_which_one_is_killed(place: Path, weights: Path, url: str, folder: Path) -> None:
    """All rows are made once but for the killed worker's, which another makes; all end with the same table."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")]),
    }
    outs = [folder / f"worker{number}" for number in range(3)]
    workers = [fresh.start(command(place, weights, url, out), env=environment) for out in outs]
    try:
        until(lambda: len(events(outs[0], "began")) > len(events(outs[0], "ended")))
        workers[0].kill()
        done = [worker.wait() for worker in workers[1:]]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in done] == [0, 0], done
    names = [f"{method}-seed{seed}" for seed in (0, 1) for method in METHODS]
    first, second = result_of(outs[1]), result_of(outs[2])
    assert first == second
    assert [row["row"] for row in first["rows"]] == names
    assert {row["status"] for row in first["rows"]} == {"done"} and first["complete"]
    assert {row["host"] for row in first["rows"]} == {os.uname().nodename}
    lost = {*events(outs[0], "began")} - {*events(outs[0], "ended")}
    ended = [name for out in outs for name in events(out, "ended")]
    assert sorted(ended) == sorted(names) and len(lost) == 1
    assert f"made on {os.uname().nodename}: {names[0]}" in " ".join(done[0].stdout.split())
    # The killed worker's folder is taken up again: nothing is left to do, and it ends with the same table.
    resumed = ["-m", "edgeprune", "compare", "--out", outs[0], "--resume", "--trust", "tiny_nets"]
    refused = fresh.run(resumed, env=environment)
    assert refused.returncode == 1 and "give --storage again, in full" in refused.stderr
    again = fresh.run([*resumed, "--storage", url], env=environment)
    assert again.returncode == 0, again.stderr
    assert result_of(outs[0]) == first
    assert len(events(outs[0], "began")) == len(events(outs[0], "ended")) + 1
