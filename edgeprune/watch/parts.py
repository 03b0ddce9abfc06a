"""The page of a run that is not finished: what is known so far."""

from pathlib import Path
from typing import Any

from edgeprune import tasks
from edgeprune.methods import MethodOptions
from edgeprune.report.blocks import Page
from edgeprune.report.page import foot, page_of
from edgeprune.report.runs import course, networks_tried, settings, widths
from edgeprune.reporting.rows import percent
from edgeprune.runs.points import read_max_drop
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric
from edgeprune.watch.state import WatchedRun

SHARES = (("flops_fraction", "of the FLOPs left"), ("params_fraction", "of the parameters left"))


def watched_page(watched: WatchedRun) -> Page:
    """Return the page of a run as it is now: the report's, once it is finished.

    Raises:
        RunError: a file is damaged.
        ModelError: its task is code that is not trusted.
    """
    run = watched.run()
    if run is None:
        return Page(watched.path.resolve().name, "Nothing is known of this run yet.", [], [], foot())
    if run.has("summary.json"):
        return page_of(run.path)
    return _unfinished(run, watched.in_training(run))


def _unfinished(run: Run, in_training: Run) -> Page:
    metric = tasks.get(run.task).metric
    lines = run.training.metrics()
    if in_training.path != run.path:
        lines = [*lines, *in_training.training.metrics()]
    sections = [
        course(lines, metric),
        networks_tried(read_max_drop(run.path)),
        widths(in_training),
        settings(run),
    ]
    options = run.config["options"]
    method = options.get("method", MethodOptions.method)
    return Page(
        title=f"{options.get('model')}: {run.path.resolve().name}",
        lead=f"{options.get('model')} on {Path(str(options.get('data'))).name}, pruned by {method} for "
        f"{in_training.config['options'].get('target')}.",
        facts=_facts(lines, metric),
        sections=[section for section in sections if section.blocks],
        foot=foot(),
    )


def _facts(lines: list[dict[str, Any]], metric: Metric) -> list[tuple[str, str, str]]:
    """Return the last of each number that training reports."""
    facts = []
    if (score := _last(lines, f"val_{metric.name}")) is not None:
        facts.append((metric.text(score), f"{metric.title} on the held-out images", ""))
    for key, words in SHARES:
        if (share := _last(lines, key)) is not None:
            facts.append((percent(share, 1), words, ""))
    return facts


def _last(lines: list[dict[str, Any]], key: str) -> float | None:
    """Return the last number under a key; None where there is none."""
    values = (line[key] for line in reversed(lines) if isinstance(line.get(key), (int, float)))
    return next(values, None)
