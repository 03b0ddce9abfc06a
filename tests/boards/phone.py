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
