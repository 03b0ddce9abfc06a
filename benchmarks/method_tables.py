"""The docs' tables of methods: side by side, and as recipes."""

from table_parts import markdown, read

from edgeprune.comparison import comparison_remarks, comparison_table
from edgeprune.records.comparison import ComparisonResult
from edgeprune.reporting.rows import percent


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


def recipes_table() -> str:
    """Recipes at equal epochs, by which `--method auto` chooses."""
    result = read("recipes")
    epochs = sorted({row["epochs"] for row in result["rows"]})
    names = list(dict.fromkeys(row["recipe"] for row in result["rows"]))
    by_key = {(row["recipe"], row["epochs"]): row for row in result["rows"] if row["seed"] == 0}
    rows = [
        [
            name,
            *(
                percent(by_key[name, count]["accuracy"]) if (name, count) in by_key else ""
                for count in epochs
            ),
        ]
        for name in names
    ]
    first = result["rows"][0]
    machine = first["machine"]
    words = (
        f"{first['model']} on CIFAR-10, {result['target']}, from {percent(first['baseline_accuracy'])}; the last epoch "
        f"on the test images, one seed, {result['precision']}. On {machine['cpu']}, torch {machine['torch']}."
    )
    return f"{markdown(['recipe', *(f'{count} epochs' for count in epochs)], rows)}\n\n{words}"
