"""Measure one model file, or two against each other: probe, alternate rounds, time layers, score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgeprune.bench.accuracy import Batches, Scorer, limited, no_accuracy
from edgeprune.bench.compare import without_mixed_energy
from edgeprune.bench.copies import changed_since, private_copies
from edgeprune.bench.files import Files, LooseFiles, files_of
from edgeprune.bench.journal import Journal, what_is_measured
from edgeprune.bench.layers import check_layers, measure_layers
from edgeprune.bench.local import LocalTransport, Transport
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.result import (
    empty_result,
    energy_ratio_report,
    machine_report,
    model_report,
    speedup_report,
)
from edgeprune.bench.session import Round, Session, interruption
from edgeprune.bench.sustained import sustained_report
from edgeprune.bench.warnings import warnings_for
from edgeprune.devices import confirm, load_device
from edgeprune.options.checks import seconds_of
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.bench import BenchResult
from edgeprune.tasks import Classification, Task

Save = Callable[[BenchResult], None]
NOT_ASKED = "not asked for"


def bench_models(
    models: Mapping[str, str | Path] | Files,
    feed_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    options: BenchOptions | None = None,
    batches: Callable[[], Batches] | None = None,
    why_no_score: str = NOT_ASKED,
    task: Callable[[], Task] = Classification,
    transport: Transport | None = None,
    save: Save | None = None,
    layers: bool = False,
    journal: Journal | None = None,
    progress: ProgressCallback | None = None,
) -> BenchResult:
    """Measure two model files against each other, or one alone; they need no run, and may be the same file.

    Args:
        models: files under the names "baseline" and "pruned", or one under "model"; or what was exported of a run.
        feed_shapes: input -> shape, batch included; None takes the model's own, with ``options.batch``.
        options: None measures on this machine's CPU with the defaults.
        batches: gives test images for the accuracy; None leaves it out.
        why_no_score: why there are none, for the result.
        task: returns the one that the images are scored by.
        transport: to the runner; None runs it here.
        save: called with the result so far after each stage, and after each pair of rounds unless it is sustained.
        layers: whether to time every layer too.
        journal: keeps the rounds, and gives those of a measurement that is resumed.
        progress: called with ``(done, total, text)``, in rounds.

    Raises:
        BenchError: a file is missing, or the runner failed.
    """
    source = files_of(models)
    session = Session(
        files=source.paths if isinstance(source, LooseFiles) else {},
        source=source,
        options=replace(options or BenchOptions(load_device("cpu")), models=len(source.names)),
        transport=transport or LocalTransport(),
        progress=shown_on(transport, progress or _ignore_progress),
        feed_shapes=feed_shapes or {},
        names=source.names,
        scoring=batches is not None,
    )
    save = save or _ignore_progress
    session, fingerprint, preferred = probe_session(session)
    if layers:
        check_layers(session)
    with private_copies(session.files) as copies:
        session = replace(session, files=copies, originals=session.files)
        result = initial_result(session, fingerprint, preferred)
        session, result = measure_speed(session, result, save, journal)
        if layers:
            times = measure_layers(session, result.settings.threads)
            result = msgspec.structs.replace(result, layers=times)
            save(result)
        result = with_scores(result, session, task, batches, why_no_score)
        hashes = {name: model.sha256 for name, model in result.models.items()}
    replaced = tuple(changed_since(session.originals, hashes))
    result = msgspec.structs.replace(result, replaced=replaced)
    result = msgspec.structs.replace(result, warnings=warnings_for(result), complete=True)
    save(result)
    session.progress(session.total, session.total, "measured")
    return result


def shown_on(transport: Transport | None, progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that shows the progress on the device, too, where it has a screen.

    Args:
        transport: to the device.
        progress: the user's.
    """
    show: ProgressCallback | None = getattr(transport, "show_progress", None)
    if show is None:
        return progress

    def on_progress(done: float, total: float, text: str) -> None:
        progress(done, total, text)
        show(done, total, text)

    return on_progress


def probe_session(session: Session) -> tuple[Session, dict[str, Any], str]:
    """Probe the machine; return the session with its runtime, the fingerprint, and the preferred runtime.

    Raises:
        BenchError: it is not the requested device, or has none of its runtimes.
    """
    fingerprint = session.probe()
    device = session.options.device
    confirm(device, fingerprint["board"], assume=device.assumed is not None)
    return session.chosen(fingerprint), fingerprint, device.runtime


def initial_result(session: Session, fingerprint: dict[str, Any], preferred: str) -> BenchResult:
    """Make the result before the first round.

    Args:
        session: as `probe_session` returned it.
        fingerprint: of the machine.
        preferred: the runtime that its profile prefers.
    """
    threads = session.options.threads or fingerprint.get("threads") or fingerprint["cores_physical"]
    return empty_result(session.options, fingerprint, threads, preferred)


