"""The docs' tables of what is deployed: runtimes, and precisions."""

from table_parts import markdown, read

from edgeprune.reporting.rows import percent


def joint_table() -> str:
    """Widths and precisions in one choice, beside one after the other."""
    result = read("joint")
    rows = [
        [
            row["order"], percent(row["flops_fraction"]), percent(row["int8_accuracy"]),
            f"{row['baseline_ms']:.2f} ms", f"{row['ms']:.2f} ms",
            "{:.2f}x ({:.2f} to {:.2f})".format(*row["speedup_undisturbed"]),
        ]
        for row in result["rows"]
    ]  # fmt: skip
    head = [
        "ResNet-20, int8 file", "FLOPs left", "test images", "p50, float32 original", "p50", "speedup, 10th percentiles"
    ]  # fmt: skip
    machine = result["rows"][0]["machine"]
    words = (
        f"latency={result['target']}, {result['epochs']} epochs each, one seed, threads: {result['threads']}, beside "
        f"other work, which the 10th percentiles feel least. On {machine['cpu']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{markdown(head, rows)}\n\n{words}"


def runtimes_table() -> str:
    """Networks that were pruned for half of the time on each runtime, in float32 and in int8."""
    result = read("runtimes")
    head = [
        "network, runtime", "precision", "accuracy", "pruned", "size", "pruned", "p50", "pruned", "speedup",
        "int8 over fp32, pruned",
    ]  # fmt: skip
    rows, missing, busy = [], [], False
    for row in result["rows"]:
        loaded = any(
            "machine_loaded" in row.get(precision, {}).get("warnings", ()) for precision in ("fp32", "int8")
        )
        name = f"{row['network']}, {row['runtime']}" + (r"\*" if loaded else "")
        busy |= loaded
        missing += [
            f"{row['network']}, {row['runtime']} in {precision}: {why}"
            for precision, why in row["missing"].items()
        ]
        for precision in ("fp32", "int8"):
            if precision not in row:
                continue
            pair = [row[precision][model] for model in ("baseline", "pruned")]
            gained = row.get("int8_over_fp32") if precision == "int8" else None
            rows.append([
                name if precision == "fp32" else "", precision,
                *(percent(model["accuracy"]) for model in pair),
                *(f"{model['bytes'] / 1e3:.0f} kB" for model in pair),
                *(f"{model['ms']:.3f} ms" for model in pair),
                _range(row[precision]["speedup"]), "" if gained is None else _range(gained),
            ])  # fmt: skip
    machine = result["rows"][0]["machine"]
    words = f"One thread, batch 1, on {machine['cpu']}, torch {machine['torch']}, onnxruntime {machine['onnxruntime']}."
    if busy:
        words += r" Rows with a \* were measured while another program kept the other core busy."
    skipped = "".join(f" Not measured: {line}." for line in missing)
    return f"{markdown(head, rows)}\n\n{words}{skipped}"


def layer_kinds_table() -> str:
    """Tabulate what the layers of the pruned files take, in float32 and in int8."""
    head = ["network, runtime", "precision", "convolutions", "all other layers", "of them the slowest"]
    rows = []
    for row in read("runtimes")["rows"]:
        for precision, kinds in row.get("kinds", {}).items():
            others = {kind: entry for kind, entry in kinds.items() if "Conv" not in kind}
            convolutions = [entry for kind, entry in kinds.items() if "Conv" in kind]
            slowest = sorted(others.items(), key=lambda item: -item[1][1])[:2]
            rows.append([
                f"{row['network']}, {row['runtime']}" if precision == "fp32" else "", precision,
                _together(convolutions), _together(list(others.values())),
                ", ".join(f"{count} {kind} {ms:.3f} ms" for kind, (count, ms) in slowest),
            ])  # fmt: skip
    return markdown(head, rows)


def _together(entries: list[list[float]]) -> str:
    """The number of layers and their times together."""
    return f"{sum(count for count, _ in entries)}: {sum(ms for _, ms in entries):.3f} ms"


def _range(speedup: list[float]) -> str:
    return "{:.2f}x ({:.2f} to {:.2f})".format(*speedup)
