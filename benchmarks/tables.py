"""Write the docs' tables from results/: what stands between `<!-- NAME -->` and `<!-- end -->` marks.

python benchmarks/tables.py            rewrite README.md and the pages of docs/
python benchmarks/tables.py --check    exit 1 if it would change
"""

import re
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from deployed_tables import joint_table, layer_kinds_table, runtimes_table
from loader_table import loader_table
from method_tables import alignment_table, compare_table, peers_table, recipes_table
from onnx_tables import onnx_files_table, onnx_peers_table, onnx_speed_table, onnx_table
from table_parts import markdown, read

from edgeprune import tasks
from edgeprune.records.bench import BenchResult
from edgeprune.records.max_drop import MaxDropRecord
from edgeprune.records.runs import Summary
from edgeprune.reporting.drops import drop_lines, interval_text
from edgeprune.reporting.rows import bench_rows, percent, size_rows, speedup_lines
from edgeprune.search.pictures import strategy_of
from edgeprune.tasks import metric_of

ROOT = Path(__file__).parents[1]
UNDISTURBED = "of 10th percentiles, since neighbours of the machine disturbed the medians."


def machine(bench: dict[str, Any]) -> str:
    """The machine of a measurement in words."""
    print_ = bench["device"]["fingerprint"]
    versions = bench["models"]["baseline"]["versions"]
    return (
        f"{print_['cpu_model']}, {bench['settings']['threads']} threads, "
        + ", ".join(f"{name} {value}" for name, value in versions.items())
        + f", {bench['created'][:10]}"
    )


STARTING = ("load the file", "first inference", "memory once loaded")


def run_table(name: str, left_out: tuple[str, ...] = ()) -> str:
    """Baseline beside pruned, of a collected run; the README has no room for all rows."""
    record = read(name)
    bench = next(iter(record["bench"].values()))
    summary, measured = Summary.from_dict(record["summary"]), BenchResult.from_dict(bench)
    every = [row for row in [*size_rows(summary), *bench_rows(measured)] if row.what not in left_out]
    rows = [[r.what, r.baseline, r.pruned, r.change] for r in every]
    table = markdown(["", "baseline", "pruned", "change"], rows)
    return f"{table}\n\nMeasured: {speedup_lines(measured)[0]}, on {machine(bench)}."


def sustained_table() -> str:
    """The demo's network under lasting load, minute by minute."""
    bench = next(iter(read("demo_sustained")["bench"].values()))
    measured, load = BenchResult.from_dict(bench), bench["sustained"]
    rows = [
        [str(row["minute"] + 1), *(f"{row['models'][name]['p50']:.3f} ms" for name in ("baseline", "pruned"))]
        for row in load["minutes"]
    ]
    slower = ", ".join(f"{name} {100 * (ratio - 1):.1f} %" for name, ratio in load["slowdown"].items())
    words = (
        f"Steady from {load['steady_from_s'] / 60:.1f} minutes on, slower than in the first minute: {slower}. "
        f"Steady {speedup_lines(measured)[0]}, on {machine(bench)}."
    )
    return f"{markdown(['minute', 'baseline p50', 'pruned p50'], rows)}\n\n{words}"


def cifar_table() -> str:
    """The learned criterion on CIFAR-10."""
    record = read("resnet56-cifar10-learned")
    summary, options = record["summary"], record["options"]
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
    record = read("step_cost")
    settings, machine_ = record["settings"], record["machine"]
    kinds = {
        "plain": "a plain training step",
        "pruning": "of the pruning phase",
        "compiled": "with `--compile`",
        "distilling": "of fine-tuning that distils, from a network as large",
        "distilling, compiled": "the same with `--compile`",
    }
    rows = []
    for name, title in kinds.items():
        ratio = record["ratio_to_plain"].get(name)
        beside = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})" if ratio else "1"
        rows.append([title, f"{record['step_ms'][name]['median']:.0f} ms", beside])
    what = f"{settings['model']}, batch {settings['batch']}, {settings['precision']}"
    where = f"{machine_['cpu']}, {machine_['threads']} threads, torch {machine_['torch']}"
    table = markdown(["a step", "median", "beside a plain one (over the rounds)"], rows)
    started = f"`edgeprune --help` takes {record['help_s']['median']:.2f} s."
    return f"{table}\n\n{what}, on {where}. {started}"


