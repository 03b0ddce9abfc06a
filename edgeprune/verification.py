"""`edgeprune verify`: a run held against limits that somebody wrote down; for a team's own CI."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgeprune.errors import BudgetError, known
from edgeprune.files import parse_toml, read_json, sha256, write_bytes
from edgeprune.report import Table
from edgeprune.runs import Run

MET, MISSED, UNKNOWN = "met", "missed", "not measured"
DEVICE = "device"  # the one key of a budget that is no limit

Found = Mapping[str, Any]
Reading = tuple[float | None, str]  # a value, or None and why there is none


@dataclass(frozen=True)
class Limit:
    """One thing that can be limited.

    Attributes:
        name: its key in a budget.
        source: the file it is read from: "summary", "export" or "bench".
        at_most: whether smaller is better.
        unit: for people.
        read: the source's content -> the value, or None and a reason.
    """

    name: str
    source: str
    at_most: bool
    unit: str
    read: Callable[[Found], Reading]

    @property
    def side(self) -> str:
        """The key of the limit in a result."""
        return "at_most" if self.at_most else "at_least"


def _measured(*keys: str, scale: float = 1.0, reason: str | None = None) -> Callable[[Found], Reading]:
    """Reader of one number of the pruned model; ``reason`` is the key that says why it may be missing."""

    def read(found: Found) -> Reading:
        model = value = found["models"]["pruned"]
        for key in keys:
            value = value[key]
        why = str(model.get(reason) or "it was not measured") if reason else "it was not measured"
        return (None, why) if value is None else (float(value) / scale, "")

    return read


def _share(key: str) -> Callable[[Found], Reading]:
    def read(summary: Found) -> Reading:
        models = summary["models"]
        return models["pruned"][key] / models["baseline"][key], ""

    return read


def _worst(key: str, worst: Callable[..., float]) -> Callable[[Found], Reading]:
    """Of both exported files, since a baseline that is wrong makes every comparison wrong."""
    return lambda export: (worst(model["parity"][key] for model in export["models"].values()), "")


def _energy_fraction(bench: Found) -> Reading:
    base, pruned = (bench["models"][n]["energy_mj_per_inference"] for n in ("baseline", "pruned"))
    if base is None or pruned is None:
        return None, str(bench["models"]["pruned"]["energy_reason"] or "it was not measured")
    return pruned / base, ""


LIMITS = {
    limit.name: limit
    for limit in (
        Limit("accuracy", "summary", False, "", lambda s: (s["models"]["pruned"]["accuracy"], "")),
        Limit("accuracy_drop_points", "summary", True, "points", lambda s: (100 * s["accuracy_drop"], "")),
        Limit("params", "summary", True, "", lambda s: (s["models"]["pruned"]["params"], "")),
        Limit("params_fraction", "summary", True, "", _share("params")),
        Limit("flops", "summary", True, "", lambda s: (s["models"]["pruned"]["flops"], "")),
        Limit("flops_fraction", "summary", True, "", _share("flops")),
        Limit("onnx_top1_agreement", "export", False, "", _worst("top1_agreement", min)),
        Limit("onnx_max_rel_diff", "export", True, "", _worst("max_rel_diff", max)),
        Limit("size_kb", "export", True, "kB", _measured("size_bytes", scale=1e3)),
        Limit("onnx_accuracy", "bench", False, "", _measured("accuracy", reason="accuracy_reason")),
        Limit("latency_p50_ms", "bench", True, "ms", _measured("latency_ms", "p50")),
        Limit("latency_p90_ms", "bench", True, "ms", _measured("latency_ms", "p90")),
        Limit("latency_p99_ms", "bench", True, "ms", _measured("latency_ms", "p99")),
        Limit("throughput_ips", "bench", False, "images/s", _measured("throughput_ips")),
        # What is claimed must hold with its doubt: the lower end of the interval has to reach the limit.
        Limit("speedup", "bench", False, "x", lambda b: (b["speedup"]["low"], "")),
        Limit("memory_peak_mb", "bench", True, "MB",
              _measured("memory_peak_bytes", scale=1e6, reason="memory_reason")),
        Limit("energy_mj", "bench", True, "mJ",
              _measured("energy_mj_per_inference", reason="energy_reason")),
        Limit("energy_fraction", "bench", True, "", _energy_fraction),
    )
}  # fmt: skip


def read_budget(path: Path) -> tuple[dict[str, float], str | None]:
    """The limits of a budget file, in its order, and the device whose measurement counts, if it names one.

    Raises:
        BudgetError: no such file, no TOML, a key that is no limit, a value that is no number, or no limit.
    """
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BudgetError(f"no such budget file: {path}") from error
    except (OSError, ValueError) as error:
        hint = "write lines such as accuracy_drop_points = 1.0"
        raise BudgetError(f"{path} is no TOML file ({error}): {hint}") from error
    device = content.pop(DEVICE, None)
    if device is not None and not isinstance(device, str):
        raise BudgetError(f"{path}: device is {device!r}, which is no name; see 'edgeprune devices'")
    for name, value in content.items():
        if name not in LIMITS:
            raise BudgetError(f"{path}: {known('limit', name, [*LIMITS, DEVICE])}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise BudgetError(f"{path}: {name} is {value!r}: a limit is a number")
    if not content:
        raise BudgetError(f"{path} limits nothing: write lines such as accuracy_drop_points = 1.0")
    return content, device


def verify(run_path: str | Path, budget: str | Path, *, device: str | None = None) -> dict[str, Any]:
    """Hold a run against a budget.

    A limit on what was not measured, or was measured on other files than those exported last, is not met.

    Args:
        run_path: the run folder.
        budget: a TOML file of limits; see `LIMITS` for their names.
        device: whose measurement counts; None for the budget's, or else the only one there is.

    Returns:
        ``{"schema", "run", "budget", "device", "passed", "checks"}``.

    Raises:
        BudgetError: see `read_budget`; or several devices were measured and none is named.
        RunError: no run, or an unfinished one.
    """
    run = Run.open(run_path)
    limits, named = read_budget(Path(budget))
    sources: dict[str, Found | str] = {"summary": run.summary(), "export": _export(run)}
    measured = None
    if any(LIMITS[name].source == "bench" for name in limits):
        measured = device or named or _only_device(run)
        sources["bench"] = _bench(run, measured)
    checks = [_check(LIMITS[name], limit, sources[LIMITS[name].source]) for name, limit in limits.items()]
    return {
        "schema": 1,
        "run": str(run.path),
        "budget": str(budget),
        "device": measured,
        "passed": all(check["verdict"] == MET for check in checks),
        "checks": checks,
    }


def _check(limit: Limit, bound: float, source: Found | str) -> dict[str, Any]:
    """One limit and what was found; ``source`` is a reason where there is nothing to read."""
    value, reason = (None, source) if isinstance(source, str) else limit.read(source)
    if value is None:
        verdict = UNKNOWN
    else:
        verdict = MET if (value <= bound if limit.at_most else value >= bound) else MISSED
    return {
        "name": limit.name, limit.side: float(bound), "unit": limit.unit, "value": value,
        "verdict": verdict, "reason": reason or None,
    }  # fmt: skip


def _export(run: Run) -> Found | str:
    path = run.path / "export" / "export.json"
    if not path.is_file():
        return f"the run has not been exported: edgeprune export {run.path}"
    found: Found = read_json(path)
    for model in found["models"].values():
        file = path.parent / model["file"]
        if not file.is_file() or sha256(file) != model["sha256"]:
            return f"export/{model['file']} is not what export.json describes: edgeprune export {run.path}"
    return found


def _only_device(run: Run) -> str | None:
    names = sorted(path.stem for path in (run.path / "bench").glob("*.json"))
    if len(names) > 1:
        raise BudgetError(
            f"{run.path} was measured on {', '.join(names)}: say which counts, by --device or as device = "
            f'"{names[0]}" in the budget'
        )
    return names[0] if names else None


def _bench(run: Run, device: str | None) -> Found | str:
    on = f" --device {device}" if device else ""
    command = f"edgeprune bench {run.path}{on}"
    path = run.path / "bench" / f"{device}.json"
    if device is None or not path.is_file():
        return f"nothing was measured{f' on {device}' if device else ''}: {command}"
    found: Found = read_json(path)
    for name, model in found["models"].items():
        file = run.path / "export" / Path(model["file"]).name
        if not file.is_file() or sha256(file) != model["sha256"]:
            return f"bench/{path.name} measured another {name} model than is exported now: {command}"
    return found


def write_junit(result: Mapping[str, Any], path: Path) -> None:
    """``result`` of `verify` as a JUnit report, which CI systems show: a test case for each limit."""
    checks = result["checks"]
    failed = [check for check in checks if check["verdict"] != MET]
    about = {"name": f"edgeprune verify {result['run']}", "tests": str(len(checks))}
    suite = ElementTree.Element("testsuite", {**about, "failures": str(len(failed)), "errors": "0"})
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="edgeprune.verify", name=check["name"])
        if check["verdict"] != MET:
            ElementTree.SubElement(case, "failure", message=sentence(check))
    tree = ElementTree.Element("testsuites")
    tree.append(suite)
    ElementTree.indent(tree)
    write_bytes(path, ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True) + b"\n")


def sentence(check: Mapping[str, Any]) -> str:
    """'latency_p50_ms is 5.2 ms, at most 5 was allowed', or why it is not known."""
    if check["value"] is None:
        return f"{check['name']} is not known: {check['reason']}"
    side = LIMITS[check["name"]].side
    asked = "allowed" if side == "at_most" else "asked"
    return f"{check['name']} is {_value(check)}, {side.replace('_', ' ')} {check[side]:g} was {asked}"


def table(result: Mapping[str, Any]) -> Table:
    """Columns and cells."""
    heads = [("", "left"), ("found", "right"), ("limit", "right"), ("verdict", "left")]
    rows = []
    for check in result["checks"]:
        side = LIMITS[check["name"]].side
        bound = f"{'<=' if side == 'at_most' else '>='} {check[side]:g}"
        why = f": {check['reason']}" if check["reason"] else ""
        rows.append([check["name"], _value(check), bound, check["verdict"] + why])
    return heads, rows


def _value(check: Mapping[str, Any]) -> str:
    return "-" if check["value"] is None else f"{check['value']:.6g} {check['unit']}".rstrip()
