"""Run a measurement: probe the machine, alternate rounds, score accuracy, write a file that is never partial."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgeprune.backends.base import MODELS
from edgeprune.backends.inputs import check_same_inputs, fed_shapes, merged, onnx_inputs
from edgeprune.backends.subjects import Subjects, run_subjects
from edgeprune.bench.accuracy import Batches, Scorer, limited, no_accuracy
from edgeprune.bench.browser import Browser
from edgeprune.bench.compare import without_mixed_energy
from edgeprune.bench.copies import changed_since, private_copies
from edgeprune.bench.denormals import with_denormals
from edgeprune.bench.detect import find_device
from edgeprune.bench.files import (
    Files,
    LooseFiles,
    exported_files,
    loose_files,
    measuring_with,
)
from edgeprune.bench.hosts import Host
from edgeprune.bench.journal import Journal, what_is_measured
from edgeprune.bench.layers import check_layers, measure_layers
from edgeprune.bench.local import LocalTransport, Transport
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.places import Places
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
from edgeprune.devices import BROWSER, CPU, Device, confirm, load_device
from edgeprune.errors import BenchError
from edgeprune.files.locks import held
from edgeprune.options.checks import seconds_of
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.bench import BenchResult, WidthsReport
from edgeprune.tasks import Classification, Task

Save = Callable[[BenchResult], None]
WidthsOf = Callable[[Path | None, BenchResult], WidthsReport]
NOT_ASKED = "not asked for"


def bench_run(
    subjects: str | Path | Subjects,
    *,
    device: str | None = None,
    batch: int = BenchOptions.batch,
    threads: int | None = None,
    seconds: float = BenchOptions.seconds,
    sustained: str | None = None,
    cool_to: float | None = None,
    json_path: str | Path | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    accuracy: bool = True,
    layers: bool = False,
    host: Host | Browser | None = None,
    assume_device: bool = False,
    resume: bool = False,
    widths: WidthsOf | None = None,
    among: str | None = None,
    of_several: bool = False,
    progress: ProgressCallback | None = None,
) -> BenchResult:
    """Measure a run's exported baseline and pruned model against each other, or any other subjects.

    The result is written to ``bench/DEVICE.json`` of the run, or of the folder that the subjects are kept in.
    With another runtime or precision than the device's profile names it is ``bench/DEVICE.RUNTIME-PRECISION.json``.

    What is known so far is kept in ``bench/DEVICE.json.partial`` after every pair of rounds, and the rounds
    in ``bench/DEVICE.rounds.jsonl``, which alone keeps those of a sustained measurement; the last complete result
    stays in its place until the new one is complete.

    Args:
        subjects: the run folder, which has been exported; or a pair of models or one, whose files are known or have
            been exported.
        device: a profile's name; "jetson" for whichever Jetson this is, "auto" for whatever this is, "browser" for
            whichever browser opens a page; None for "cpu" here, and for "auto" on a host.
        batch: images per inference.
        threads: of the runtime; None for all physical cores.
        seconds: of timed inference per model.
        sustained: how long to keep the device under load, as ``30m``; the numbers are then of the steady state. None
            measures for ``seconds``.
        cool_to: degrees Celsius that the device is to have before each round.
        json_path: a second place for the result.
        runtime: of the runner; None for the first of the profile's that the device has.
        precision: of the numbers; None for the runtime's usual one.
        accuracy: whether to score the files on the test images as well.
        layers: whether to time every layer too, in passes of their own.
        host: where the device is; None for this machine. A `Browser` says how the page of the device "browser" is
            served.
        assume_device: measure with the profile even if the machine contradicts it; the result says so.
        resume: continue an interrupted measurement, given the same options.
        widths: called with the pruned model's ONNX file, None where there is none, and the result; reports how
            its layers' widths use the device's steps, see `edgeprune.latency.utilization`.
        among: a name among several measurements at once, see `bench_fleet`: it is added to that of the file, and the
            folder is held by the caller.
        of_several: with ``resume``, for one of several measurements that are resumed together: one that is complete
            counts as it is, and one that was not begun begins.
        progress: called with ``(done, total, text)``, in rounds.

    Returns:
        The result, as written.

    Raises:
        BenchError: bad numbers, no such device, no exported files, a place that cannot be written (all before
            measuring), or a runner that failed. InUseError: another process works on the run.
    """
    subjects = subjects if isinstance(subjects, Subjects) else run_subjects(Path(subjects))
    models = files_of(subjects)
    _check_options(subjects, models, keeps=json_path is not None, resume=resume, layers=layers)
    host = Browser() if host is None and device == BROWSER else host
    transport, profile = reached(device, host, assume=assume_device)
    with ending(transport) as end:
        profile = measuring_with(profile, runtime, precision)
        options = BenchOptions(
            profile, batch=batch, threads=threads, seconds=seconds, sustained=sustained, cool_to=cool_to,
            host=host.name if host else None,
        )  # fmt: skip
        shapes, images = fed_by(subjects, models, batch)
        places = Places.of(subjects.folder, _label(profile, runtime, precision, among), json_path)
        with nullcontext() if subjects.folder is None or among else held(subjects.folder):
            if host:
                host.leave_profile(profile, transport)
            scored = accuracy and bool(subjects.data)
            if of_several and resume and (earlier := places.finished(options, scored=scored)) is not None:
                return earlier
            journal = places.journal(resume and (not of_several or places.begun))
            result = bench_models(
                models, shapes, options=replace(options, batch=images), transport=transport, save=places.saving,
                layers=layers, journal=journal, progress=progress, task=subjects.task,
                batches=subjects.test_batches if scored else None,
                why_no_score=subjects.why_no_score if accuracy else NOT_ASKED,
            )  # fmt: skip
            result = _completed(result, subjects, models, widths)
            places.publish(result, journal)
        end(result)
    return result


def _label(profile: Device, runtime: str | None, precision: str | None, among: str | None) -> str:
    """Return the name of a result: the device's, what it is called among several, and what is not the device's own."""
    return ".".join(filter(None, (profile.name, among, "-".join(filter(None, (runtime, precision))))))


def _check_options(subjects: Subjects, models: Files, *, keeps: bool, resume: bool, layers: bool) -> None:
    """Raise BenchError for what cannot be: layers of one model, or a measurement resumed that nothing keeps."""
    if resume and subjects.folder is None and not keeps:
        raise BenchError("nothing keeps the rounds to resume from: measure with `out` or a result file")
    if layers and len(models.names) < len(MODELS):
        raise BenchError("`layers` compares the layers of two models: name both")


def _completed(
    result: BenchResult, subjects: Subjects, models: Files, widths: WidthsOf | None
) -> BenchResult:
    """Return the result with what each model's file was made from, and with how its widths use the device."""
    origins = subjects.origins
    reports = {
        name: msgspec.structs.replace(model, origin=origins[name]) if name in origins else model
        for name, model in result.models.items()
    }
    result = msgspec.structs.replace(result, models=reports)
    if not subjects.is_run:
        result = msgspec.structs.replace(result, warnings=warnings_for(result, _source(subjects, models)))
    if widths is None:
        return result
    return msgspec.structs.replace(result, widths=widths(models.onnx(models.names[-1]), result))


