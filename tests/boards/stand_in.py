"""Stand-in boards: a tree that has what sysfs, /proc and the programs of a board have, where it matters here.

``build(name, folder)`` makes the board of a profile below ``folder``, which is then the ``root`` of whatever
reads a machine. The layouts are those that were seen (facts: kernel documentation, recorded output); each
board draws 5 W in total, so that 10 s of it are 50 J. ``nvpmodel`` and ``jetson_clocks`` leave a file CHANGED
behind when they are asked to change something: nothing here ever may.
"""

import json
from dataclasses import dataclass
from pathlib import Path

LINES: dict[str, str] = json.loads((Path(__file__).parent / "tegrastats_lines.json").read_text())

Channel = tuple[str, int, int]  # label, millivolts, milliamperes


@dataclass(frozen=True)
class Board:
    """What one board says of itself.

    Attributes:
        model: of the device tree.
        compatible: of the device tree.
        release: the first line of /etc/nv_tegra_release, or "".
        l4t: what that is.
        jetpack: and the JetPack it belongs to.
        driver: of its INA3221: "ina3221" or "ina3221x", or "".
        chips: (address, channels) of them; a channel without a label is not connected.
        input_mw: of the INA238, or 0 for none.
        line: a line that tegrastats printed on such a board, with its rails replaced by ours.
        gpu: the name of its devfreq folder.
        mode: what nvpmodel -q prints.
    """

    model: str
    compatible: tuple[str, ...]
    release: str = ""
    l4t: str | None = None
    jetpack: str | None = None
    driver: str = ""
    chips: tuple[tuple[str, tuple[Channel, ...]], ...] = ()
    input_mw: int = 0
    line: str = ""
    gpu: str = ""
    mode: str = "NV Power Mode: MAXN\n0\n"


JP4 = ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: x", "32.7.1")
JP5 = ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: x", "35.4.1")
JP6 = ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x", "36.4.3")
JP7 = ("# R38 (release), REVISION: 4.0, GCID: 1, BOARD: generic, EABI: aarch64, DATE: x", "38.4.0")

