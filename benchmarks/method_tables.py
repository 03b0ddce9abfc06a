"""The docs' tables of methods, side by side."""

from table_parts import markdown, read

from edgeprune.comparison import comparison_remarks, comparison_table
from edgeprune.records.comparison import ComparisonResult


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
