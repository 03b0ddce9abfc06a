"""Write a report: read what a folder holds, arrange it, fill the template."""

from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from edgeprune.errors import RunError
from edgeprune.files.paths import explained
from edgeprune.files.writing import write_bytes
from edgeprune.records.bench import BenchResult
from edgeprune.records.comparison import ComparisonResult
from edgeprune.records.runs import Summary
from edgeprune.records.search import SearchResult
from edgeprune.records.sensitivity import SensitivityRecord
from edgeprune.report.blocks import Page
from edgeprune.report.measurements import device_of, devices_of, exported, measured_sections
from edgeprune.report.pruned_files import (
    agreement,
    curve_sections,
    file_facts,
    file_sections,
    file_title,
    final_step,
)
from edgeprune.report.reading import export_record, measurements, read_result
from edgeprune.report.rendering import page_text
from edgeprune.report.runs import networks_tried, run_sections, settings
from edgeprune.report.sensitivities import sensitivity_lead, sensitivity_section, sensitivity_sections
from edgeprune.report.tables import comparison_sections, scored_methods, search_sections
from edgeprune.reporting.rows import percent
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.points import read_max_drop
from edgeprune.runs.run import Run
from edgeprune.sensitivity.measuring import read_sensitivity
from edgeprune.tasks import Classification, metric_of

FILE = "report.html"


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write a page about a run, a pruned file, a comparison or a search; it needs no network and no other file.

    Args:
        folder: of a finished train-prune, prune, compare or search.
        out: of the page; None writes report.html into the folder.

    Returns:
        The file.

    Raises:
        RunError: it is no such folder, it is not finished, or one of its files is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(
            f"no such folder: {folder}; a report is about a run, a pruned file, a comparison or a search"
        )
    return write_page(page_of(folder), folder / FILE if out is None else Path(out))


def page_of(folder: Path) -> Page:
    """Return the page of a folder, by what it holds.

    Raises:
        RunError: it is no folder of edgeprune's, it is not finished, or a file in it is damaged.
    """
    try:
        if (folder / "result.json").is_file():
            return _result_page(folder)
        if FileRun.matches(folder):
            return _file_page(FileRun.open(folder))
        if not (folder / "config.json").exists() and (record := read_sensitivity(folder)) is not None:
            return sensitivity_page(record)
        return _run_page(Run.open(folder))
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        # The schemas hold the fields that decide; a file that was edited elsewhere shows here.
        raise RunError(
            f"a file in {folder} does not hold what edgeprune wrote ({error!r}); was it edited?"
        ) from error


def _run_page(run: Run) -> Page:
    summary = run.summary()
    metric = metric_of(summary)
    results = measurements(run)
    before, after = (model.score(metric.name) for model in (summary.models.baseline, summary.models.pruned))
    facts = [
        (metric.text(after), f"{metric.title} ({metric.change(before, after)})", ""),
        (percent(summary.flops_fraction, 1), "of the FLOPs left", ""),
        (percent(summary.params_fraction, 1), "of the parameters left", ""),
    ]
    facts += _speedup_facts(results)
    sections = [
        *run_sections(run, summary), *sensitivity_sections(run.path), *measured_sections(results, metric),
        exported(export_record(run)), settings(run),
    ]  # fmt: skip
    return Page(
        title=f"{run.config['options']['model']}: {run.path.resolve().name}",
        lead=_lead(summary, results),
        facts=facts,
        sections=[section for section in sections if section.blocks],
        foot=foot(),
    )


def _speedup_facts(results: list[BenchResult]) -> list[tuple[str, str, str]]:
    """Return the measured speedups, with their intervals."""
    facts = []
    for result in results:
        speedup = result.speedup
        if speedup is None:
            continue
        kind = "good" if speedup.low > 1 else "bad"
        interval = f"{speedup.low:.2f} to {speedup.high:.2f}"
        facts.append((f"{speedup.value:.2f}x", f"measured speedup on {device_of(result)} ({interval})", kind))
    return facts


