"""Draw the pictures of the docs from what was measured.

    python docs/picture.py [--check]

speedup.svg     one network, pruned for FLOPs and pruned for time (results/demo.json, results/demo_latency.json)
max_drop.svg    accuracy against speedup of the networks that `--max-drop` tried (results/max_drop_digits.json)
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
LEFT, TOP, ROW, BAR, PER_UNIT, WIDTH = 190, 58, 46, 24, 180, 760
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #24292f }
  .head { font-size: 15px; font-weight: 600 }
  .small { font-size: 12px; fill: #57606a }
  .bar { fill: #8c959f } .ours { fill: #1a7f37 } .ends { stroke: #24292f; stroke-width: 1.5 }
  .one { stroke: #8c959f; stroke-dasharray: 3 3 } .axis { stroke: #8c959f }
  .limit { stroke: #cf222e; stroke-dasharray: 6 4 }
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


def speedup_picture() -> str:
    """Return the bars of the demo."""
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


def max_drop_picture() -> str:
    """Return the change of accuracy, with its interval, against the speedup, of what `--max-drop` tried."""
    result: dict[str, Any] = json.loads((ROOT / "results" / "max_drop_digits.json").read_text())
    points, limit = result["points"], result["max_drop"]
    left, right, top, bottom = 70, 730, 50, 300  # of the plot, in pixels
    most = max(point["speedup"]["high"] for point in points) + 0.3
    ends = [-100 * point["drop"][end] for point in points for end in ("low", "high")]
    lowest, highest = min(*ends, -limit) - 0.4, max(*ends, 0) + 0.2

    def x(speedup: float) -> float:
        return left + (right - left) * (speedup - 1) / (most - 1)

    def y(change: float) -> float:
        return top + (bottom - top) * (highest - change) / (highest - lowest)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 388" role="img"'
        f' aria-label="Change of accuracy against measured speedup, of the networks that --max-drop {limit:g} tried">',
        f"<style>{STYLE}</style>",
        f'<text class="head" x="12" y="24">The fastest ResNet-20 within {limit:g} points: what --max-drop tried</text>',
        f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>',
        f'<line class="one" x1="{left}" x2="{right}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>',
        f'<line class="limit" x1="{left}" x2="{right}" y1="{y(-limit):.1f}" y2="{y(-limit):.1f}"/>',
        f'<text class="small" x="{left + 8}" y="{y(-limit) + 15:.1f}">{limit:g} points below the unpruned one</text>',
        f'<text class="small" x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">measured speedup</text>',
    ]
    for tick in range(2, 2 * int(most) + 2):
        if tick / 2 <= most:
            lines.append(
                f'<text class="small" x="{x(tick / 2):.1f}" y="{bottom + 18}" text-anchor="middle">{tick / 2:g}x</text>'
            )
    for change in range(int(lowest), int(highest) + 1):
        text = f"{change:+d}" if change else "0"
        lines.append(
            f'<text class="small" x="{left - 8}" y="{y(change) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for point in points:
        at, drop = x(point["speedup"]["value"]), point["drop"]
        kind, middle = "bar ours" if point["within"] else "bar", y(-100 * drop["value"])
        low, high = y(-100 * drop["high"]), y(-100 * drop["low"])  # on the page, where up is less
        chosen, label = point["run"] == result["chosen"], high - 8 if point["within"] else low + 16
        name = f"{point['speedup']['value']:.2f}x" + (", chosen" if chosen else "")
        lines += [
            f'<line class="ends" x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>',
            f'<circle class="{kind}" cx="{at:.1f}" cy="{middle:.1f}" r="6"/>',
            f'<text class="small" x="{at:.1f}" y="{label:.1f}" text-anchor="middle">{name}</text>',
        ]
    images = points[0]["drop"]["images"]
    words = f"change of accuracy, in points, on {images} held-out images; 95 % intervals; green: within"
    where = f"ONNX Runtime, {result['machine']['cpu']}, {points[0]['threads']} threads"
    lines += [
        f'<text class="small" x="12" y="362">{words}</text>',
        f'<text class="small" x="12" y="380">{where}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw them, or exit with 1 if one would change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, picture in {"speedup": speedup_picture, "max_drop": max_drop_picture}.items():
        place = PICTURES / f"{name}.svg"
        if check and place.read_text() != picture():
            sys.exit(1)
        place.write_text(picture())


if __name__ == "__main__":
    main()
