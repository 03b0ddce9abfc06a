"""An ONNX file read, traced, planned, cut, proved and written, against what onnxsim does with it, in turn.

    python benchmarks/onnx_speed.py [--rounds 5] [--model resnet50] [--out results/onnx_speed.json]
    python benchmarks/onnx_speed.py --once net.onnx smaller.onnx         # ours alone, as one process

Both start from the same file of a torchvision network with random weights and end with a smaller file. Ours keeps half
of the FLOPs by the sums of weights, and compares the cut network's numbers with the masked one's; onnxsim takes 30 %
of the channels that it knows how to take, by their L2 norms, and compares nothing. "onnxsim_simplify" is its main
function, which simplifies the file and compares nothing either. Besides these functions, whole processes are timed,
imports included: ours, and the command `onnxsim net.onnx out.onnx`, which simplifies. Seconds are of the clock, and of
processes CPU seconds too. Needs onnxsim 0.8; run it on a quiet machine.
"""

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgeprune.budget import select
from edgeprune.files.writing import write_json
from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.onnx_graph.cutting import cut_file
from edgeprune.onnx_graph.files import read, write
from edgeprune.onnx_graph.network import network_of

IMPORTS = {
    "ours": "import edgeprune.post_training.files",
    "onnxsim": "import onnxsim",
}


def ours(path: Path, out: Path) -> dict[str, float]:
    """Return the seconds of each part."""
    marks = [time.perf_counter()]
    file = read(path)
    marks.append(time.perf_counter())
    image = torch.zeros(1, 3, 224, 224)
    network = network_of(file, image)
    graph = build_graph(network, image)
    marks.append(time.perf_counter())
    plan = select(graph, score(graph, "l1"), "flops=0.5")
    marks.append(time.perf_counter())
    cut = cut_file(network, graph, plan)
    marks.append(time.perf_counter())
    write(cut.file, out)
    marks.append(time.perf_counter())
    names = ("read_s", "trace_s", "plan_s", "cut_s", "write_s")
    parts = [b - a for a, b in zip(marks, marks[1:], strict=False)]
    return {**dict(zip(names, parts, strict=True)), "total_s": marks[-1] - marks[0]}


def theirs(path: Path, out: Path, *, native: bool) -> dict[str, float]:
    """Return the seconds of onnxsim's structured pruning, in Python or in C++."""
    import onnx
    import onnxsim

    prune = onnxsim.apply_structured_pruning_cpp if native else onnxsim.apply_structured_pruning
    started = time.perf_counter()
    onnx.save(prune(str(path), sparsity=0.3), str(out))
    return {"total_s": time.perf_counter() - started}


def simplified(path: Path, out: Path) -> dict[str, float]:
    """Return the seconds of onnxsim's simplification, from file to file."""
    import onnx
    import onnxsim

    started = time.perf_counter()
    model, agreed = onnxsim.simplify(str(path))
    if not agreed:
        raise SystemExit("onnxsim's file does not compute what the original does")
    onnx.save(model, str(out))
    return {"total_s": time.perf_counter() - started}


def process(words: list[str]) -> dict[str, float]:
    """Return the seconds of a process, and its CPU seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"total_s": time.perf_counter() - started, "cpu_s": cpu}


def import_seconds(statement: str, rounds: int) -> float:
    """Return the median of a process that imports a package, less one that imports nothing."""

    def seconds(code: str) -> float:
        return process([sys.executable, "-c", code])["total_s"]

    return statistics.median(seconds(statement) - seconds("pass") for _ in range(rounds))


def main() -> None:
    """Alternate them after one warm-up each; every sample is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--once", nargs=2, type=Path, metavar=("IN", "OUT"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    if args.once:
        ours(*args.once)
        return
    # Not for --once, whose process would import them too.
    from measuring import machine
    from torchvision.models import get_model

    with tempfile.TemporaryDirectory() as place:
        path, out = Path(place) / "net.onnx", Path(place) / "small.onnx"
        torch.manual_seed(0)
        image = (torch.zeros(1, 3, 224, 224),)
        torch.onnx.export(
            get_model(args.model, weights=None).eval(), image, str(path), dynamo=False, opset_version=17
        )
        sides: dict[str, Callable[[], dict[str, float]]] = {
            "ours": lambda: ours(path, out),
            "onnxsim": lambda: theirs(path, out, native=False),
            "onnxsim_cpp": lambda: theirs(path, out, native=True),
            "onnxsim_simplify": lambda: simplified(path, out),
            "our_process": lambda: process(
                [sys.executable, __file__, "--threads", str(args.threads), "--once", str(path), str(out)]
            ),
            "onnxsim_command": lambda: process([sys.executable, "-m", "onnxsim", str(path), str(out)]),
        }
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(args.rounds + 1):
            for name, run in sides.items():
                gc.collect()
                sample = run()
                if number:
                    samples[name].append(sample)
    median = {
        name: {part: statistics.median(row[part] for row in rows) for part in rows[0]}
        for name, rows in samples.items()
    }
    imports = {name: import_seconds(statement, 3) for name, statement in IMPORTS.items()}
    record: dict[str, Any] = {
        "schema": 1,
        "model": args.model,
        "threads": args.threads,
        "median": median,
        "import_s": imports,
        "ratio": median["ours"]["total_s"] / median["onnxsim"]["total_s"],
        "ratio_to_simplify": median["ours"]["total_s"] / median["onnxsim_simplify"]["total_s"],
        "ratio_with_import": (median["ours"]["total_s"] + imports["ours"])
        / (median["onnxsim"]["total_s"] + imports["onnxsim"]),
        "ratio_of_processes": median["our_process"]["total_s"] / median["onnxsim_command"]["total_s"],
        "samples": samples,
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxsim")},
        "machine": machine(),
    }
    for name, parts in median.items():
        print(f"{name:12s}", "  ".join(f"{part} {seconds:.3f}" for part, seconds in parts.items()))
    print(
        f"imports {imports}; ratio {record['ratio']:.2f}, to simplify {record['ratio_to_simplify']:.2f}, "
        f"with imports {record['ratio_with_import']:.2f}, of processes {record['ratio_of_processes']:.2f}"
    )
    if args.out:
        write_json(args.out, record)


if __name__ == "__main__":
    main()
