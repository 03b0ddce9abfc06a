"""The docs' tables of methods: side by side, as recipes, and beside Torch-Pruning's."""

from typing import Any

from table_parts import markdown, read

from edgeprune.comparison import comparison_remarks, comparison_table
from edgeprune.records.comparison import ComparisonResult
from edgeprune.reporting.rows import percent

Row = dict[str, Any]


def compare_table(name: str) -> str:
    """Methods side by side, the most accurate first."""
    result = ComparisonResult.from_dict(read(name))
    heads, rows = comparison_table(result)
    body = markdown([heading for heading, _ in heads], rows)
    settings, machine_ = result.settings, result.machine
    what = (
        f"{settings['model']} on {settings['data']}, {result.target}, {settings['epochs']} epochs from one "
        f"baseline ({result.baseline.test_images:,} test images); {'; '.join(comparison_remarks(result))}"
    )
    where = f"{machine_['cpu']}, {machine_['threads']} threads, torch {result.versions['torch']}"
    return f"{body}\n\n{what}. On {where}."


def recipes_table(name: str) -> str:
    """Recipes at equal epochs, by which `--method auto` chooses.

    Args:
        name: of the results' file.
    """
    result = read(name)
    rows = result["rows"]
    epochs = sorted({row["epochs"] for row in rows})
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    of_key = {(row["recipe"], row["epochs"]): percent(row["accuracy"]) for row in rows if row["seed"] == 0}
    at_once = {row["recipe"]: percent(row["accuracy_before"]) for row in reversed(rows)}
    table = markdown(
        ["recipe", "once pruned", *(f"after {count} epochs" for count in epochs)],
        [
            [recipe, at_once[recipe], *(of_key.get((recipe, count), "") for count in epochs)]
            for recipe in recipes
        ],
    )
    first, machine = rows[0], rows[0]["machine"]
    words = (
        f"{first['model']} on CIFAR-10, {result['target']}, from {percent(first['baseline_accuracy'])}; the last epoch "
        f"on the test images, one seed, {result['precision']}. On {machine['cpu']}, torch {machine['torch']}."
    )
    return f"{table}\n\n{words}"


def _accuracy(seeds: list[Row]) -> float:
    return sum(row["accuracy"] for row in seeds) / len(seeds)


def peers_table(name: str) -> str:
    """Networks that others pruned, trained as ours.

    Args:
        name: of the results' file.
    """
    result = read(name)
    seeds: dict[tuple[str, int, str], list[Row]] = {}
    for row in sorted(result["rows"], key=lambda row: row["seed"]):
        seeds.setdefault((row["model"], row["epochs"], row["row"]), []).append(row)
    ordered = sorted(seeds.values(), key=lambda own: (own[0]["model"], own[0]["epochs"], -_accuracy(own)))
    rows = [
        [
            first["model"],
            first["row"],
            str(first["epochs"]),
            ", ".join(percent(row["accuracy"]) for row in (first, *others)),
            percent(first["flops_fraction"]),
            speedup_of(first),
        ]
        for first, *others in ordered
    ]
    machine = ordered[0][0]["machine"]
    baselines = {
        "resnet20": read("recipes")["rows"][0]["baseline_accuracy"],
        "resnet56": read("onnx_resnet56")["test_accuracy"]["original"],
    }
    unpruned = ", ".join(f"{model} from {percent(accuracy)}" for model, accuracy in baselines.items())
    words = (
        f"CIFAR-10, {result['target']}: {unpruned}; the last epoch on the test images, of seed 0, and of seed 1 "
        f"behind a comma; {result['precision']}. On {machine['cpu']}, torch {machine['torch']}."
    )
    return f"{markdown(['network', 'pruned by', 'epochs', 'accuracy', 'FLOPs left', 'speedup'], rows)}\n\n{words}"


def alignment_table() -> str:
    """Networks at half of their FLOPs, by what their widths are multiples of."""
    result = read("alignment")
    rows = result["rows"]
    models, alignments = (list(dict.fromkeys(row[name] for row in rows)) for name in ("model", "align"))
    of_key = {(row["model"], row["align"]): speedup_of(row) for row in rows}
    table = markdown(
        ["network", *("default" if align == "default" else f"`--align {align}`" for align in alignments)],
        [[model, *(of_key.get((model, align), "") for align in alignments)] for model in models],
    )
    machine = rows[0]["machine"]
    words = (
        f"Speedups at {result['target']} over the unpruned network, random weights, {result['threads']} thread. "
        f"On {machine['cpu']}, onnxruntime {machine['onnxruntime']}."
    )
    return f"{table}\n\n{words}"


def speedup_of(row: dict[str, Any]) -> str:
    """A row's measured speedup with its interval."""
    times = row.get("speedup")
    return f"{times['value']:.2f}x ({times['low']:.2f} to {times['high']:.2f})" if times else ""
