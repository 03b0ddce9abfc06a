"""A mistake that needs no network to be known is refused before torch is imported, which takes seconds."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from edgeprune import importance, methods
from edgeprune.data import data_names
from edgeprune.data.named import READERS
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

MISTAKES = {
    "train-prune --target flops0.5": "error: target 'flops0.5' is not KIND=FRACTION",
    "train-prune --target latncy=0.5": "error: unknown target 'latncy' (did you mean 'latency'?)",
    "train-prune --model resnet21": "error: unknown model 'resnet21' (did you mean 'resnet20'?)",
    "train-prune --method lerned": "error: unknown method 'lerned' (did you mean 'learned'?)",
    "train-prune --task detct": "error: --task: unknown task 'detct' (did you mean 'detect'?)",
    "train-prune --out taken": "error: taken exists and is not a run folder: choose another --out",
    "train-prune --resume": "error: no run under runs/ yet",
    "train-prune --resume --out missing": "error: no such run folder: missing",
    "train-prune --resume --out begun --epochs 7": "error: this run was started with epochs=4, not 7",
    "train-prune --target latency=0.5 --target-runtime onnxrunt": "error: unknown runtime 'onnxrunt' (did you mean",
    "train-prune --target latency=0.5 --target-device cpuu": "error: unknown device 'cpuu' (did you mean 'cpu'?)",
    "train-prune --data digts": "error: unknown data set 'digts' (did you mean 'digits'?)",
    "train-prune --data missing/images": "error: no such data folder: ",
    "train-prune --weights missing.pt": "error: no such weights file: missing.pt",
    "train-prune --plan missing.json": "error: no such file: missing.json",
    "search resnet21": "error: unknown model 'resnet21' (did you mean 'resnet20'?)",
    "search resnet20 --target flops0.5": "error: target 'flops0.5' is not KIND=FRACTION",
    "search resnet20 --criterion l11": "error: --criterion: unknown criterion 'l11' (did you mean 'l1'?)",
    "search resnet20 --target latency=0.5 --runtime onnxrunt": "error: unknown runtime 'onnxrunt' (did you mean",
    "search resnet20 --target latency=0.5 --precision fp31": "error: unknown precision 'fp31' (did you mean 'fp32'?)",
    "search resnet20 --target latency=0.5 --device cpuu": "error: unknown device 'cpuu' (did you mean 'cpu'?)",
    "search resnet20 --data digts": "error: unknown data set 'digts' (did you mean 'digits'?)",
    "search resnet20 --weights missing.pt": "error: no such weights file: missing.pt",
    "search resnet20 --out taken": "error: taken exists and is not a search's folder: choose another --out",
    "search --resume": "error: no search under runs/ to go on with",
    "compare resnet21 --methods l1": "error: unknown model 'resnet21' (did you mean 'resnet20'?)",
    "compare resnet20 --methods l11": "error: --methods: unknown method 'l11' (did you mean 'l1'?)",
    "compare resnet20 --methods l1 --target latncy=0.5": "error: unknown target 'latncy' (did you mean 'latency'?)",
    "compare resnet20 --methods l1 --weights missing.pt": "error: no such weights file: missing.pt",
    "compare resnet20 --methods l1 --out taken": "error: taken exists and is not a comparison's folder: choose another",
    "compare resnet20 --moments begin": "error: --moments: unknown moment 'begin'",
    "compare --resume --out missing": "error: no such comparison: missing",
    "prune missing.onnx --target flops=0.5": "error: there is no file missing.onnx",
    "prune missing.onnx --target flops0.5": "error: target 'flops0.5' is not KIND=FRACTION",
    "prune net.onnx --target flops=0.5 --criterion thinnet": "error: --criterion: unknown criterion 'thinnet' (did you",
    "prune net.onnx --target latency=0.5 --runtime onnxrunt": "error: unknown runtime 'onnxrunt' (did you mean",
    "prune net.onnx --target flops=0.5 --images missing": "error: missing is not a folder of images",
    "prune net.onnx --target flops=0.5 --labels missing": "error: --labels: missing is not a folder",
    "prune net.onnx --target flops=0.5 -o out.foo": "error: out.foo does not end in .onnx",
    "prune net.onnx --target flops=0.5 --run taken": "error: taken exists and is not a run folder of prune: choose "
    "another --run",
    "prune resnet20 --target flops=0.5": "error: resnet20 alone has random weights",
    "prune resnet20 --target flops=0.5 --weights missing.pt": "error: no such weights file: missing.pt",
    "prune missing.safetensors --target flops=0.5": "error: no such file: missing.safetensors",
    "prune --resume": "error: no run of prune under runs/ to go on with",
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
    (tmp_path / "net.onnx").write_text("read by none")
    Run.create(
        tmp_path / "begun",
        {
            "options": asdict(TrainPruneOptions(epochs=4)),
            "model": {"factory": "resnet20", "args": {"num_classes": 10}},
        },
    )
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(MISTAKES))],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(MISTAKES)
    for words, code, error, has_torch in rows:
        assert code == 1 and error.startswith(MISTAKES[words]) and len(error.splitlines()) == 1, error
        assert not has_torch, words
    assert sorted(tmp_path.rglob("*")) == before


def test_a_criterion_of_the_user_is_a_method_in_a_process_without_others() -> None:
    """It is found although the criteria are not imported for an unknown name alone."""
    code = (
        "import sys, edgeprune.methods as m; before = m.names(); assert 'torch' not in sys.modules\n"
        "from edgeprune import importance; assert m.names() == before\n"
        "importance.register('mine', lambda graph: None); print(m.names()[-1], m.get('mine').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mine", "mine"]


def test_criteria_are_known_without_torch() -> None:
    assert set(methods.criterion_names()) == set(importance.CRITERIA.names())
    code = "import sys, edgeprune.methods as m; print(len(m.criterion_names()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["17", "False"]


def test_data_sets_are_known_without_torch() -> None:
    assert set(READERS) == set(data_names())
