"""A mistake that needs no network to be known is refused before torch is imported, which takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

MISTAKES = {
    "train-prune --target flops0.5": "error: target 'flops0.5' is not KIND=FRACTION",
    "train-prune --target latncy=0.5": "error: unknown target 'latncy' (did you mean 'latency'?)",
    "train-prune --model resnet21": "error: unknown model 'resnet21' (did you mean 'resnet20'?)",
    "train-prune --method lerned": "error: unknown method 'lerned' (did you mean 'learned'?)",
    "train-prune --task detct": "error: --task: unknown task 'detct' (did you mean 'detect'?)",
    "train-prune --out taken": "error: taken exists and is not a run folder: choose another --out",
    "train-prune --resume": "error: no run under runs/ yet",
    "train-prune --resume --out missing": "error: no such run folder: missing",
    "bench missing": "error: no such run folder: missing",
    "export missing": "error: no such run folder: missing",
    "inspect resnet21": "error: unknown model 'resnet21' (did you mean 'resnet20'?)",
}
CODE = """
import json, sys
from click.testing import CliRunner
from edgeprune.cli import main
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, words.split())
    print(json.dumps([words, done.exit_code, done.stderr, "torch" in sys.modules]))
"""


def test_a_mistake_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(MISTAKES))],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(MISTAKES)
    for words, code, error, has_torch in rows:
        assert code == 1 and error.startswith(MISTAKES[words]) and len(error.splitlines()) == 1, error
        assert not has_torch, words
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "note.txt"]


def test_a_criterion_of_the_user_is_a_method_in_a_process_without_others() -> None:
    """It is found although the criteria are not imported for an unknown name alone."""
    code = (
        "import sys, edgeprune.methods as m; before = m.names(); assert 'torch' not in sys.modules\n"
        "from edgeprune import importance; assert m.names() == before\n"
        "importance.register('mine', lambda graph: None); print(m.names()[-1], m.get('mine').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mine", "mine"]
