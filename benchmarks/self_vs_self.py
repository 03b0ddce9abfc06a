"""Is `bench` honest? One model against itself, many times, and beside a plain loop over ONNX Runtime.

    python benchmarks/self_vs_self.py --out results/self_vs_self.json

Each run measures the same file as "baseline" and as "pruned": the interval of the speedup must contain 1.0,
in at least 18 of 20 runs (an interval of 95 % misses in 1 of 20; 3 or more misses of 20 have a chance of 8 %
then).

After each round of `bench` a loop that knows nothing of the runner runs for as long, in a fresh process with
as many threads: so that both see the same machine. The medians of all samples of both must agree within 2 %.

Needs a quiet machine and about two minutes a run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune_target.fingerprint import cpu_model

from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench.local import LocalTransport
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.devices import load_device
from edgeprune.files.writing import write_json

RUNS = 20
NEEDED = 0.9  # of the runs must have 1.0 in their interval
AGREE = 0.02

# Nothing of edgeprune is in it: load, warm up, time each call.
PLAIN = """
import json, sys, time
import numpy, onnxruntime

path, threads, seconds, shape = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = numpy.random.default_rng(1).standard_normal(shape).astype("float32")
feed = {session.get_inputs()[0].name: image}
until = time.perf_counter() + 0.2
while time.perf_counter() < until:
    session.run(None, feed)
times = []
until = time.perf_counter() + seconds
while time.perf_counter() < until:
    start = time.perf_counter_ns()
    session.run(None, feed)
    times.append(time.perf_counter_ns() - start)
print(json.dumps(times))
"""


class WithPlainLoop(LocalTransport):
    """The usual transport, and after each round the plain loop; its samples, ns, a list per round."""

    def __init__(self) -> None:
        super().__init__()
        self.plain_ns: list[list[int]] = []

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """As the runner answers."""
        answer = super().call(verb, arguments, on_event)
        if verb == "measure":
            options = dict(zip(arguments[::2], arguments[1::2], strict=False))
            shape = json.dumps(next(iter(answer["feed"].values())))
            self.plain_ns.append(
                plain_loop(options["--model"], options["--threads"], options["--seconds"], shape)
            )
        return answer


def plain_loop(*words: str) -> list[int]:
    """Times of single calls, ns, from a fresh process."""
    done = subprocess.run([sys.executable, "-c", PLAIN, *words], capture_output=True, text=True, check=True)
    times: list[int] = json.loads(done.stdout.splitlines()[-1])
    return times


def one_run(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The interval of the model against itself, and both p50, ms."""
    transport = WithPlainLoop()
    options = BenchOptions(load_device("cpu"), threads=args.threads, seconds=args.seconds, batch=args.batch)
    result = bench_models({"baseline": model, "pruned": model}, options=options, transport=transport)
    speedup = result["speedup"]
    p50 = median_ms(rounds for model in result["models"].values() for rounds in model["samples_ns"])
    plain = median_ms(transport.plain_ns)
    return {
        "speedup": speedup["value"],
        "low": speedup["low"],
        "high": speedup["high"],
        "contains_one": speedup["low"] <= 1.0 <= speedup["high"],
        "p50_ms": p50,
        "plain_p50_ms": plain,
        "p50_over_plain": p50 / plain,
        "round_spread": {name: model["round_spread"] for name, model in result["models"].items()},
        "busy_cores": result["device"]["fingerprint"]["busy_cores"],
        "warnings": [warning["code"] for warning in result["warnings"]],
    }


def median_ms(rounds: Any) -> float:
    """Of the samples of all rounds, ns."""
    return statistics.median(sample for samples in rounds for sample in samples) / 1e6


def verdict(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What all runs come to."""
    contained = sum(run["contains_one"] for run in runs)
    ratios = [run["p50_over_plain"] for run in runs]
    ratio = statistics.median(ratios)
    return {
        "runs_done": len(runs),
        "contain_one": contained,
        "needed": NEEDED,
        "interval_holds": contained >= NEEDED * len(runs),
        "p50_over_plain": ratio,
        "p50_over_plain_least": min(ratios),
        "p50_over_plain_most": max(ratios),
        "p50_agrees": abs(ratio - 1) <= AGREE,
    }


def default_model(folder: Path) -> Path:
    """ResNet-20 for 32x32 images, as ONNX."""
    from edgeprune.backends.onnx_export import export_model
    from edgeprune.models import build

    path = folder / "resnet20.onnx"
    export_model(build("resnet20", num_classes=10), (3, 32, 32), path)
    return path


def main() -> int:
    """Returns 0 when both conditions hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timed inference per model and run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--model", type=Path, help="an ONNX file; ResNet-20 without it")
    parser.add_argument("--out", type=Path, help="a JSON file, written after each run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or default_model(Path(folder))
        record = about(model, args)
        for number in range(args.runs):
            run = one_run(model, args)
            record["runs"].append(run)
            record["verdict"] = verdict(record["runs"])
            record["complete"] = number + 1 == args.runs
            print(
                f"{number + 1:2d}: {run['low']:.4f} to {run['high']:.4f}"
                f" {'contains' if run['contains_one'] else 'MISSES  '} 1;"
                f" p50 {run['p50_ms']:.4f} ms, plain {run['plain_p50_ms']:.4f} ms,"
                f" ratio {run['p50_over_plain']:.4f}",
                flush=True,
            )
            if args.out:
                write_json(args.out, record)
    print(json.dumps(record["verdict"], indent=2))
    return 0 if record["verdict"]["interval_holds"] and record["verdict"]["p50_agrees"] else 1


def about(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What is measured, and on what."""
    import onnxruntime

    return {
        "schema": 1,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "complete": False,
        "model": model.name,
        "settings": {
            "threads": args.threads,
            "batch": args.batch,
            "seconds": args.seconds,
            "runs": args.runs,
        },
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
        "machine": {"processor": cpu_model(Path("/")), "cores": os.cpu_count()},
        "runs": [],
        "verdict": None,
    }


if __name__ == "__main__":
    sys.exit(main())
