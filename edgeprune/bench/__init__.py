"""Host side of a measurement: baseline and pruned on one device, in turn, paired.

options.py   options, validated before anything is measured
process.py   run a child process that answers in JSON lines
local.py     transports to the runner; the one on this machine
remote.py    what ssh and adb share: files by content, the runner started on the device
ssh.py       a board over the system's ssh and scp
login.py     one login for all of its calls
adb.py       an Android phone
program.py   what a runtime's own program is asked and gives, on a phone without a Python
perf_test.py, litert_program.py, executorch_program.py, ncnn_program.py    one program each
program_transport.py   such programs instead of the runner
phone.py     fingerprint of such a phone
browser.py   a browser as the place: how its page is served, and to whom
browser_transport.py    the runner's verbs, answered by a browser
browser_model.py        a model file as a browser gets it, and its outputs there
browser_words.py        what a browser says, in the runner's form
reference.py the same file by ONNX Runtime here, to compare with
hosts.py     from --host to a transport
pyz.py       the runner as one file
words.py     the runner's arguments
replies.py   the runner's answers, validated
files.py     the files to measure
copies.py    private copies of them
session.py   a measurement in progress
journal.py   rounds kept in a file, to continue an interrupted measurement
detect.py    what a machine is, and which of its sensors answer
compare.py   whether two energies may be compared
stats.py     pure statistics: quantiles, paired speedup with its interval
sustained.py the course of a measurement under lasting load
result.py    from rounds to the JSON that people and the report read
warnings.py  warnings, as values
accuracy.py  top-1 of the exported files on the test images
graph.py     labels of ONNX nodes that two files share
denormals.py weights that processors multiply slowly
layers.py    both models layer by layer
measuring.py one file, or two against each other
run.py       a run, or other subjects, and where the result is kept
every.py     a run with every runtime, in one table
fleet.py     several boards at once, in one table
"""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.bench.browser import Browser
    from edgeprune.bench.compare import energy_ratio
    from edgeprune.bench.detect import detect_report, find_device
    from edgeprune.bench.every import bench_every
    from edgeprune.bench.fleet import bench_fleet
    from edgeprune.bench.hosts import Host
    from edgeprune.bench.measuring import bench_models
    from edgeprune.bench.options import BenchOptions
    from edgeprune.bench.run import bench_run

__all__ = [
    "BenchOptions",
    "Browser",
    "Host",
    "bench_every",
    "bench_fleet",
    "bench_models",
    "bench_run",
    "detect_report",
    "energy_ratio",
    "find_device",
]

__getattr__ = import_on_first_use(
    __name__,
    {
        "browser": ("Browser",),
        "compare": ("energy_ratio",),
        "detect": ("detect_report", "find_device"),
        "every": ("bench_every",),
        "fleet": ("bench_fleet",),
        "hosts": ("Host",),
        "measuring": ("bench_models",),
        "options": ("BenchOptions",),
        "run": ("bench_run",),
    },
)
