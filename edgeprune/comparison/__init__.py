"""Methods side by side: the same baseline, budget, data order and training for all of them.

options.py   what is asked for, checked before anything is written
source.py    a run folder or a model's name -> the training options that all rows share
rows.py      the plan of work: one row for each method, moment and seed
folder.py    the folder of a comparison: the only place that knows its file names
baseline.py  the one baseline that all rows start from
attempts.py  when a row began, how long it took, how it ended
running.py   the order of it all, resumable row by row
latency.py   a finished row, measured beside the baseline
result.py    finished rows -> the JSON that people, the table and the plot read
spread.py    mean and spread of repeated measurements
table.py     the result as rows of text
plot.py      accuracy over FLOPs as a PNG
"""

from edgeprune.comparison.folder import latest_comparison
from edgeprune.comparison.options import CompareOptions, asked, check_effect_of
from edgeprune.comparison.running import check_same_options, compare
from edgeprune.comparison.table import remarks, table

__all__ = [
    "CompareOptions", "asked", "check_effect_of", "check_same_options", "compare", "latest_comparison",
    "remarks", "table",
]  # fmt: skip