def graph_table() -> str:
    """Trace, plan and compaction beside Torch-Pruning's."""
    record = read("graph_speed")
    rows = [
        [m["model"], f"{m['ours_s']:.2f} s", f"{m['torch_pruning_s']:.2f} s", f"{m['ratio']:.2f}"]
        for m in record["models"]
    ]
    heads = [
        "trace, choose, cut",
        "edgeprune",
        f"Torch-Pruning {record['versions']['torch-pruning']}",
        "ratio",
    ]
    return f"{markdown(heads, rows)}\n\nOn {record['machine']}, torch {record['versions']['torch']}."


def honesty() -> str:
    """What `bench` says of a model against itself."""
    record = read("self_vs_self")
    come, settings = record["verdict"], record["settings"]
    ratio, least, most = (come[f"p50_over_plain{end}"] for end in ("", "_least", "_most"))
    return (
        f"A ResNet-20 against itself, {come['runs_done']} times: the interval contained 1.0 in "
        f"{come['contain_one']}, and the p50 was {ratio:.3f} of that of a plain loop over ONNX Runtime "
        f"(median of the runs; {least:.3f} to {most:.3f}). On {record['machine']['processor']}, "
        f"{settings['threads']} thread, batch {settings['batch']}, by `python benchmarks/self_vs_self.py`."
    )


def on_machine(seen: dict[str, Any]) -> str:
    """The machine of a result, or those of its rows where each has its own."""
    every = [seen["machine"]] if "machine" in seen else [row["machine"] for row in seen["rows"]]
    places = {f"{item['cpu']}, {item['cores']} cores": None for item in every}
    versions = sorted({item["onnxruntime"] for item in every})
    return f"On {' and '.join(places)}, onnxruntime {' and '.join(versions)}."


def undisturbed(row: dict[str, Any]) -> bool:
    """Whether a speedup is of 10th percentiles; see `edgeprune.latency.end_to_end.EndToEndTimer`."""
    return row.get("percentile") == 10


def measured_on(seen: dict[str, Any], rows: Iterable[dict[str, Any]]) -> str:
    """The machine, and what a mark of `interval` means where there is one."""
    some = any(undisturbed(row) for row in rows)
    return on_machine(seen) + (f" Speedups with a \\* are {UNDISTURBED}" if some else "")


def plain_name(model: str) -> str:
    """Without where it comes from."""
    return model.removeprefix("torchvision:")


def interval(row: dict[str, Any]) -> str:
    """A speedup with its interval."""
    mark = "\\*" if undisturbed(row) else ""
    return f"{row['value']:.2f}x{mark} ({row['low']:.2f} to {row['high']:.2f})"


def device_target_table() -> str:
    """What was asked of the device, and what was measured afterwards."""
    record = read("device_targets")
    models = [row["model"] for row in record["rows"]]
    ordered = sorted(
        record["rows"],
        key=lambda row: (models.index(row["model"]), row["batch"], row["target"].startswith("flops")),
    )
    rows = []
    for row in ordered:
        if "error" in row:
            came = ["-", row["error"], "missed"]
        else:
            needed = f"{row['needed']:.2f}x" + ("" if row["passed"] else ", missed")
            came = [f"{row['flops_ratio']:.2f}x", interval(row), needed]
        requested = [plain_name(row["model"]), str(row["batch"]), f"`{row['target']}`"]
        rows.append([*requested, *came, row["machine"]["cpu"]])
    heads = ["network", "batch", "asked", "fewer FLOPs", "measured speedup", "wanted at least", "processor"]
    return f"{markdown(heads, rows)}\n\n{measured_on(record, record['rows'])}"


