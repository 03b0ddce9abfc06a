"""Fresh processes of Python that need not import torch anew: forked from one that has imported it and not yet used it.

``run(["-m", "edgeprune", ...])`` stands for ``subprocess.run([sys.executable, "-m", "edgeprune", ...])`` with both
outputs captured; ``start`` for ``Popen``. Where a test is about what is imported, it has to start a Python of its own.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# What takes long to import. A module that is not there is left out.
PRELOADED = (
    "torch", "torchvision", "torch._dynamo", "torch.export", "torch.distributed", "torch.utils.tensorboard",
    "torch.onnx._internal.exporter._core", "fvcore.nn", "onnx", "onnxruntime", "onnxscript", "scipy.optimize",
    "sklearn.datasets", "PIL.Image", "rich.console", "edgeprune.api", "edgeprune.backends.onnx",
    "edgeprune.bench.run", "edgeprune.cli", "edgeprune.studies.store", "edgeprune.train_prune.pipeline", "optuna",
)  # fmt: skip

SERVER = """
import atexit, contextlib, functools, gc, importlib, io, json, os, runpy, sys, traceback, types

for name in json.loads(sys.argv[1]):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
with contextlib.suppress(ImportError, AttributeError):  # the same list for each export, as in conftest.py
    from torch.onnx._internal.exporter._registration import ONNXRegistry
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    ONNXRegistry.from_torchlib()
for kind in ("cuda", "xpu", "mtia"):  # no stacks for seeds, as in conftest.py
    with contextlib.suppress(ImportError, AttributeError):
        stackless = types.SimpleNamespace(**{**vars(traceback), "format_stack": list})
        importlib.import_module(f"torch.{kind}").traceback = stackless
gc.collect()
gc.freeze()  # what is imported stays: children neither look through it nor copy its pages


def become(job):
    os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for file, number in ((os.devnull, 0), (job["stdout"], 1), (job["stderr"], 2)):
        os.dup2(os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
    for place in reversed(job["env"].get("PYTHONPATH", "").split(os.pathsep)):
        if place and place not in sys.path:
            sys.path.insert(1, place)  # the first place is that of the script


def work(words):
    kind, *rest = words
    if kind == "-c":
        code, *arguments = rest
        sys.argv, sys.path[0] = ["-c", *arguments], ""
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    elif kind == "-m":
        module, *arguments = rest
        sys.argv, sys.path[0] = [module, *arguments], ""
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [kind, *rest], os.path.dirname(kind)
        runpy.run_path(kind, run_name="__main__")


def ended(words):
    try:
        work(words)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        status = os.waitpid(job["wait"], 0)[1]
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), file=replies, flush=True)
        continue
    number = os.fork()
    if number == 0:
        code = 1
        try:
            become(job)
            code = ended(job["words"])
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    print(number, file=replies, flush=True)
"""


@cache
def server() -> "subprocess.Popen[str]":
    """Start the process that the others are forked from: once for each process of tests."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(PRELOADED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    atexit.register(process.kill)
    return process


def reply_to(question: Mapping[str, Any]) -> int:
    """Ask the server; return the number it answers."""
    process = server()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@dataclass
class Started:
    """A process that was started."""

    words: list[str]
    pid: int
    folder: "tempfile.TemporaryDirectory[str]"

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> "subprocess.CompletedProcess[str]":
        """Return its exit code and outputs when it has ended."""
        code = reply_to({"wait": self.pid})
        outputs = [
            (Path(self.folder.name) / name).read_text(errors="replace") for name in ("stdout", "stderr")
        ]
        self.folder.cleanup()
        return subprocess.CompletedProcess([sys.executable, *self.words], code, *outputs)


def start(
    words: Sequence[str], *, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
) -> Started:
    """Start a Python.

    Args:
        words: of its command line: -c CODE, -m MODULE or a script; and arguments.
        cwd: its folder; ours if left out.
        env: its environment; ours if left out.
    """
    folder = tempfile.TemporaryDirectory()
    job = {
        "words": [str(word) for word in words],
        "cwd": str(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env),
        **{name: f"{folder.name}/{name}" for name in ("stdout", "stderr")},
    }
    return Started(job["words"], reply_to(job), folder)


def run(
    words: Sequence[str], *, cwd: str | Path | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a Python to its end; see `start`.

    Args:
        words: of its command line: -c CODE, -m MODULE or a script; and arguments.
        cwd: its folder; ours if left out.
        env: its environment; ours if left out.
    """
    return start(words, cwd=cwd, env=env).wait()