def measure_speed(
    session: Session, result: BenchResult, save: Save, journal: Journal | None = None
) -> tuple[Session, BenchResult]:
    """Measure all rounds; return the session with them, and the result with their summary.

    Args:
        session: with private copies of the files.
        result: as `initial_result` made it.
        save: called with the result after each pair.
        journal: keeps the rounds.
    """
    threads = result.settings.threads
    if journal:
        about = what_is_measured(session, result.device.fingerprint, threads)
        session = session.resumed(journal.begin(about))
        settings = msgspec.structs.replace(result.settings, stretches=session.segment + 1)
        result = msgspec.structs.replace(result, settings=settings)
    session.build(threads)
    for _ in session.paired_rounds(threads):
        if journal:
            journal.add({name: session.rounds[name][-1] for name in session.names})
        if session.options.sustained is None:
            result = with_rounds(result, session)
            save(result)
        # else the summary of ever more rounds would take ever longer, and the device would cool down meanwhile
    first = 0
    if session.options.sustained is not None:
        course = sustained_report(session.rounds, seconds_of(session.options.sustained))
        first = course.steady_pair
        result = msgspec.structs.replace(result, sustained=course)
    result = with_rounds(result, session, first)
    counted = {name: session.rounds[name][first:] for name in session.names}
    energy_ratio = energy_ratio_report(result.models, counted)
    result = msgspec.structs.replace(result, **speedup_report(result.models), energy_ratio=energy_ratio)
    result = msgspec.structs.replace(result, warnings=warnings_for(result))
    save(result)
    return session, result


def with_rounds(result: BenchResult, session: Session, first: int = 0) -> BenchResult:
    """Return the result with the summary of the rounds so far.

    Args:
        result: so far.
        session: with the rounds.
        first: the pair of rounds from which on they count.
    """
    counted = {name: session.rounds[name][first:] for name in session.names}
    sample = counted[session.names[0]][0]
    rounds = [reply for name in session.names for reply in counted[name]]
    paused = [interruption([reply]) for reply in rounds]
    settings = msgspec.structs.replace(
        result.settings,
        feed=sample["feed"],
        warm_up=sample["warm_up"],
        clock_step_ms=sample.get("clock_step_ms"),
        warm_rounds=sum(began_warm(reply, session.options.cool_to) for reply in rounds),
        discarded_rounds=tuple(session.discarded),
        paused_rounds=tuple(pause for pause in paused if pause is not None),
    )
    files = session.originals or session.files
    models = {
        name: msgspec.structs.replace(
            model_report(session.files[name], counted[name], session.options.batch),
            file=str(files[name]),
        )
        for name in session.names
    }
    return msgspec.structs.replace(
        result, settings=settings, models=without_mixed_energy(models), machine=machine_report(rounds)
    )


def began_warm(reply: Round, cool_to: float | None) -> bool:
    """Return whether a round that was to wait for the machine to cool down began before it had."""
    cooled = reply.get("cooled") or {}
    return cool_to is not None and (cooled.get("warmest_c") or 0.0) > cool_to


def with_scores(
    result: BenchResult,
    session: Session,
    task: Callable[[], Task],
    batches: Callable[[], Batches] | None,
    why_no_score: str = NOT_ASKED,
) -> BenchResult:
    """Return the result with the files' scores on the test images, or with why there are none.

    Args:
        result: of the measurement.
        session: after the last round.
        task: returns what has the metrics.
        batches: gives batches of normalised test images; None when no accuracy was requested.
        why_no_score: why there are no batches.
    """
    scores = no_accuracy(session.names, why_no_score)
    if batches:
        settings = result.settings
        batches = limited(batches, getattr(session.transport, "most_images", None))
        scorer = Scorer(session.transport, settings.runtime, settings.threads, session.scored)
        batch = session.options.batch if session.builds_engines else scorer.batch
        scorer = replace(scorer, batch=batch, words=tuple(session.scoring_words()), task=task())
        scores = scorer.score_all(session.files, batches)
        result = msgspec.structs.replace(result, metric=scorer.task.metric.record())
    compared = getattr(session.transport, "compared", None)
    parities = {name: compared(session.files[name]) if compared else {} for name in session.names}
    models = {
        name: msgspec.structs.replace(result.models[name], **scores[name], **parities[name])
        for name in session.names
    }
    return msgspec.structs.replace(result, models=models)


def _ignore_progress(*_event: object) -> None:
    """Ignore progress: for a caller that does not show it."""
