"""`edgeprune search --storage` over a real server: the whole command, in processes with folders of their own."""

import json
import time
from pathlib import Path
from typing import Any

import fresh
import pytest
from safetensors.torch import save_file
from studies.workers import until

from edgeprune.models import build
from edgeprune.studies.store import StudyStore
from servers.programs import PASSWORD, Server

TRIALS = 9
# The command, with evaluations that take long enough to be killed in, noted as they begin and end. None ends before
# all workers have begun one: a worker that still connects while the server is away gives up, as it should.
SLOW = """
import sys, time
from pathlib import Path
from edgeprune.search import evaluate, searching
note = Path(sys.argv[1])
searching.search.__kwdefaults__["heartbeat_s"] = 0.5
reward = evaluate.Evaluator.reward
def slowly(self, plan):
    note.open("a").write("begin\\n")
    while not note.with_name("go").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    result = reward(self, plan)
    note.open("a").write("end\\n")
    return result
evaluate.Evaluator.reward = slowly
from edgeprune.__main__ import main
sys.argv = ["edgeprune", *sys.argv[2:]]
main()
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command's options: a small network with random weights on digits, as few images as there can be."""
    weights = tmp_path_factory.mktemp("weights") / "w.safetensors"
    import torch

    torch.manual_seed(0)
    save_file(build("resnet8", num_classes=10).state_dict(), weights)
    return [
        "resnet8", "--weights", str(weights), "--trials", str(TRIALS), "--sampler", "random", "--clusters", "0",
        "--images", "60", "--calibration", "16", "--final-calibration", "16",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of the same search by one worker."""
    out = tmp_path_factory.mktemp("alone") / "out"
    done = fresh.run(["-m", "edgeprune", "search", *words, "--out", out])
    assert done.returncode == 0, done.stderr
    return json.loads((out / "result.json").read_text())


def result_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "result.json").read_text())


def rewards(result: dict[str, Any]) -> dict[tuple[int, ...], float]:
    return {tuple(trial["widths"]): trial["reward"] for trial in result["trials"]}


def without_the_password(folder: Path) -> bool:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return bool(files) and not any(
        PASSWORD.encode() in p.read_bytes() or b"p%40ss" in p.read_bytes() for p in files
    )


def test_two_workers_find_what_one_finds(
    url: str, words: list[str], alone: dict[str, Any], tmp_path: Path
) -> None:
    """Random policies depend on a trial's number alone, and rewards on the policy."""
    outs = [tmp_path / "a", tmp_path / "b"]
    workers = [
        fresh.start(["-m", "edgeprune", "search", *words, "--storage", url, "--out", out]) for out in outs
    ]
    done = [worker.wait() for worker in workers]
    assert [worker.returncode for worker in done] == [0, 0], done
    first, second = map(result_of, outs)
    assert first["trials"] == second["trials"] and first["best"] == second["best"] == {
        **alone["best"], "seconds": first["best"]["seconds"], "number": first["best"]["number"]
    }  # fmt: skip
    assert [trial["number"] for trial in first["trials"]] == list(range(TRIALS))
    assert rewards(first) == rewards(alone)
    plans = {(out / "plan.json").read_bytes() for out in outs}
    assert len(plans) == 1
    assert without_the_password(tmp_path)
    assert not any(PASSWORD in text or "p%40ss" in text for w in done for text in (w.stdout, w.stderr))


def test_a_worker_is_killed_and_the_server_crashes(
    server: Server, url: str, words: list[str], alone: dict[str, Any], tmp_path: Path
) -> None:
    def notes(number: int, what: str) -> int:
        path = tmp_path / f"note{number}"
        return path.read_text().count(what) if path.exists() else 0

    def begin(number: int, *more: str) -> fresh.Started:
        out = tmp_path / f"out{number}"
        return fresh.start(
            ["-c", SLOW, tmp_path / f"note{number}", "search", *words, "--study", "other", "--storage", url,
             "--out", out, *more]
        )  # fmt: skip

    workers = [begin(number) for number in range(3)]
    try:
        until(lambda: all(notes(number, "begin") for number in range(3)))
        (tmp_path / "go").touch()
        until(lambda: notes(0, "end") >= 1 and notes(0, "begin") > notes(0, "end"))
        workers[0].kill()
        until(lambda: notes(1, "end") + notes(2, "end") >= 3)
        server.crash()
        time.sleep(1.5)
        server.start()
        done = [worker.wait() for worker in workers[1:]]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in done] == [0, 0], "\n".join(worker.stderr for worker in done)
    first, second = result_of(tmp_path / "out1"), result_of(tmp_path / "out2")
    assert first["trials"] == second["trials"]
    numbers = [trial["number"] for trial in first["trials"]]
    assert len(numbers) == len(set(numbers)) == TRIALS
    known = rewards(alone)
    assert (
        len(known.keys() & rewards(first).keys()) >= TRIALS - 2
    )  # the killed trial's policy is replaced by another
    assert all(known[widths] == reward for widths, reward in rewards(first).items() if widths in known)
    # The killed worker's folder is taken up again: all is there already, and nothing is evaluated anew but the end.
    refused = fresh.run(["-m", "edgeprune", "search", "--out", tmp_path / "out0", "--resume"])
    assert refused.returncode == 1 and "opened only if you repeat it" in refused.stderr
    again = fresh.run(["-m", "edgeprune", "search", "--out", tmp_path / "out0", "--resume", "--storage", url])
    assert again.returncode == 0, again.stderr
    assert result_of(tmp_path / "out0")["trials"] == first["trials"]
    assert without_the_password(tmp_path)
    texts = [text for worker in (*done, refused, again) for text in (worker.stdout, worker.stderr)]
    assert not any(PASSWORD in text or "p%40ss" in text for text in texts)


def test_another_search_is_refused(url: str, words: list[str], tmp_path: Path) -> None:
    StudyStore.open(url, "third", {"model": "another"})
    done = fresh.run(
        ["-m", "edgeprune", "search", *words, "--storage", url, "--study", "third", "--out", tmp_path / "a"]
    )
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "holds another search: its model is another, not resnet8" in line and PASSWORD not in line