def rivals_table() -> str:
    """Beside the best `round_to` of Torch-Pruning."""
    rows = []
    record = read("against_round_to")
    for row in record["rows"]:
        if row["side"] != "ours":
            continue
        kept = f"{percent(row['importance'])}, theirs {percent(row['importance_theirs'])}"
        rows.append(
            [
                plain_name(row["model"]),
                str(row["round_to"]),
                f"{row['at']}, `{row['target']}`",
                kept,
                interval(row["speedup_over_theirs"]),
            ]
        )
    heads = ["network", "their best `round_to`", "ours at their", "importance kept", "speed over theirs"]
    return f"{markdown(heads, rows)}\n\n{on_machine(record)}"


def lut_words() -> str:
    """How well a table foretells."""
    record = read("lut_resnet50")
    errors = sorted(abs(row["error"]) for row in record["rows"])
    return (
        f"The table of {plain_name(record['model'])} took {record['build_s'] / 60:.1f} minutes; over "
        f"{len(errors)} random plans, measured whole, it was off by {percent(statistics.median(errors))} "
        f"(median) and {percent(errors[-1])} (worst). {on_machine(record)}"
    )


def never_slower_words() -> str:
    """Random plans, and whether one was slower."""
    record = read("never_slower")
    rows = record["rows"]
    gained = sorted(row["value"] for row in rows if "value" in row)
    slower = sum(not row["passed"] for row in rows)
    message, fast = sum("said" in row for row in rows), sum(undisturbed(row) for row in rows)
    return (
        f"Of {len(rows)} random networks, targets and criteria, {slower} came out slower than the unpruned "
        f"network; {message} were refused beforehand because nothing could be gained; the others were "
        f"{gained[0]:.2f} to {gained[-1]:.2f} times as fast. {on_machine(record)}"
        + (f" {fast} of the speedups are {UNDISTURBED}" if fast else "")
    )


def uniform_table() -> str:
    """Pruned for time, beside uniform widths of the same time."""
    record = read("uniform_rival")
    names = {
        "ours": "`--target latency=0.5`, l2",
        "uniform_faster": "uniform widths, l2: the nearest that is faster",
        "uniform_slower": "uniform widths, l2: the nearest that is slower",
    }
    rows = [
        [
            names[name],
            interval(row),
            percent(row["accuracy_before"]),
            percent(row["accuracy"]),
            percent(row["flops_fraction"]),
        ]
        for name, row in record["rows"].items()
    ]
    heads = ["ResNet-56 on CIFAR-10", "measured speedup", "accuracy at once", "fine-tuned", "FLOPs left"]
    what = f"{record['epochs']} epochs each, from {percent(record['baseline_accuracy'])}."
    return f"{markdown(heads, rows)}\n\n{what} {measured_on(record, record['rows'].values())}"


def search_table() -> str:
    """Ways of searching, means over seeds."""
    record = read("search_resnet56")
    ways: dict[str, list[dict[str, Any]]] = {}
    for row in record["rows"]:
        ways.setdefault(strategy_of(row["sampler"], row["clusters"], row["rollback"]), []).append(row)
    uniform = [row["uniform"] for row in record["rows"]]
    plain = _of([item["reward"] for item in uniform], [item["test"] for item in uniform])
    rows = [["uniform ratios", "1", *plain, ""]]
    for way, runs in ways.items():
        rewards, tests = [run["best"]["reward"] for run in runs], [run["best_test"] for run in runs]
        seconds = statistics.mean(run["seconds_per_trial"] for run in runs)
        rows.append([way, str(len(runs[0]["trials"])), *_of(rewards, tests), f"{seconds:.2f} s"])
    item, seeds = record["rows"][0], len({row["seed"] for row in record["rows"]})
    what = (
        f"{item['model']} on {item['data']}, {item['target']}, without any training; the unpruned network has "
        f"{percent(item['baseline']['reward'])} and {percent(item['baseline']['test'])} (its weights have "
        "seen the held-out images in their own training, so only the test images are new to it). Means and "
        f"ranges over {seeds} seed{'s' * (seeds > 1)}; channels by {item['criterion']}, layers fitted by "
        f"{item['reconstruct']} in the search, and in sequence for the test images."
    )
    heads = ["way", "policies", f"{item['images']:,} held-out images", "test images", "a policy"]
    return f"{markdown(heads, rows)}\n\n{what} {on_machine(record)} {record.get('note', '')}".rstrip()


