"""Check a run against the limits of a budget file (`edgeprune verify`), for a team's own CI."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgeprune import backends
from edgeprune.backends import ExportRecord
from edgeprune.backends.base import MODELS, Artifact
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.record import FILE as EXPORT
from edgeprune.devices import contradiction, device_names, load_device
from edgeprune.errors import BudgetError, RunError, known
from edgeprune.files.reading import parse_toml, read_bytes, sha256
from edgeprune.files.writing import write_bytes
from edgeprune.records.bench import BenchResult
from edgeprune.reporting.rows import Table
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.limits import BENCH, LIMITS, Limit, Source, is_number, shortened
from edgeprune.runs.run import Run

AnyRun = Run | FileRun
MET, MISSED, UNKNOWN = "met", "missed", "not measured"
DEVICE = "device"  # the only key of a budget that is not a limit
LINE = "lines such as accuracy_drop_points = 1.0"

AGAIN = {  # remedy for an impossible value, by its source
    "summary": "prune again",
    "export": "export again",
    BENCH: "measure again",
}


def read_budget(path: Path) -> tuple[dict[str, float], str | None]:
    """Read a budget file.

    Returns:
        The limits in the file's order, and the device whose measurement counts (None if the file names none).

    Raises:
        BudgetError: no such file, invalid TOML, an unknown key, a value that is not a number, or no limit at all.
    """
    try:
        content = parse_toml(read_bytes(path).decode())
    except FileNotFoundError as error:
        raise BudgetError(f"no such budget file: {path}: write one, of {LINE}") from error
    except (OSError, ValueError) as error:
        hint = f"write {LINE}"
        raise BudgetError(f"{path} is no TOML file ({error}): {hint}") from error
    device = content.pop(DEVICE, None)
    if device is not None and not isinstance(device, str):
        raise BudgetError(f"{path}: device is {device!r}, which is no name; see 'edgeprune devices'")
    for name, value in content.items():
        if name not in LIMITS:
            raise BudgetError(f"{path}: {known('limit', name, [*LIMITS, DEVICE])}")
        if not is_number(value):
            raise BudgetError(f"{path}: {name} is {shortened(value)}: a limit is a number")
        if value < 0 and not LIMITS[name].may_be_negative:
            raise BudgetError(f"{path}: {name} is {value:g}: it is never below 0, so give a limit above")
    if not content:
        raise BudgetError(f"{path} limits nothing: write {LINE}")
    return content, device


def verify(run_path: str | Path, budget: str | Path, *, device: str | None = None) -> dict[str, Any]:
    """Check a run against a budget.

    A limit fails if its value was not measured, or was measured on other files than those exported last.

    Args:
        run_path: the run folder.
        budget: a TOML file of limits; see `LIMITS` for their names.
        device: whose measurement counts; None for the budget's device, or else the only measured one.

    Returns:
        ``{"schema", "run", "budget", "device", "device_assumed", "passed", "checks"}``; ``device_assumed``
        is the actual machine if it contradicted the profile and was measured with --assume-device.

    Raises:
        BudgetError: see `read_budget`; or several devices were measured and none is named.
        RunError: no run, or an unfinished one.
    """
    run: AnyRun = FileRun.open(run_path) if FileRun.matches(run_path) else Run.open(run_path)
    limits, named = read_budget(Path(budget))
    sources: dict[str, Source | str] = {"summary": _summary(run), "export": _export(run)}
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
        "device_assumed": _assumed(sources.get("bench")),
        "passed": all(check["verdict"] == MET for check in checks),
        "checks": checks,
    }


def _check(limit: Limit, bound: float, source: Source | str) -> dict[str, Any]:
    """Check one limit; ``source`` is a reason (a str) if there is nothing to read."""
    value, reason = (None, source) if isinstance(source, str) else limit.read(source)
    if value is not None and (wrong := limit.why_impossible(value)) is not None:
        value, reason = None, f"{wrong}: {AGAIN[limit.source]}"
    if value is None:
        verdict = UNKNOWN
    else:
        verdict = MET if (value <= bound if limit.at_most else value >= bound) else MISSED
    return {
        "name": limit.name, limit.side: float(bound), "unit": limit.unit, "value": value,
        "verdict": verdict, "reason": reason or None,
    }  # fmt: skip


def _summary(run: AnyRun) -> Source | str:
    """Return the summary, or a message if it is damaged; raises RunError for a run that is not finished."""
    try:
        return run.summary()
    except RunError as error:
        if not run.has("summary.json"):
            raise
        return f"{error}; prune again"


def _record(run: AnyRun) -> ExportRecord | str:
    """Return the record of a run's export, or a message if it is missing or damaged."""
    command = f"edgeprune export {run.path}"
    if not (run.path / "export" / EXPORT).is_file():
        return f"the run has not been exported: {command}"
    try:
        return ExportRecord.read(run.path / "export", hint=f"export again with: {command}")
    except RunError as error:
        return str(error)


def _export(run: AnyRun) -> Source | str:
    """Return {model: its ONNX artifact}, or a message if the export is incomplete or damaged."""
    record = _record(run)
    if isinstance(record, str):
        return record
    artifacts = record.of(Onnx())
    for model in MODELS:
        if model not in artifacts:
            return f"the {model} model has not been exported to ONNX: edgeprune export {run.path}"
        if _digest(run, artifacts[model]) != artifacts[model].sha256:
            name = artifacts[model].file
            return f"export/{name} is not what {EXPORT} describes: edgeprune export {run.path}"
    return artifacts


