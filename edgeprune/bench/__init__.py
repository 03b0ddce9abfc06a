"""Host side of a measurement: baseline and pruned on one device, in turn, paired.

options.py   what is asked for, checked before anything is measured
process.py   one child process that answers in JSON lines
local.py     transports: how the runner is reached (this machine)
remote.py    what ssh and adb share: files by content, the runner started over there
ssh.py       a board over the system's ssh and scp
adb.py       an Android phone
perf_test.py onnxruntime_perf_test in the runner's place, on a phone without a Python
phone.py     what such a phone says of itself
hosts.py     from --host to one of them
pyz.py       the runner as one file
journal.py   rounds kept in a file, to go on with after a cut
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
from edgeprune.bench.hosts import Host
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.run import bench_models, bench_run

__all__ = [
    "BenchOptions",
    "Host",
    "bench_models",
    "bench_run",
    "detect_report",
    "energy_ratio",
    "find_device",
]