def finetuned_table() -> str:
    """The best policy beside other ways, all trained alike."""
    record = read("search_finetuned")
    names = {
        "searched": "`search`, the best policy", "uniform": "uniform ratios",
        "l1": "l1 over all layers", "learned": "learned",
    }  # fmt: skip
    rows = [
        [
            names[row["way"]],
            percent(row["accuracy_before"]),
            percent(row["accuracy"]),
            percent(row["params_fraction"]),
            percent(row["flops_fraction"]),
        ]
        for row in record["rows"]
    ]
    heads = ["way", "accuracy at once", "fine-tuned", "parameters left", "FLOPs left"]
    base = percent(record["rows"][0]["baseline_accuracy"])
    what = f"{record['model']}, {record['epochs']} epochs each, from {base}."
    return f"{markdown(heads, rows)}\n\n{what} {on_machine(record)}"


def task_table(name: str) -> str:
    """A network for boxes or masks at half of its FLOPs, and at half of its time."""
    result = read(name)
    metric = tasks.get(name).metric
    head = [
        f"{result['model']}, target", f"{metric.title}, baseline", "pruned", "change", "FLOPs left",
        "p50, baseline", "pruned", "speedup", "epochs, rate",
    ]  # fmt: skip
    machines = list(dict.fromkeys(row["machine"]["cpu"] for row in result["rows"]))
    rows = []
    for row in result["rows"]:
        scores, p50, training, speedup = row[metric.name], row["p50_ms"], row["training"], row["speedup"]
        times = ["not measured"] * 3 if speedup is None else [
            f"{p50['baseline']:.2f} ms", f"{p50['pruned']:.2f} ms",
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f})",
        ]  # fmt: skip
        rows.append([
            "none, trained on" if row["to"] == "control" else f"`{row['to']}=0.5`",
            metric.text(scores["baseline"]), metric.text(scores["pruned"]),
            metric.change(scores["baseline"], scores["pruned"]), percent(row["flops_fraction"]),
            *times,
            f"{training['epochs']}, {training['lr']:g}", *([row["machine"]["cpu"]] if machines[1:] else []),
        ])  # fmt: skip
    if machines[1:]:
        head.append("on")
    machine = result["rows"][0]["machine"]
    threads = f"{result['threads'] or machine['cores']} threads".replace("1 threads", "1 thread")
    words = (
        f"Images of {result['image_size']} pixels, batch 1; the baseline was trained for {result['baseline_epochs']} "
        f"epochs from random weights, and the pruned networks for as many more as the table says (channels by "
        f"{training['method']}, widths multiples of {training['align']}, distilled from the baseline). "
        f"On {' and '.join(machines)}, {threads}, torch {machine['torch']}, onnxruntime "
        f"{machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def yolo_table() -> str:
    """YOLO pruned in Ultralytics' own trainer, and Torch-Pruning's route beside it."""
    result = read("yolo_digits")
    unpruned = next(row for row in result["rows"] if row["network"] == "unpruned")
    head = [
        result["model"], "mAP", "mAP50", "FLOPs left", "Ultralytics' export, p50", "speedup", "edgeprune's, p50",
        "speedup",
    ]  # fmt: skip
    rows = []
    for row in result["rows"]:
        if "reason" in row:
            rows.append([row["network"], row["reason"], *[""] * (len(head) - 2)])
            continue
        speeds = [_file_speed(row["speed"].get(by)) for by in ("ultralytics", "edgeprune")]
        rows.append([
            row["network"], percent(row["map"]), percent(row["map_50"]), percent(row["flops"] / unpruned["flops"]),
            *speeds[0], *speeds[1],
        ])  # fmt: skip
    machine = unpruned["machine"]
    words = (
        f"{result['images']} canvases of {result['image_size']} pixels to train on, {result['test_images']} to test; "
        f"{result['epochs']} epochs from random weights, and as many more for each of the others. One thread on "
        f"{machine['cpu']}, Ultralytics {result['ultralytics']}, Torch-Pruning {result['torch_pruning']}, torch "
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def max_drop_table(name: str) -> str:
    """The networks that a search for the smallest within a drop tried, the fastest last."""
    result = read(f"max_drop_{name}")
    record = MaxDropRecord.from_dict({**result, "points": [_plain(point) for point in result["points"]]})
    metric = metric_of(record)
    head = [
        "pruned to", "change, images that choose", "95 % interval", "change, test images", "FLOPs left", "speedup", "",
    ]  # fmt: skip
    rows = []
    for point, measured in sorted(
        zip(record.points, result["points"], strict=True), key=lambda pair: -pair[0].flops_fraction
    ):
        speedup = measured["speedup"]
        rows.append([
            f"`{point.target}`", metric.change(point.baseline, point.pruned), interval_text(point.drop, metric),
            metric.change(measured["test"], 0.0), percent(point.flops_fraction),
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f})",
            record.verdict(point),
        ])  # fmt: skip
    training, machine = result["training"], result["machine"]
    words = (
        f"{training['model']} on {training['data']}, {training['method']}, {training['epochs']} epochs each; "
        f"{'; '.join(drop_lines(record))}. On {machine['cpu']}, {result['points'][0]['threads']} threads, torch "
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def _plain(point: dict[str, Any]) -> dict[str, Any]:
    """The point as max_drop.json has it."""
    return {
        name: value for name, value in point.items() if name not in ("test", "p50_ms", "speedup", "threads")
    }


def _file_speed(speed: dict[str, Any] | None) -> list[str]:
    """The median of a file and its speedup, with the interval."""
    if speed is None:
        return ["", ""]
    ratio = speed["speedup"]
    return [
        f"{speed['p50_ms']['pruned']:.2f} ms",
        f"{ratio['value']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f})",
    ]


def _of(rewards: list[float], tests: list[float]) -> list[str]:
    """Means, with ranges where there are several."""
    return [
        f"{100 * statistics.mean(values):.2f} %"
        + (f" ({100 * min(values):.2f} to {100 * max(values):.2f})" if len(set(values)) > 1 else "")
        for values in (rewards, tests)
    ]


TABLES: dict[str, Callable[[], str]] = {
    "device-targets": device_target_table,
    "against-round-to": rivals_table,
    "lut": lut_words,
    "never-slower": never_slower_words,
    "uniform": uniform_table,
    "search": search_table,
    "search-finetuned": finetuned_table,
    "demo": lambda: run_table("demo"),
    "demo-latency": lambda: run_table("demo_latency", STARTING),
    "demo-sustained": sustained_table,
    "cifar": cifar_table,
    "cifar-bench": lambda: run_table("resnet56-cifar10-learned"),
    "cost": cost_table,
    "graph-speed": graph_table,
    "honesty": honesty,
    "onnx": lambda: onnx_table("onnx_resnet56", "ResNet-56 on CIFAR-10"),
    "onnx mobilenet": lambda: onnx_table("onnx_mobilenet", "MobileNetV2, 0.35 wide, on CIFAR-10"),
    "onnx files": onnx_files_table,
    "onnx speed": onnx_speed_table,
    "onnx peers": onnx_peers_table,
    "joint": joint_table,
    "runtimes": runtimes_table,
    "alignment": alignment_table,
    "recipes": lambda: recipes_table("recipes"),
    "recipes-resnet56": lambda: recipes_table("recipes_resnet56"),
    "peers": lambda: peers_table("against_peers"),
    "peers-latency": lambda: peers_table("against_peers_latency"),
    "layer kinds": layer_kinds_table,
    "loader": loader_table,
    "detect": lambda: task_table("detect"),
    "segment": lambda: task_table("segment"),
    "yolo-digits": yolo_table,
    "max-drop-digits": lambda: max_drop_table("digits"),
    "compare": lambda: compare_table("compare_digits"),
    "compare-cifar": lambda: compare_table("compare_cifar10"),
}


def filled(text: str) -> str:
    """A page with every table that is marked in it written anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if pattern.search(text):
            table = make()
            text = pattern.sub(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
    return text


def main() -> int:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    old = {page: page.read_text() for page in pages}
    new = {page: filled(text) for page, text in old.items()}
    if "--check" in sys.argv:
        return int(old != new)
    for page, text in new.items():
        if text != old[page]:
            page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
