"""A stand-in Android phone: an ``adb`` that runs what it is asked in a folder of this machine.

``build(folder)`` makes the phone and the program; put ``folder/bin`` first on PATH. Of the phone's own paths
(/data, /proc, /sys) each becomes one below ``folder/phone``, and back again in what it prints. Its PATH has
the programs that Android has, and a Python only if it is given one.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from boards.stand_in import cpus, program, write, zones

TOOLS = (
    "sh",
    "cat",
    "chmod",
    "df",
    "grep",
    "head",
    "mkdir",
    "mv",
    "nproc",
    "rm",
    "sha256sum",
    "sleep",
    "tail",
    "uname",
    "wc",
)
QUICK_PYTHON = f"#!{sys.executable} -IS\n"  # without packages it starts in a third of the time
SERIAL = "R5CT10ABC"
HOME = "data/local/tmp/edgeprune"


@dataclass(frozen=True)
class Phone:
    """The folder of one."""

    folder: Path

    @property
    def root(self) -> Path:
        """What it calls /."""
        return self.folder / "phone"

    @property
    def home(self) -> Path:
        """Where files go."""
        return self.root / HOME

    def is_(self, state: str) -> None:
        """One of: device, unauthorized, offline, absent."""
        write(self.folder, "state", state)

    def old_adb(self) -> None:
        """Line ends of two signs, and no exit codes."""
        write(self.folder, "old", "")

    def calls(self) -> list[list[str]]:
        """The words of every call of adb."""
        path = self.folder / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def give_python(self, place: str = "system/bin/python3") -> None:
        """This machine's, as the phone's."""
        program(self.root, place, f'#!/bin/sh\nexec {sys.executable} "$@"\n')

    def give_program(self, name: str, latency_ms: dict[str, float], *, version: str = "new") -> None:
        """A runtime's own program; ``latency_ms`` by the model's name, ``version`` one that `PROGRAMS` knows."""
        write(self.root, f"{HOME}/latency_ms.json", json.dumps(latency_ms))
        program(self.root, f"{HOME}/{name}", f"{QUICK_PYTHON}VERSION = {version!r}\n{PROGRAMS[name]}")

    def give_perf_test(self, latency_s: dict[str, float], library: bool = True) -> None:
        """ONNX Runtime's program; ``latency_s`` by the model's name."""
        write(self.root, f"{HOME}/latency.json", json.dumps(latency_s))
        program(self.root, f"{HOME}/onnxruntime_perf_test", f"{QUICK_PYTHON}{PERF_TEST}")
        if library:
            write(self.root, f"{HOME}/libonnxruntime.so", "\x7fELF\0VERS_1.23.2\0OrtGetApiBase\0")


def build(folder: Path) -> Phone:
    """A phone of eight cores with nothing pushed to it."""
    phone = Phone(folder)
    root = phone.root
    write(root, "proc/meminfo", "MemTotal: 7600000 kB\nSwapTotal: 1000 kB\nSwapFree: 1000 kB\n")
    write(root, "proc/loadavg", "11.50 11.20 11.00 2/4000 1234\n")
    write(root, "proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\n")
    cpus(root, low=300_000, high=2_800_000)
    zones(root, {"cpu-0-0": 41_000, "battery": 30_000})
    for tool in TOOLS:
        result = shutil.which(tool)
        assert result, f"this machine has no {tool}"
        (root / "system/bin").mkdir(parents=True, exist_ok=True)
        (root / "system/bin" / tool).symlink_to(result)
    program(root, "system/bin/getprop", GETPROP)
    (root / "data/local/tmp").mkdir(parents=True)
    settings = f"{QUICK_PYTHON}FOLDER, SERIAL = {str(folder)!r}, {SERIAL!r}\n"
    program(folder, "bin/adb", settings + ADB)
    phone.is_("device")
    return phone


GETPROP = """\
#!/bin/sh
case "$1" in
  ro.product.model) echo "SM-S911B" ;;
  ro.soc.model) echo "SM8550" ;;
  ro.build.version.release) echo 14 ;;
  ro.product.cpu.abi) echo arm64-v8a ;;