BOARDS = {
    "jetson-nano": Board(
        "NVIDIA Jetson Nano Developer Kit",
        ("nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"),
        *JP4,
        "4.6.1",
        "ina3221x",
        (("6-0040", (("POM_5V_IN", 5000, 1000), ("POM_5V_GPU", 5000, 40), ("POM_5V_CPU", 5000, 200))),),
        line="nano_jp4_root",
        gpu="57000000.gpu",
        mode="NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n",
    ),
    "jetson-tx2": Board(
        "quill",
        ("nvidia,p2771-0000-500", "nvidia,quill", "nvidia,tegra186"),
        *JP4,
        "4.6.1",
        "ina3221x",
        (
            ("0-0040", (("VDD_SYS_GPU", 5000, 30), ("VDD_SYS_SOC", 5000, 137), ("VDD_4V0_WIFI", 4000, 0))),
            ("0-0041", (("VDD_IN", 5000, 1000), ("VDD_SYS_CPU", 5000, 30), ("VDD_SYS_DDR", 5000, 176))),
        ),
        line="tx2_jp4_root",
        gpu="17000000.gp10b",
        mode="NV Power Mode: MAXP_CORE_ARM\n3\n",
    ),
    "jetson-xavier-nx": Board(
        "NVIDIA Jetson Xavier NX Developer Kit",
        ("nvidia,p3449-0000+p3668-0001", "nvidia,p3668-0001", "nvidia,tegra194"),
        *JP5,
        "5.1.2",
        "ina3221",
        (("7-0040", (("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 100), ("VDD_SOC", 5000, 200))),),
        line="xavier_nx_jp4_root",
        gpu="17000000.gv11b",
        mode="NV Power Mode: MODE_20W_6CORE\n8\n",
    ),
    "jetson-agx-xavier": Board(
        "Jetson-AGX",
        ("nvidia,p2972-0000", "nvidia,tegra194"),
        *JP4,
        "4.6.1",
        "ina3221x",
        (
            ("1-0040", (("GPU", 5000, 0), ("CPU", 5000, 100), ("SOC", 5000, 300))),
            ("1-0041", (("CV", 5000, 0), ("VDDRQ", 5000, 200), ("SYS5V", 5000, 400))),
        ),
        line="agx_xavier_jp4_root",
        gpu="17000000.gv11b",
        mode="NV Power Mode: MODE_30W_2CORE\n2\n",
    ),
    "jetson-orin-nano": Board(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
        *JP6,
        "6.2",
        "ina3221",
        (("1-0040", (("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 170), ("VDD_SOC", 5000, 320))),),
        line="orin_nano_jp6_verbose",
        gpu="17000000.gpu",
        mode="NV Power Mode: 25W\n1\n",
    ),
    "jetson-orin-nx": Board(
        "NVIDIA Orin NX Developer Kit",
        ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
        *JP5,
        "5.1.2",
        "ina3221",
        (("1-0040", (("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 150), ("VDD_SOC", 5000, 280))),),
        line="orin_nx_jp5",
        gpu="17000000.ga10b",
        mode="NV Power Mode: MAXN\n",  # the number is sometimes missing
    ),
    "jetson-agx-orin": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"),
        *JP6,
        "6.2",
        "ina3221",
        (
            ("1-0040", (("VDD_GPU_SOC", 5000, 400), ("VDD_CPU_CV", 5000, 200), ("VIN_SYS_5V0", 5000, 400))),
            ("1-0041", (("", 0, 0), ("VDDQ_VDD2_1V8AO", 1800, 500), ("NC", 0, 0))),
        ),
        line="agx_orin_jp6_user",
        gpu="17000000.gpu",
        mode="NV Power Mode: MODE_30W\n2\n",
    ),
    "jetson-agx-thor": Board(
        "NVIDIA Jetson AGX Thor Developer Kit",
        ("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"),
        *JP7,
        "7.1",
        "ina3221",
        (("2-0040", (("VDD_GPU", 5000, 0), ("VDD_CPU_SOC_MSS", 5000, 300), ("VIN_SYS_5V0", 5000, 200))),),
        input_mw=5000,
        line="thor_jp7_vin_user",
        gpu="gpu-gpc-0",
        mode="NV Power Mode: 120W\n1\n",
    ),
    "raspberry-pi-5": Board("Raspberry Pi 5 Model B Rev 1.0", ("raspberrypi,5-model-b", "brcm,bcm2712")),
}
JETSONS = [name for name, board in BOARDS.items() if board.driver]


def build(name: str, folder: Path) -> Path:
    """Make the board below ``folder``; returns it."""
    board = BOARDS[name]
    write(folder, "proc/device-tree/model", board.model + "\0")
    write(folder, "proc/device-tree/compatible", "\0".join(board.compatible) + "\0")
    write(folder, "proc/meminfo", "MemTotal: 8000000 kB\nSwapTotal: 1000 kB\nSwapFree: 1000 kB\n")
    cpus(folder)
    zones(
        folder, {"cpu-thermal": 45_000, "gpu-thermal": 44_000, "PMIC-Die": 100_000, "cv0-thermal": -256_000}
    )
    if board.driver:
        jetson(board, folder)
    else:
        program(folder, "usr/bin/vcgencmd", PI)
    return folder


def jetson(board: Board, folder: Path) -> None:
    """What all Jetsons have."""
    write(folder, "etc/nv_tegra_release", board.release + "\n# KERNEL_VARIANT: oot\n")
    for index, (address, channels) in enumerate(board.chips):
        make = ina3221 if board.driver == "ina3221" else ina3221x
        make(folder, address, index + 1, channels)
    if board.input_mw:
        ina238(folder, board.input_mw)
    gpu(folder, board.gpu)
    over_current(folder, 7)
    tegrastats(folder, [line_of(board)])
    program(folder, "usr/sbin/nvpmodel", NVPMODEL.replace("SAYS", board.mode.replace("\n", "\\n")))
    program(folder, "usr/bin/jetson_clocks", JETSON_CLOCKS)


def write(folder: Path, path: str, content: str | int) -> Path:
    """One file of the tree."""
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{content}")
    return place


def program(folder: Path, path: str, script: str) -> None:
    """One program of the tree."""
    write(folder, path, script).chmod(0o755)


def ina3221(folder: Path, address: str, hwmon: int, channels: tuple[Channel, ...]) -> Path:
    """A chip with the kernel's hwmon driver, reachable by its bus and by its class, as it really is."""
    device = f"sys/devices/platform/bus@0/c240000.i2c/i2c-{address[0]}/{address}"
    place = f"{device}/hwmon/hwmon{hwmon}"
    write(folder, f"{place}/name", "ina3221\n")
    for number, (label, millivolts, milliamperes) in enumerate(channels, 1):
        if label:
            write(folder, f"{place}/in{number}_label", label + "\n")
        write(folder, f"{place}/in{number}_input", millivolts)
        write(folder, f"{place}/curr{number}_input", milliamperes)
        write(folder, f"{place}/curr{number}_crit_alarm", 0)
    write(folder, f"{place}/in7_label", "sum of shunt voltages\n")
    write(folder, f"{place}/in7_input", 1200)
    link(folder / "sys/bus/i2c/drivers/ina3221" / address, folder / device)
    link(folder / "sys/class/hwmon" / f"hwmon{hwmon}", folder / place)
    return folder / place


def ina3221x(folder: Path, address: str, index: int, channels: tuple[Channel, ...]) -> Path:
    """A chip with NVIDIA's old iio driver."""
    place = f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{index - 1}"
    for number, (label, millivolts, milliamperes) in enumerate(channels):
        write(folder, f"{place}/rail_name_{number}", label + "\n")
        write(folder, f"{place}/in_voltage{number}_input", millivolts)
        write(folder, f"{place}/in_current{number}_input", milliamperes)
        write(folder, f"{place}/in_power{number}_input", millivolts * milliamperes // 1000)
        write(folder, f"{place}/crit_current_limit_{number}", "32760 ma\n")
    return folder / place


def ina238(folder: Path, milliwatts: int) -> Path:
    """The one channel on Thor's carrier board."""
    place = "sys/devices/platform/bus@0/810c640000.i2c/i2c-5/5-0044/hwmon/hwmon9"
    content = {
        "name": "ina238\n",
        "label": "VIN\n",
        "in1_input": 20_000,
        "curr1_input": milliwatts // 20,
        "power1_input": milliwatts * 1000,
    }
    for file, value in content.items():
        write(folder, f"{place}/{file}", value)
    link(folder / "sys/class/hwmon/hwmon9", folder / place)
    return folder / place


def link(place: Path, target: Path) -> None:
    """A symbolic link, as sysfs is full of."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def cpus(folder: Path, governor: str = "schedutil", low: int = 729_600, high: int = 1_510_400) -> None:
    """Two cores."""
    write(folder, "sys/devices/system/cpu/online", "0-1\n")
    for cpu in (0, 1):
        place = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        write(folder, f"{place}/scaling_governor", governor + "\n")
        for kind, khz in (("min", low), ("cur", low), ("max", high)):
            write(folder, f"{place}/scaling_{kind}_freq", khz)


def gpu(folder: Path, name: str, low: int = 306_000_000, high: int = 1_020_000_000) -> Path:
    """The GPU's clock; at its lowest."""
    place = f"sys/class/devfreq/{name}"
    write(folder, f"{place}/device/of_node/name", "gpu\0")
    write(folder, f"{place}/device/load", 123)
    write(folder, f"{place}/governor", "nvhost_podgov\n")
    for kind, hertz in (("min", low), ("cur", low), ("max", high)):
        write(folder, f"{place}/{kind}_freq", hertz)
    return folder / place


def lock_clocks(folder: Path, name: str) -> None:
    """What ``jetson_clocks`` does on a real board."""
    cpus(folder, low=1_510_400)
    gpu(folder, BOARDS[name].gpu, low=1_020_000_000)


def zones(folder: Path, degrees: dict[str, int], passive: int = 95_000) -> None:
    """Thermal zones, in thousandths; a gated one says -256 C."""
    for index, (name, value) in enumerate(degrees.items()):
        place = f"sys/class/thermal/thermal_zone{index}"
        write(folder, f"{place}/type", name + "\n")
        write(folder, f"{place}/temp", value)
        write(folder, f"{place}/trip_point_0_type", "critical\n")
        write(folder, f"{place}/trip_point_0_temp", 105_000)
        write(folder, f"{place}/trip_point_1_type", "passive\n")
        write(folder, f"{place}/trip_point_1_temp", passive)


def cooling_device(folder: Path, index: int, kind: str, cur: int) -> None:
    """A fan, or a clock that can be held down."""
    place = f"sys/class/thermal/cooling_device{index}"
    for file, value in (("type", kind), ("cur_state", cur), ("max_state", 10)):
        write(folder, f"{place}/{file}", value)


def over_current(folder: Path, count: int) -> None:
    """Events since the start."""
    write(folder, "sys/class/hwmon/hwmon20/name", "soctherm_oc\n")
    write(folder, "sys/class/hwmon/hwmon20/oc3_event_cnt", count)


def line_of(board: Board, root: bool = True) -> str:
    """The recorded line with this board's rails and values; a user's line lacks engines and clocks."""
    import re

    recorded = LINES[board.line]
    head = re.split(r" (?:POM_5V_IN|VDD_[A-Z]\w*|GPU) -?\d+(?:mW)?/", recorded, maxsplit=1)[0]
    unit = "" if "mW" not in recorded else "mW"
    if not root:
        head = re.sub(r" (?:EMC_FREQ|GR3D_FREQ|NVDEC|NVJPG1?|VIC|OFA|APE) \S+", "", head)
    rails = {label: mv * ma // 1000 for _, channels in board.chips for label, mv, ma in channels if label}
    rails.pop("VDDQ_VDD2_1V8AO", None)  # tegrastats prints three rails of AGX Orin
    if board.input_mw:
        rails["VIN"] = board.input_mw
    rails = {label: watts for label, watts in rails.items() if label != "NC"}
    return " ".join([head, *(f"{label} {mw}{unit}/{mw}{unit}" for label, mw in rails.items())])


def tegrastats(folder: Path, lines: list[str]) -> None:
    """The program; it prints ``lines`` over and over, one per interval, even when the reader has gone."""
    write(folder, "usr/bin/tegrastats.lines", "\n".join(lines) + "\n")
    program(folder, "usr/bin/tegrastats", TEGRASTATS)


TEGRASTATS = r"""#!/bin/sh
trap '' PIPE
interval=1000
while [ $# -gt 0 ]; do
  case "$1" in
    --interval) interval=$2; shift ;;
    --stop) touch "$(dirname "$0")/../../CHANGED" ;;
  esac
  shift
done
pause=$(printf '%d.%03d' $((interval / 1000)) $((interval % 1000)))
while :; do
  while IFS= read -r line; do
    printf '%s\n' "$line" 2>/dev/null
    sleep "$pause"
  done < "$0.lines"
done
"""

NVPMODEL = r"""#!/bin/sh
if [ "$1" != "-q" ]; then touch "$(dirname "$0")/../../CHANGED"; exit 1; fi
printf 'SAYS'
"""

JETSON_CLOCKS = r"""#!/bin/sh
if [ "$1" != "--show" ]; then touch "$(dirname "$0")/../../CHANGED"; fi
echo "Error: Run this script($0) as a root user"
exit 1
"""

# devices.md 7.5: EXT5V and BATT have volts alone. 4 W and 1 W.
PI = r"""#!/bin/sh
case "$1" in
  pmic_read_adc)
    printf '   3V3_SYS_A current(1)=0.25000000A\n   VDD_CORE_A current(7)=4.00000000A\n'
    printf '   3V3_SYS_V volt(9)=4.00000000V\n  VDD_CORE_V volt(15)=1.00000000V\n'
    printf '     EXT5V_V volt(24)=5.05716000V\n      BATT_V volt(25)=0.00000000V\n' ;;
  get_throttled) echo "throttled=0x50000" ;;
  *) exit 255 ;;
esac
"""
