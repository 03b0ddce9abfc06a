"""Run a measurement: probe the machine, alternate rounds, score accuracy, write a file that is never partial."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec

from edgeprune.backends.base import MODELS
from edgeprune.backends.inputs import check_same_inputs, fed_shapes, merged, onnx_inputs
from edgeprune.backends.subjects import Subjects, run_subjects
from edgeprune.bench.browser import Browser
from edgeprune.bench.denormals import with_denormals
from edgeprune.bench.detect import find_device
from edgeprune.bench.files import Files, files_of, measuring_with
from edgeprune.bench.hosts import Host
from edgeprune.bench.local import LocalTransport, Transport
from edgeprune.bench.measuring import NOT_ASKED, bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.places import Places
from edgeprune.bench.warnings import warnings_for
from edgeprune.devices import BROWSER, CPU, Device
from edgeprune.errors import BenchError
from edgeprune.files.locks import held
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.bench import BenchResult, WidthsReport

WidthsOf = Callable[[Path | None, BenchResult], WidthsReport]


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
            journal = places.journal(resume, or_anew=of_several)
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
    result = with_denormals(msgspec.structs.replace(result, models=reports))
    source = None if subjects.is_run else _source(subjects, models)
    result = msgspec.structs.replace(result, warnings=warnings_for(result, source))
    if widths is None:
        return result
    return msgspec.structs.replace(result, widths=widths(models.onnx(models.names[-1]), result))


def _source(subjects: Subjects, models: Files) -> str:
    """Return what `edgeprune prune` takes for the first model: as it was named, or its ONNX file in a folder."""
    origin = subjects.models[0].origin
    named = shlex.quote(origin if not Path(origin).is_dir() else str(models.onnx(models.names[0]) or "FILE"))
    return f"{named} {subjects.inputs_words}".rstrip()


@contextmanager
def ending(transport: Transport) -> Iterator[Callable[[BenchResult], None]]:
    """Yield a function that ends a device's part with the result; an error ends it, too.

    Args:
        transport: to the device; one that shows something there has ``close``.
    """
    end: Callable[[BenchResult | BaseException], None] = getattr(transport, "close", lambda _: None)
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