esac
"""

ADB = r"""
import json, os, re, shutil, subprocess, sys
from pathlib import Path

folder = Path(FOLDER)
root = folder / "phone"
words = sys.argv[1:]
with (folder / "asked").open("a") as handle:
    handle.write(json.dumps(words) + "\n")


def stop(line):
    print(line, file=sys.stderr)
    sys.exit(1)


serial = ""
if words[0] == "-s":
    serial, words = words[1], words[2:]
state = (folder / "state").read_text().strip()
if serial and serial != SERIAL:
    stop("error: device '%s' not found" % serial)
if state == "absent":
    stop("error: device '%s' not found" % serial if serial else "adb: no devices/emulators found")
if state == "unauthorized":
    stop("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set")
if state == "offline":
    stop("error: device offline")


def there(text):
    return re.sub(r"(?<![\w/])/(data|proc|sys)/", lambda found: "%s/%s/" % (root, found.group(1)), text)


if words[0] == "push":
    target = there(words[2])
    if not Path(target).parent.is_dir():
        stop("adb: error: failed to copy: remote couldn't create file: No such file or directory")
    shutil.copyfile(words[1], target)
    print("%s: 1 file pushed" % words[1])
    sys.exit(0)
assert words[0] == "shell" and len(words) == 2, words
end = "\r\n" if (folder / "old").exists() else "\n"
environment = {"PATH": str(root / "system/bin"), "HOME": str(root), "OMP_NUM_THREADS": "1"}
child = subprocess.Popen(
    [str(root / "system/bin/sh"), "-c", there(words[1])],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT if end == "\r\n" else None,
    env=environment,
    text=True,
)
for line in child.stdout:
    sys.stdout.write(line.rstrip("\n").replace(str(root), "") + end)
    sys.stdout.flush()
code = child.wait()
sys.exit(0 if end == "\r\n" else code)
"""

# Takes the options that the real one documents, and no others; prints what it prints.
PERF_TEST = r"""
import getopt, json, os, sys
from pathlib import Path

flags, rest = getopt.getopt(sys.argv[1:], "e:m:t:x:y:c:o:S:If:")
given = dict(flags)
home = Path(__file__).parent
if os.environ.get("LD_LIBRARY_PATH") != ".":
    sys.exit('CANNOT LINK EXECUTABLE: library "libonnxruntime.so" not found')
if len(rest) != 2 or "-I" not in given or given["-m"] != "duration" or given["-e"] != "cpu":
    sys.exit("usage: perf_test [options...] model_path [result_file]")
model, table = Path(rest[0]), Path(rest[1])
if not model.is_file():
    sys.exit("Load model from %s failed: File doesn't exist" % model)
(home / "flags.json").write_text(json.dumps(given))
name = model.stem.split("-", 1)[1]
seconds = json.loads((home / "latency.json").read_text())[name]
times = [10 * seconds] + [seconds] * max(1, int(int(given["-t"]) / seconds))
print("Setting intra_op_num_threads to %s" % given["-x"])
print("Session creation time cost: 0.0508382 s")
print("First inference time cost: 2 ms")
print("Total inference requests: %d" % len(times))
print("Peak working set size: 109531136 bytes")
with table.open("a") as handle:
    for run, time in enumerate(times):
        handle.write("%s,%g,109531136,12,%d\n" % (model.name, time, run))
"""

# What follows takes the options that the real programs document and prints what they print, as their sources have it
# (benchmark_model: benchmark_model.cc of tensorflow/lite/tools/benchmark, and the lines that TI's
# manual of the Processor SDK shows of an AM62; executor_runner: executor_runner.cpp of examples/portable, and
# ExecuTorch's log format; benchncnn: benchmark/benchncnn.cpp).
LATENCY = r"""
import json, os, re, sys, time
from pathlib import Path