def _lead(summary: Summary, results: list[BenchResult]) -> str:
    """Return one sentence that says what came out, and what is not known."""
    metric = metric_of(summary)
    before, after = (model.score(metric.name) for model in (summary.models.baseline, summary.models.pruned))
    scores = f"{metric.title} {metric.text(before)} before, {metric.text(after)} after"
    sizes = f"Pruned for {summary.target.target}: {scores}"
    if not results:
        return f"{sizes}. Whether it is faster is not known: nothing was measured yet (edgeprune bench)."
    faster = [result for result in results if result.speedup and result.speedup.low > 1]
    slower = [result for result in results if result.speedup and result.speedup.high < 1]
    open_ones = [result for result in results if result not in faster and result not in slower]
    parts = []
    verdicts = {"measurably faster": faster, "measurably slower": slower, "not measurably faster": open_ones}
    for words, group in verdicts.items():
        if group:
            parts.append(f"{words} on {devices_of(group)}")
    return f"{sizes}; {'; '.join(parts)}."


def _file_page(run: FileRun) -> Page:
    if run.curve() is not None and not run.has("summary.json"):
        lead = (
            "How far the network can go; nothing was pruned yet (edgeprune prune --target or --max-change)."
        )
        return Page(file_title(run.config), lead, [], curve_sections(run), foot())
    summary = run.summary()
    value, what = agreement(final_step(summary))
    results = measurements(run)
    sections = [
        *file_sections(run, summary),
        *measured_sections(results, Classification().metric),
        exported(export_record(run)),
    ]
    return Page(
        title=file_title(run.config),
        lead=f"Pruned for {summary.target} without labels or training code: {value} {what}.",
        facts=[*file_facts(summary), *_speedup_facts(results)],
        sections=[section for section in sections if section.blocks],
        foot=foot(),
    )


def _result_page(folder: Path) -> Page:
    result = read_result(folder / "result.json")
    if isinstance(result, ComparisonResult):
        title, lead, sections = "methods compared", _best_method(result), comparison_sections(result)
    else:
        title, lead = "search", _best_trial(result)
        tried = networks_tried(read_max_drop(folder))
        sections = [*([tried] if tried.blocks else []), *search_sections(result)]
    return Page(f"{result.source}: {title}", lead, [], sections, foot())


def sensitivity_page(record: SensitivityRecord) -> Page:
    """Return the page of a sensitivity."""
    lead, sections = sensitivity_lead(record), [sensitivity_section(record)]
    return Page(f"{record.model}: sensitivity", lead, [], sections, foot())


def write_page(page: Page, place: Path) -> Path:
    """Write a page as one file."""
    text = page_text(page)
    with explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, text.encode())
    return place


def _best_method(result: ComparisonResult) -> str:
    """Return one sentence that says which method came first."""
    metric, methods = metric_of(result), scored_methods(result)
    if not methods:
        return "No row is finished yet."
    best = max(methods, key=lambda method: metric.worth(method.score.mean or 0.0))
    count = f"{len(methods)} {'method' if len(methods) == 1 else 'methods'}"
    return (
        f"{best.label} reached the best {metric.title}, {metric.text(best.score.mean)}, of {count} at "
        f"{result.target}; unpruned {metric.text(result.baseline.score)}."
    )


def _best_trial(result: SearchResult) -> str:
    """Return one sentence that says what a search reached."""
    best, baseline = result.best_test, result.baseline.test
    scores = ""
    if best is not None and baseline is not None:
        metric = metric_of(result)
        before, after = metric.text(baseline), metric.text(best)
        scores = f": {metric.title} {after} on the test images without training, unpruned {before}"
    return f"Widths for {result.target} by {len(result.trials)} trials{scores}."


def foot() -> str:
    """Return the version and the date of a page."""
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made by edgeprune {version('edgeprune')} on {today}."
