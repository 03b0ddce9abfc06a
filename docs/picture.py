"""Draw docs/pictures/speedup.svg: one network, pruned for FLOPs and pruned for time, as both were measured.

    python docs/picture.py [--check]

The numbers are those of results/demo.json and results/demo_latency.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "speedup.svg"
LEFT, TOP, ROW, BAR, PER_UNIT, WIDTH = 190, 58, 46, 24, 180, 760
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #24292f }
  .head { font-size: 15px; font-weight: 600 }
  .small { font-size: 12px; fill: #57606a }
  .bar { fill: #8c959f } .ours { fill: #1a7f37 } .ends { stroke: #24292f; stroke-width: 1.5 }
  .one { stroke: #8c959f; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #3fb950 } .ends { stroke: #e6edf3 }
  }
"""


def measured(name: str) -> tuple[dict[str, float], float, str]:
    """Return a result's speedup with its interval, its accuracy, and the machine."""
    result: dict[str, Any] = json.loads((ROOT / "results" / f"{name}.json").read_text())
    bench = next(iter(result["bench"].values()))
    machine = f"{bench['device']['fingerprint']['cpu_model']}, {bench['settings']['threads']} threads"
    return bench["speedup"], result["summary"]["models"]["pruned"]["accuracy"], machine


def row(y: int, name: str, accuracy: str, speedup: dict[str, float], kind: str) -> list[str]:
    """Draw a bar with its interval and what it says.

    Args:
        y: of its upper edge, in pixels.
        name: of the network.
        accuracy: in words.
        speedup: "value", "low" and "high".
        kind: the bar's class in the style.
    """
    value, low, high = speedup["value"], speedup["low"], speedup["high"]
    middle, left, right = y + BAR / 2, LEFT + PER_UNIT * low, LEFT + PER_UNIT * high
    interval = "" if low == high == 1 else f" ({low:.2f} to {high:.2f})"
    return [
        f'<text x="{LEFT - 12}" y="{middle - 2}" text-anchor="end">{name}</text>',
        f'<text class="small" x="{LEFT - 12}" y="{middle + 13}" text-anchor="end">{accuracy}</text>',
        f'<rect class="bar {kind}" x="{LEFT}" y="{y}" width="{PER_UNIT * value:.1f}" height="{BAR}" rx="3"/>',
        f'<line class="ends" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{LEFT + PER_UNIT * max(value, high) + 8:.1f}" y="{middle + 5}">{value:.2f}x{interval}</text>',
    ]


def svg() -> str:
    """Return the picture."""
    flops, flops_accuracy, flops_machine = measured("demo")
    time, time_accuracy, machine = measured("demo_latency")
    baseline = json.loads((ROOT / "results" / "demo_latency.json").read_text())["summary"]["models"][
        "baseline"
    ]
    unpruned = {"value": 1.0, "low": 1.0, "high": 1.0}
    rows = [
        ("unpruned", baseline["accuracy"], unpruned, ""),
        ("half of the FLOPs", flops_accuracy, flops, ""),
        ("half of the time", time_accuracy, time, "ours"),
    ]
    height = TOP + len(rows) * ROW + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-label="Measured speedup of a ResNet-20: pruned for FLOPs it is no faster, pruned for time it is">',
        f"<style>{STYLE}</style>",
        '<text class="head" x="12" y="24">Measured speedup of a ResNet-20 on handwritten digits</text>',
        f'<line class="one" x1="{LEFT + PER_UNIT}" x2="{LEFT + PER_UNIT}" y1="{TOP - 10}" y2="{height - 28}"/>',
    ]
    for number, (name, accuracy, speedup, kind) in enumerate(rows):
        lines += row(TOP + number * ROW, name, f"accuracy {100 * accuracy:.2f} %", speedup, kind)
    where = machine if machine == flops_machine else f"{machine}; half of the FLOPs: {flops_machine}"
    words = f"ONNX Runtime, {where}; 95 % intervals over pairs of rounds"
    lines += [f'<text class="small" x="12" y="{height - 8}">{words}</text>', "</svg>"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw it, or exit with 1 if it would change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(int(PICTURE.read_text() != svg()))
    PICTURE.write_text(svg())


if __name__ == "__main__":
    main()
