"""Measure what steps of the pruning phase, of distilling and of compiled networks cost beside a plain one.

    python benchmarks/step_cost.py --json results/step_cost.json

All kinds of step are whole: forward, backward, optimizer, and for the pruning phase the controller's
turn. They take turns in short rounds, so that drift of the machine cancels; a ratio is formed in each
round and their median is the result. Data loading is not counted: every step sees the same batch.
`edgeprune --help` is timed too.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from edgeprune_target.fingerprint import cpu_model
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.files.writing import write_json
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.pruning_model import PruningModel
from edgeprune.models import build
from edgeprune.tasks import Classification
from edgeprune.training import PRECISIONS, best_precision, computing_in

HELP_RUNS = 15
Step = Callable[[], None]


def plain_step(args: argparse.Namespace, precision: str) -> Step:
    """A step of ordinary training."""
    return _step(build(args.model, num_classes=10), args, precision, lambda: None)


def pruning_step(args: argparse.Namespace, precision: str) -> Step:
    """A step of the pruning phase, its controller included."""
    analyser = OutputAnalyser(
        build(args.model, num_classes=10), torch.zeros(1, 3, 32, 32), autocast=PRECISIONS[precision]
    )
    phase = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph))
    return _step(analyser, args, precision, lambda: phase.after_step(analyser.iteration))


def compiled_step(args: argparse.Namespace, precision: str) -> Step:
    """A plain step of a network that torch.compile has compiled, as `--compile` does."""
    return _step(torch.compile(build(args.model, num_classes=10)), args, precision, lambda: None)


def distilling_step(args: argparse.Namespace, precision: str, *, compiled: bool) -> Step:
    """A step of fine-tuning that distils from a network as large, without or with `--compile`."""
    task = Classification()
    student, teacher = (build(args.model, num_classes=10) for _ in range(2))
    teacher.to(args.device).to(memory_format=torch.channels_last).eval()
    if compiled:
        student, teacher = torch.compile(student), torch.compile(teacher)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        with computing_in(precision, args.device):
            output = student(x)
            with torch.no_grad():
                taught = teacher(x)
        return task.total_loss(output, y, taught)

    return _step(student, args, precision, lambda: None, loss_of)


def naive_step(args: argparse.Namespace, precision: str) -> Step:
    """The same by the book: one pruning-model beside each convolution, fed every image, in fp32."""
    analyser = OutputAnalyser(
        build(args.model, num_classes=10),
        torch.zeros(1, 3, 32, 32),
        pruning_model=PruningModel,
        images=args.batch,
    )
    return _step(analyser, args, precision, lambda: None)


def _step(
    model: nn.Module,
    args: argparse.Namespace,
    precision: str,
    after: Callable[[], Any],
    loss_of: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Step:
    model = model.to(args.device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    x, y = _batch(args)

    def cross_entropy(x: Tensor, y: Tensor) -> Tensor:
        with computing_in(precision, args.device):
            logits = model(x)
        return F.cross_entropy(logits.float(), y)

    def step() -> None:
        loss = (loss_of or cross_entropy)(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        after()

    return step


def _batch(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    x = torch.randn(args.batch, 3, 32, 32, device=args.device).to(memory_format=torch.channels_last)
    return x, torch.randint(0, 10, (args.batch,), device=args.device)


def measure(steps: dict[str, Step], *, rounds: int, count: int, device: str) -> dict[str, list[float]]:
    """Milliseconds a step, by round; kinds take turns, each other round the other way about."""
    for step in steps.values():  # warm-up: allocations, kernels chosen
        _timed(step, 2, device)
    result: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps)[:: 1 if number % 2 == 0 else -1]:
            result[name].append(_timed(steps[name], count, device))
    return result


def _timed(step: Step, count: int, device: str) -> float:
    _sync(device)
    start = time.perf_counter_ns()
    for _ in range(count):
        step()
    _sync(device)
    return (time.perf_counter_ns() - start) / 1e6 / count


def _sync(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def help_times(runs: int) -> list[float] | None:
    """Seconds that `edgeprune --help` takes, or None where the command is not installed."""
    beside = Path(sys.executable).with_name("edgeprune")
    program = str(beside) if beside.exists() else shutil.which("edgeprune")
    if program is None:
        return None
    collected = []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run([program, "--help"], capture_output=True, check=False)
        collected.append(time.perf_counter() - start)
        if done.returncode != 0:
            return None
    return collected


def ratios(seen: dict[str, list[float]], name: str) -> dict[str, Any]:
    """``name`` over plain, by round: median and the range of the rounds."""
    each = [a / b for a, b in zip(seen[name], seen["plain"], strict=True)]
    return {"median": statistics.median(each), "least": min(each), "most": max(each), "rounds": each}


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What it ran on."""
    cuda = args.device.startswith("cuda")
    return {
        "cpu": cpu_model(Path("/")) or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure all that was asked."""
    precision = best_precision(args.device) if args.precision == "auto" else args.precision
    torch.manual_seed(0)
    steps = {
        "plain": plain_step(args, precision),
        "pruning": pruning_step(args, precision),
        "compiled": compiled_step(args, precision),
        "distilling": distilling_step(args, precision, compiled=False),
        "distilling, compiled": distilling_step(args, precision, compiled=True),
    }
    if args.naive:
        steps["naive"] = naive_step(args, precision)
    report = measure(steps, rounds=args.rounds, count=args.steps, device=args.device)
    seconds = help_times(args.help_runs)
    return {
        "schema": 1,
        "machine": machine(args),
        "settings": {
            "model": args.model, "batch": args.batch, "precision": precision, "device": args.device,
            "rounds": args.rounds, "steps_a_round": args.steps,
        },
        "step_ms": {k: {"median": statistics.median(each), "rounds": each} for k, each in report.items()},
        "ratio_to_plain": {name: ratios(report, name) for name in report if name != "plain"},
        "help_s": None if seconds is None else {"median": statistics.median(seconds), "runs": seconds},
        "help_s_reason": None if seconds is not None else "the edgeprune command does not run here",
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """Print it for a person."""
    host, settings = result["machine"], result["settings"]
    print(f"{host['gpu'] or host['cpu']}, {host['threads']} threads, torch {host['torch']}")
    rounds = f"{settings['rounds']} rounds of {settings['steps_a_round']}"
    print(f"{settings['model']}, batch {settings['batch']}, {settings['precision']}, {rounds}")
    for name, each in result["step_ms"].items():
        spread = f"{min(each['rounds']):.0f} to {max(each['rounds']):.0f}"
        print(f"{name:>20} step  {each['median']:8.1f} ms  ({spread})", end="")
        ratio = result["ratio_to_plain"].get(name)
        print(
            f"  {ratio['median']:.2f} x plain ({ratio['least']:.2f} to {ratio['most']:.2f})" if ratio else ""
        )
    seconds = result["help_s"]
    print(f"edgeprune --help  {seconds['median']:.2f} s" if seconds else f"--help: {result['help_s_reason']}")


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Cost of a pruning-phase step beside a plain one.")
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps of each kind in a round")
    parser.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--naive", action="store_true", help="the unoptimised pruning-models too")
    parser.add_argument("--help-runs", type=int, default=HELP_RUNS, help="times to start edgeprune --help")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    return parser.parse_args(argv)


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    args = parsed()
    result = run(args)
    show(result)
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
