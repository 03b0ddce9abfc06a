"""Write the README's tables from results/: what stands between `<!-- NAME -->` and `<!-- end -->` marks.

python benchmarks/tables.py            rewrite README.md
python benchmarks/tables.py --check    exit 1 if it would change
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.comparison import remarks, table
from edgeprune.report import bench_rows, percent, size_rows, speedup_line

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def read(name: str) -> dict[str, Any]:
    """One result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table in markdown; the first column left, the rest right."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def machine(bench: dict[str, Any]) -> str:
    """The machine of a measurement in words."""
    print_ = bench["device"]["fingerprint"]
    versions = bench["models"]["baseline"]["versions"]
    return (
        f"{print_['cpu_model']}, {bench['settings']['threads']} threads, "
        + ", ".join(f"{name} {value}" for name, value in versions.items())
        + f", {bench['created'][:10]}"
    )


def run_table(name: str) -> str:
    """Baseline beside pruned, of a collected run."""
    found = read(name)
    bench = next(iter(found["bench"].values()))
    rows = [
        [r.what, r.baseline, r.pruned, r.change] for r in [*size_rows(found["summary"]), *bench_rows(bench)]
    ]
    table = markdown(["", "baseline", "pruned", "change"], rows)
    return f"{table}\n\nMeasured: {speedup_line(bench)}, on {machine(bench)}."


def cifar_table() -> str:
    """The learned criterion on CIFAR-10."""
    found = read("resnet56-cifar10-learned")
    summary, options = found["summary"], found["options"]
    base, pruned = summary["models"]["baseline"], summary["models"]["pruned"]
    rows = [
        ["ResNet-56, pretrained", f"{100 - 100 * base['accuracy']:.2f} %", "0 %", "0 %"],
        [
            f"pruned, {options['epochs']} epochs",
            f"{100 - 100 * pruned['accuracy']:.2f} %",
            percent(1 - summary["params_fraction"]),
            percent(1 - summary["flops_fraction"]),
        ],
    ]
    return markdown(["", "test error, last epoch", "parameters removed", "FLOPs removed"], rows)


def cost_table() -> str:
    """Step ratio and start-up time."""
    found = read("step_cost")
    settings, machine_ = found["settings"], found["machine"]
    steps, ratio = found["step_ms"], found["ratio_to_plain"]["pruning"]
    what = f"{settings['model']}, batch {settings['batch']}, {settings['precision']}"
    rows = [
        [f"a plain training step ({what})", f"{steps['plain']['median']:.0f} ms"],
        [f"a step of the pruning phase ({what})", f"{steps['pruning']['median']:.0f} ms"],
        [
            "their ratio",
            f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f} over the rounds)",
        ],
        ["`edgeprune --help`", f"{found['help_s']['median']:.2f} s"],
    ]
    where = f"{machine_['cpu']}, {machine_['threads']} threads, torch {machine_['torch']}"
    return f"{markdown(['', 'median'], rows)}\n\nOn {where}."


def graph_table() -> str:
    """Trace, plan and compaction beside Torch-Pruning's."""
    found = read("graph_speed")
    rows = [
        [m["model"], f"{m['ours_s']:.2f} s", f"{m['torch_pruning_s']:.2f} s", f"{m['ratio']:.2f}"]
        for m in found["models"]
    ]
    heads = [
        "trace, choose, cut",
        "edgeprune",
        f"Torch-Pruning {found['versions']['torch-pruning']}",
        "ratio",
    ]
    return f"{markdown(heads, rows)}\n\nOn {found['machine']}, torch {found['versions']['torch']}."


def honesty() -> str:
    """What `bench` says of a model against itself."""
    found = read("self_vs_self")
    come, settings = found["verdict"], found["settings"]
    ratio, least, most = (come[f"p50_over_plain{end}"] for end in ("", "_least", "_most"))
    return (
        f"A ResNet-20 against itself, {come['runs_done']} times: the interval contained 1.0 in "
        f"{come['contain_one']}, and the p50 was {ratio:.3f} of that of a plain loop over ONNX Runtime "
        f"(median of the runs; {least:.3f} to {most:.3f}). On {found['machine']['processor']}, "
        f"{settings['threads']} thread, batch {settings['batch']}, by `python benchmarks/self_vs_self.py`."
    )


def compare_table(name: str) -> str:
    """Methods side by side, the most accurate first."""
    found = read(name)
    heads, rows = table(found)
    body = markdown([heading for heading, _ in heads], rows)
    settings, machine_ = found["settings"], found["machine"]
    what = (
        f"{settings['model']} on {settings['data']}, {found['target']}, {settings['epochs']} epochs from one "
        f"baseline ({found['baseline']['test_images']:,} test images); {'; '.join(remarks(found))}"
    )
    where = f"{machine_['cpu']}, {machine_['threads']} threads, torch {found['versions']['torch']}"
    return f"{body}\n\n{what}. On {where}."


TABLES: dict[str, Callable[[], str]] = {
    "demo": lambda: run_table("demo"),
    "cifar": cifar_table,
    "cifar-bench": lambda: run_table("resnet56-cifar10-learned"),
    "cost": cost_table,
    "graph-speed": graph_table,
    "honesty": honesty,
    "compare": lambda: compare_table("compare_digits"),
    "compare-cifar": lambda: compare_table("compare_cifar10"),
}


def filled(text: str) -> str:
    """The README with every table that is marked in it written anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if pattern.search(text):
            table = make()
            text = pattern.sub(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
    return text


def main() -> int:
    path = ROOT / "README.md"
    old = path.read_text()
    new = filled(old)
    if "--check" in sys.argv:
        return int(old != new)
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
