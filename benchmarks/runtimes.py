"""Measure finished runs on every runtime: what `bench --runtime all` says of each, as a table.

    python benchmarks/runtimes.py runs/resnet20-cifar10 runs/mobilenet --out results/runtimes.json

Needs the packages of docs/runtimes.md; what is missing is listed with its reason. A run that is in the result already,
measured alike, is not measured again: a stopped script goes on where it was. On a quiet machine alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from edgeprune import backends
from edgeprune.backends import export_run
from edgeprune.bench import bench_every
from edgeprune.errors import ExportError
from edgeprune.files.writing import write_json
from edgeprune.reporting.rows import runtimes_lines, runtimes_table

KINDS = ("onnx", "onnx-int8", "openvino", "ncnn", "litert", "executorch")


def exported(run: Path, names: list[str]) -> None:
    """Export a run with these backends in each precision; a model that one of them refuses stays without that file."""
    for name in names:
        kind = backends.get(name)
        for precision in kind.precisions:
            try:
                export_run(run, to=[kind(precision)])
            except ExportError as error:
                print(f"{run}: {name} {precision}: {error}", flush=True)


def measured(run: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the table of one run, exported anew."""
    exported(run, options.to.split(","))
    return bench_every(run, seconds=options.seconds, threads=options.threads, accuracy=True)


def markdown(table: dict[str, Any]) -> str:
    """Return a run's table as Markdown."""
    heads, rows = runtimes_table(table)
    lines = [f"| {' | '.join(name for name, _ in heads)} |"]
    lines += ["|" + "".join(" :-- |" if side == "left" else " --: |" for _, side in heads)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *runtimes_lines(table)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/runtimes.json"))
    parser.add_argument("--to", default=",".join(KINDS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    content = json.loads(options.out.read_text()) if options.out.is_file() else {"schema": 1, "tables": {}}
    settings = {"to": options.to, "seconds": options.seconds, "threads": options.threads}
    for run in options.runs:
        before = content["tables"].get(str(run))
        if before is None or before["settings"] != settings:
            content["tables"][str(run)] = {"settings": settings, "table": measured(run, options)}
            write_json(options.out, content)
        print(f"\n{run}\n\n{markdown(content['tables'][str(run)]['table'])}", flush=True)


if __name__ == "__main__":
    main()
