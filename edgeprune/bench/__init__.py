"""Host side of a measurement: baseline and pruned on one device, in turn, paired.

options.py   what is asked for, checked before anything is measured
process.py   one child process that answers in JSON lines
local.py     transports: how the runner is reached (this machine)
detect.py    what a machine is, and which of its sensors answer
compare.py   whether two energies may be set side by side
stats.py     pure statistics: quantiles, paired speedup with its interval
result.py    rounds -> the JSON that people and the report read
advice.py    warnings, as values
accuracy.py  top-1 of the exported files on the test images
run.py       the order of it all
"""

from edgeprune.bench.compare import energy_ratio
from edgeprune.bench.detect import detect_report, find_device
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.run import bench_models, bench_run

__all__ = ["BenchOptions", "bench_models", "bench_run", "detect_report", "energy_ratio", "find_device"]
