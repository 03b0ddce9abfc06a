"""Time as a budget: a table of layers' times on a device, what a plan will take by it, and plans that fit.

shapes.py    a layer but for its channels; the layers of an ONNX file
samples.py   an ONNX file of one layer at many widths
sampling.py  their times, through the target-side runner
grid.py      which widths to time
table.py     times on one device, under one set of conditions
site.py      the device that was reached, and those conditions
build.py     a model's table, added to what is known
predict.py   what any keep-set takes by it
blocks.py    which blocks may go whole
choose.py    the most important channels within the goals
whole.py     a plan exported and measured beside the baseline
meet.py      choosing and measuring until the time is met
device.py    all of it as a budget's resource and solver
budget.py    such a budget from a model and a device's name
standing.py  where layers stand on the device's steps, for people
"""

from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.budget import device_budget
from edgeprune.latency.build import build_table
from edgeprune.latency.table import Table

__all__ = ["BenchTarget", "Table", "build_table", "device_budget"]