home = Path(__file__).parent


def latency_ms(model):
    if not Path(model).is_file():
        sys.exit("%s: no such file" % model)
    (home / "words.json").write_text(json.dumps(sys.argv[1:]))
    name = Path(model).name.split("-", 1)[1].split(".")[0]
    return json.loads((home / "latency_ms.json").read_text())[name]
"""

BENCHMARK_MODEL = (
    LATENCY
    + r"""
known = {"graph", "num_threads", "use_xnnpack", "num_runs", "min_secs", "warmup_runs", "warmup_min_secs"}
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
if not set(given) <= known:
    sys.exit("ERROR: Unconsumed cmdline flags: %s" % " ".join(set(given) - known))
us = 1000 * latency_ms(given["graph"])
runs = max(int(given["num_runs"]), int(float(given["min_secs"]) * 1e6 / us))


def say(line):
    print("INFO: " + line, file=sys.stderr)


say("STARTING!")
say("Graph: [%s]" % given["graph"])
say("Use xnnpack: [1]")
say("Loaded model %s" % given["graph"])
say("Created TensorFlow Lite XNNPACK delegate for CPU.")
say("Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 1 "
    "delegate kernels.")
say("The input model file size (MB): 67.3128")
say("Initialized session in 5.579ms.")
say("Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.")
percentiles = " p5=%d median=%d p95=%d" % (us, us, us)
say("count=1 curr=%d%s\n" % (us, percentiles))
say("Running benchmark for at least %d iterations and at least %s seconds but terminate if exceeding 150 seconds."
    % (int(given["num_runs"]), given["min_secs"]))
say("count=%d first=%d curr=%d min=%d max=%d avg=%.6g std=2565%s\n"
    % (runs, us, us, 0.9 * us, 3 * us, 1.1 * us, percentiles))
say("Inference timings in us: Init: 5579, First inference: %d, Warmup (avg): %.6g, Inference (avg): %.6g"
    % (us, us, 1.1 * us))
say("Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832")
"""
)

EXECUTOR_RUNNER = (
    LATENCY
    + r"""
given = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
if not set(given) <= {"model_path", "num_executions", "cpu_threads"}:
    sys.exit("ERROR: unknown command line flag")
ms, runs = latency_ms(given["model_path"]), int(given["num_executions"])


def log(line, number=779):
    print("I 00:00:00.001234 executorch:executor_runner.cpp:%d] %s" % (number, line), file=sys.stderr)


log("Model file %s is loaded." % given["model_path"])
log("Using method forward")
log("Setting up planned buffer 0, size 13312.")
log("Model loaded in %f ms." % 4.25)
for run in range(runs):
    log("Iteration %d of %d: %f ms" % (run + 1, runs, ms * (5 if run < 2 else 1)))
log("Model executed successfully %d time(s) in %f ms." % (runs, ms * runs))
log("1 outputs: ")
print("Output 0: tensor(sizes=[1, 10], [0.1, 0.2])")
"""
)

BENCHNCNN = (
    LATENCY
    + r"""
loop, threads, powersave, gpu, cooling, *pairs = sys.argv[1:]
given = dict(pair.split("=", 1) for pair in pairs)
model = given["param"]
ms = latency_ms(model)
assert re.fullmatch(r"\[\d+,\d+,\d+\]", given["shape"]), given


def say(line):
    print(line, file=sys.stderr)


say("loop_count = %s" % loop)
say("num_threads = %s" % threads)
say("powersave = %s" % powersave)
say("gpu_device = %s" % gpu)
say("cooling_down = %s" % cooling)
for name in ["squeezenet", "mobilenet"] if VERSION == "old" else [model]:
    say("%20s  min = %7.2f  max = %7.2f  avg = %7.2f" % (name, 0.9 * ms, 3 * ms, ms))
"""
)

PROGRAMS = {"benchmark_model": BENCHMARK_MODEL, "executor_runner": EXECUTOR_RUNNER, "benchncnn": BENCHNCNN}
