"""Compare methods with the same baseline, budget, data order and training.

options.py   the options, checked before anything is written
checking.py  what makes no sense, found before torch is imported
source.py    a run folder or a model's name -> the training options that all rows share
rows.py      the plan of work: one row for each method, moment and seed
folder.py    the folder of a comparison: the only module that knows its file names
baseline.py  the common baseline of all rows
attempts.py  the log of a row: its beginning, duration and outcome
running.py   the steps of a comparison, resumable row by row
sharing.py   rows that workers on several machines share
latency.py   the measurement of a finished row beside the baseline
result.py    finished rows -> the JSON for people, the table and the plot
spread.py    mean and spread of repeated measurements
table.py     the result as rows of text
plot.py      accuracy over FLOPs as a PNG
"""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.comparison.checking import check_before_torch, check_same_comparison, planning_note
    from edgeprune.comparison.folder import OPTIONS_FILE, latest_comparison
    from edgeprune.comparison.options import CompareOptions, check_effect_of, split_lists
    from edgeprune.comparison.running import compare
    from edgeprune.comparison.table import comparison_remarks, comparison_table

__all__ = [
    "OPTIONS_FILE", "CompareOptions", "split_lists", "check_before_torch", "check_effect_of", "check_same_comparison",
    "compare", "comparison_remarks", "comparison_table", "latest_comparison", "planning_note",
]  # fmt: skip

__getattr__ = import_on_first_use(
    __name__,
    {
        "checking": ("check_before_torch", "check_same_comparison", "planning_note"),
        "folder": ("OPTIONS_FILE", "latest_comparison"),
        "options": ("CompareOptions", "split_lists", "check_effect_of"),
        "running": ("compare",),
        "table": ("comparison_remarks", "comparison_table"),
    },
)
