"""The command line of `make fuzz`: many cases, or one of them again.

python -m fuzz --cases 2000 --seed 0 --workers 2
python -m fuzz --seed 0 --case 17
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from fuzz import folders
from fuzz.commands import Outcome, run_case
from fuzz.guard import Guard

MEMORY_BYTES = 24 << 30  # of address space: an absurd size fails at once


def main() -> int:
    """Run the cases; 1 if one of them failed."""
    arguments = _arguments()
    if arguments.base is None:
        with tempfile.TemporaryDirectory(prefix="edgeprune-fuzz-") as place:
            base = Path(place) / "base"
            print("making small runs, a comparison and a search ...", flush=True)
            folders.make(base)
            return _all(arguments, base)
    return _all(arguments, Path(arguments.base))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one alone, with all it prints")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--base", help="folders that were made before")
    parser.add_argument("--failures", default="fuzz-failures.txt", help="where failures are written")
    return parser.parse_args()


def _all(arguments: argparse.Namespace, base: Path) -> int:
    if arguments.workers > 1 and arguments.case is None:
        return _workers(arguments, base)
    _limit_memory()
    numbers = (
        [arguments.case]
        if arguments.case is not None
        else range(arguments.first, arguments.cases, arguments.step)
    )
    guard, failed, started = Guard(), 0, time.monotonic()
    for count, number in enumerate(numbers):
        outcome = _outcome(number, arguments.seed, base, guard)
        if arguments.case is not None:
            print(f"{outcome.what}\n{outcome.detail}\n{outcome.fault or 'as it should be'}")
        if outcome.fault:
            failed += 1
            _report(outcome, arguments)
        if count % 100 == 99:
            print(f"{count + 1} cases in {time.monotonic() - started:.0f} s, {failed} failed", flush=True)
    return min(1, failed)


def _workers(arguments: argparse.Namespace, base: Path) -> int:
    """Run every nth case in each of a few processes."""
    failures = Path(arguments.failures).absolute()
    failures.unlink(missing_ok=True)
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "fuzz", "--base", str(base), "--workers", "1", "--first", str(number),
             "--step", str(arguments.workers), "--cases", str(arguments.cases), "--seed", str(arguments.seed),
             "--failures", str(failures)]
        )
        for number in range(arguments.workers)
    ]  # fmt: skip
    codes = [process.wait() for process in processes]
    seconds = time.monotonic() - started
    print(f"{arguments.cases} cases in {seconds:.0f} s: {f'see {failures}' if any(codes) else 'no failure'}")
    return min(1, max(map(abs, codes)))


def _outcome(number: int, seed: int, base: Path, guard: Guard) -> Outcome:
    home = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix=f"edgeprune-case-{number}-"))
    try:
        return run_case(number, seed, base, folder, guard)
    finally:
        os.chdir(home)
        shutil.rmtree(folder, ignore_errors=True)


def _report(outcome: Outcome, arguments: argparse.Namespace) -> None:
    again = f"make fuzz SEED={arguments.seed} CASE={outcome.number}"
    print(f"case {outcome.number}: {outcome.fault}\n    {outcome.what[:200]}", flush=True)
    with Path(arguments.failures).open("a") as handle:
        handle.write(
            f"case {outcome.number}: {outcome.fault}\n{outcome.what}\nagain: {again}\n{outcome.detail}\n\n"
        )


def _limit_memory() -> None:
    import resource

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
