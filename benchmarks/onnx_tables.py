"""The docs' tables of ONNX files that are pruned without training."""

from typing import Any

from table_parts import markdown, read

from edgeprune.reporting.rows import percent


def onnx_table(name: str, network: str) -> str:
    """Tabulate a network that is pruned from its ONNX file alone, and then learns from the original.

    Args:
        name: of the result.
        network: for people.
    """
    result = read(name)
    learned = result["distilled"]
    steps = {step["step"]: step for step in result["held_out"]}
    before, after = (result["models"][model] for model in ("baseline", "pruned"))
    accuracy = result["test_accuracy"]
    end = f"learned, {learned['epochs']} epochs"
    scores = percent(accuracy["original"]), "", percent(accuracy["fitted"]), percent(accuracy["pruned"])
    agreed = (
        steps[step]
        for step in ("cut", f"fitted ({result['fit']})", f"distilled ({learned['epochs']} epochs)")
    )
    rows = [
        ["test images", *scores],
        ["agreement, held-out images", "", *(percent(step["top1"]) for step in agreed)],
        ["FLOPs", f"{before['flops'] / 1e6:.2f} M", *[f"{after['flops'] / 1e6:.2f} M"] * 3],
        ["parameters", f"{before['params']:,}", *[f"{after['params']:,}"] * 3],
    ]
    head = [network, "original", "cut", "cut and fitted", end]
    machine = result["machine"]
    words = (
        f"Cut and fitted on {result['inputs']}, {result['cut_seconds'] / 60:.1f} minutes; learned from "
        f"{learned['inputs']:,} of them without labels, in {learned['precision']}. On {machine['cpu']}, threads: "
        f"{result['threads']}, beside other work, torch {machine['torch']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def onnx_peers_table() -> str:
    """Tabulate what other tools leave of the network without training: the best of each criterion, the best first."""
    result = read("onnx_peers")
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(result["rows"], key=lambda row: -row["test_accuracy"]):
        best.setdefault((row["tool"], row["criterion"]), row)
    rows = list(best.values())
    table = markdown(
        ["tool", "channels by", "compared over", "then", "test images", "FLOPs left"],
        [
            [
                row["tool"], row["criterion"], row["over"], row["then"], percent(row["test_accuracy"]),
                percent(row["flops_fraction"]),
            ]
            for row in rows
        ],
    )  # fmt: skip
    machine = rows[0]["machine"]
    return (
        f"{table}\n\n{result['images']:,} training images, where a tool takes any. On {machine['cpu']}, torch "
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}."
    )


def onnx_files_table() -> str:
    """Tabulate trained files that others made, pruned by generated inputs."""
    result = read("onnx_files")
    rows = []
    for row in result["files"]:
        step = (row["held_out"] or [None])[-1]
        agreed = ["not compared"] * 2 if step is None else [
            "" if step["top1"] is None else percent(step["top1"]), f"{step['relative_error']:.4f}",
        ]  # fmt: skip
        speed = row.get("speed")
        faster, flushed = (
            "" if gained is None else "{value:.2f}x ({low:.2f} to {high:.2f})".format(**gained)
            for gained in ((speed or {}).get("speedup"), row.get("flushed_speedup"))
        )
        same = "yes" if row["keep_all_same_bytes"] else "no"
        left = [percent(row[f"{kind}_fraction"]) for kind in ("flops", "params")]
        cells = [row["name"], same, *left, *agreed, faster or "not measured", f"{row['cpu_seconds']:.0f} s"]
        rows.append([*cells, flushed])
    head = [
        "file", "keeping all: same bytes", "FLOPs left", "parameters left", "agreement", "relative error", "speedup",
        "CPU time", "original without denormals",
    ]  # fmt: skip
    machine = result["machine"]
    words = (
        f"{result['target']} by {result['inputs']} inputs; compared on a fifth of them. On {machine['cpu']}, torch "
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def onnx_speed_table() -> str:
    """Compare the time of pruning an ONNX file with what onnxsim does with it."""
    result = read("onnx_speed")
    median = result["median"]
    ways = [
        ("edgeprune: read, trace, plan, cut, compare, write", "ours", ""),
        ("onnxsim: simplify", "onnxsim_simplify", "ratio_to_simplify"),
        ("onnxsim: prune, in Python", "onnxsim", "ratio"),
        ("edgeprune, a whole process", "our_process", ""),
        ("`onnxsim net.onnx out.onnx`", "onnxsim_command", "ratio_of_processes"),
    ]
    rows = [
        [words, f"{median[name]['total_s']:.2f} s", f"{result[ratio]:.2f}" if ratio else ""]
        for words, name, ratio in ways
    ]
    machine, versions = result["machine"], result["versions"]
    words = (
        f"A {result['model']} with 224 pixels; medians of {len(result['samples']['ours'])} rounds in turn, threads: "
        f"{result['threads']}. On {machine['cpu']}, torch {versions['torch']}, onnx {versions['onnx']}, onnxsim "
        f"{versions['onnxsim']}."
    )
    return f"{markdown(['', 'time', 'edgeprune over onnxsim'], rows)}\n\n{words}"