def _source(subjects: Subjects, models: Files) -> str:
    """Return what `edgeprune prune` takes for the first model: as it was named, or its ONNX file in a folder."""
    origin = subjects.models[0].origin
    return shlex.quote(origin if not Path(origin).is_dir() else str(models.onnx(models.names[0]) or "FILE"))


@contextmanager
def ending(transport: Transport) -> Iterator[Callable[[BenchResult], None]]:
    """Yield a function that ends a device's part with the result; an error ends it, too.

    Args:
        transport: to the device; one that shows something there has ``close``.
    """
    end: Callable[[BenchResult | BaseException], None] = getattr(transport, "close", _ignore_progress)
    try:
        yield end
    except BaseException as error:
        end(error)
        raise


def reached(
    device: str | None, host: Host | Browser | None, *, assume: bool = False
) -> tuple[Transport, Device]:
    """Connect to the machine; return the transport, and the profile that ``device`` means there.

    Args:
        device: a profile's name, "jetson" or "auto"; None for "cpu" on this machine, and for "auto" on a
            host.
        host: where the machine is; None for this one.
        assume: use a profile that the machine contradicts.

    Raises:
        BenchError: it cannot be reached, or does not match the profile.
    """
    if host is None and device == BROWSER:
        raise BenchError(
            "a browser measures files alone, by edgeprune bench: name a device that has the runner, such as cpu"
        )
    name = host.device(device) if host else device or CPU
    transport = host.connect() if host else LocalTransport()
    return transport, find_device(name, transport, assume=assume)


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
    session, fingerprint, wished = probe_session(session)
    if layers:
        check_layers(session)
    with private_copies(session.files) as copies:
        session = replace(session, files=copies, originals=session.files)
        result = initial_result(session, fingerprint, wished)
        session, result = measure_speed(session, result, save, journal)
        result = with_denormals(result, copies)
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


def initial_result(session: Session, fingerprint: dict[str, Any], wished: str) -> BenchResult:
    """Make the result before the first round.

    Args:
        session: as `probe_session` returned it.
        fingerprint: of the machine.
        wished: the runtime that its profile prefers.
    """
    threads = session.options.threads or fingerprint.get("threads") or fingerprint["cores_physical"]
    return empty_result(session.options, fingerprint, threads, wished)


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


def files_of(models: Mapping[str, str | Path] | Files | Subjects) -> Files:
    """Return the files in one form.

    Raises:
        BenchError: a model is not named, its file is missing, or nothing was exported; names the command.
    """
    if isinstance(models, Subjects):
        if models.files is None:
            assert models.folder is not None
            return exported_files(models.folder)
        models = models.files
    return loose_files(models) if isinstance(models, Mapping) else models


def fed_by(subjects: Subjects, models: Files, batch: int) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shapes that a measurement feeds, where they are not the files' own, and the images in one call.

    Args:
        subjects: with the inputs that the user typed.
        models: their files.
        batch: images per call.

    Raises:
        BenchError: the files take different inputs, or an input's sizes are free and not typed.
    """
    if subjects.is_run:
        return {}, batch
    files = {path: onnx_inputs(path) for name in models.names if (path := models.onnx(name)) is not None}
    if not files:
        return {}, batch
    check_same_inputs(files)
    declared = merged([*files.values()])
    shapes, images = fed_shapes(declared, subjects.inputs, batch)
    own = {
        item.name: tuple(size or images for size in item.shape)
        for item in declared
        if None not in item.shape[1:]
    }
    return {name: shape for name, shape in shapes.items() if own.get(name) != shape}, images


def _ignore_progress(*_event: object) -> None:
    """Ignore progress: for a caller that does not show it."""