def _digest(run: AnyRun, artifact: Artifact) -> str:
    """Return the sha256 of an artifact's file as it is now; "" if it is missing."""
    file = run.path / "export" / Path(artifact.file or "").name  # beside the record, whatever path it names
    return sha256(file) if file.is_file() else ""


def _is_exported(run: AnyRun, model: str, digest: str) -> bool:
    """Return whether the export folder has a file of this sha256 as one of a model's artifacts."""
    record = _record(run)
    artifacts = () if isinstance(record, str) else record.artifacts
    return any(artifact.model == model and _digest(run, artifact) == digest for artifact in artifacts)


def _only_device(run: AnyRun) -> str | None:
    names = sorted(path.stem for path in (run.path / "bench").glob("*.json"))
    if len(names) > 1:
        raise BudgetError(
            f"{run.path} was measured on {', '.join(names)}: say which counts, by --device or as device = "
            f'"{names[0]}" in the budget'
        )
    return names[0] if names else None


def _bench(run: AnyRun, device: str | None) -> Source | str:
    command = f"edgeprune bench {run.path}{_words(device)}"
    path = run.path / "bench" / f"{Path(device or '').name}.json"
    if device is None or not path.is_file():
        return f"nothing was measured{f' on {device}' if device else ''}: {command}"
    try:
        bench = BenchResult.read(path, hint=f"measure again with: {command}")
    except RunError as error:
        return str(error)
    if not bench.complete:
        return f"bench/{path.name} is of a measurement that was cut: {command}"
    machine = _contradicted(bench)
    if machine is not None and not _assumed(bench):
        return f"bench/{path.name} was not measured on that device but on {machine}: measure again there"
    if len(bench.models) < len(MODELS):
        return f"bench/{path.name} measured one model alone: {command}"
    for name, model in bench.models.items():
        if not _is_exported(run, name, model.sha256):
            return f"bench/{path.name} measured another {name} model than is exported now: {command}"
    return bench


def _words(device: str | None) -> str:
    """Return the options of `bench` whose result has this name: a device's, and a runtime and precision."""
    if not device:
        return ""
    name, _, rest = device.partition(".")
    runtime, _, precision = rest.rpartition("-")
    known = {precision for backend in map(backends.get, backends.names()) for precision in backend.precisions}
    if precision not in known:
        runtime, precision = rest, ""
    words = [f"--device {name}", f"--runtime {runtime}" if runtime in backends.runtimes() else ""]
    return " ".join(["", *filter(None, [*words, f"--precision {precision}" if precision else ""])])


def _assumed(bench: BenchResult | str | None) -> str | None:
    """Return the actual machine if the profile was assumed for a measurement; else None."""
    if bench is None or isinstance(bench, str):
        return None
    return bench.device.assumed


def _contradicted(bench: BenchResult) -> str | None:
    """Return the actual machine if it contradicts the profile, which earlier versions did not check; else None."""
    device = bench.device
    if device.name not in device_names():
        return None
    return contradiction(load_device(device.name), device.fingerprint["board"])


def write_junit(result: Mapping[str, Any], path: Path) -> None:
    """Write ``result`` of `verify` as a JUnit report, which CI systems display: a test case for each limit."""
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
    for remark in _assumption(result):
        ElementTree.SubElement(suite, "system-out").text = remark
    ElementTree.indent(tree)
    write_bytes(path, ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True) + b"\n")


def verdict_remarks(result: Mapping[str, Any]) -> list[str]:
    """Return remarks on how the verdicts came about: first why values are not known."""
    reasons: dict[str, list[str]] = {}
    for check in result["checks"]:
        if check["reason"]:
            reasons.setdefault(check["reason"], []).append(check["name"])
    return [*(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()), *_assumption(result)]


def _assumption(result: Mapping[str, Any]) -> list[str]:
    """Return what is to be known of a device that was assumed."""
    if result["device_assumed"] is None:
        return []
    return [
        f"{result['device']} was assumed when measuring (--assume-device): the machine was "
        f"{result['device_assumed']}",
    ]


def sentence(check: Mapping[str, Any]) -> str:
    """Return 'latency_p50_ms is 5.2 ms, at most 5 was allowed', or why the value is unknown."""
    if check["value"] is None:
        return f"{check['name']} is not known: {check['reason']}"
    side = LIMITS[check["name"]].side
    verb = "allowed" if side == "at_most" else "asked"
    return f"{_named(check)} is {_value(check)}, {side.replace('_', ' ')} {check[side]:g} was {verb}"


def verdict_table(result: Mapping[str, Any]) -> Table:
    """Return the columns and cells of the table of limits."""
    heads = [("", "left"), ("found", "right"), ("limit", "right"), ("verdict", "left")]
    rows = []
    for check in result["checks"]:
        side = LIMITS[check["name"]].side
        bound = f"{'<=' if side == 'at_most' else '>='} {check[side]:g}"
        rows.append([_named(check), _value(check), bound, check["verdict"]])
    return heads, rows


def _named(check: Mapping[str, Any]) -> str:
    about = LIMITS[check["name"]].about
    return f"{check['name']} ({about})" if about else str(check["name"])


def _value(check: Mapping[str, Any]) -> str:
    return "-" if check["value"] is None else f"{check['value']:.6g} {check['unit']}".rstrip()
