"""The runner's command line: ``python -m edgeprune_target VERB`` or ``python edgeprune_target.pyz VERB``.

It prints JSON lines on standard output. The last is ``{"event": "result", "result": ...}`` with exit code 0,
or ``{"event": "error", "message": ...}`` with exit code 1; others are progress. A bug prints its
traceback on standard error and exits with 2 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, TextIO

from edgeprune_target import __version__
from edgeprune_target.errors import TargetError
from edgeprune_target.parent import end_with_parent
from edgeprune_target.totals import parse_total
from edgeprune_target.trt.options import EngineOptions

Emit = Callable[[dict], None]


def named_shape(text: str) -> tuple:
    """Parse ``input=1x3x32x32`` to ("input", (1, 3, 32, 32)); without a name it is the first input's, named ""."""
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape: write it as input=1x3x32x32")
    return name, shape


def total_argument(text: str) -> tuple:
    """Parse a total by ``parse_total``, with argparse's error."""
    try:
        return parse_total(text)
    except TargetError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs and their options."""
    top = argparse.ArgumentParser(
        prog="edgeprune_target",
        description="Measures a model on this machine. @FILE reads arguments from a file, one per line.",
        fromfile_prefix_chars="@",
    )
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True)
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument(
        "--sensors",
        default="none",
        help="tried in this order, comma-separated: ina3221+ina238,tegrastats,rapl,replay:FILE",
    )
    machine.add_argument(
        "--root", default="/", help="the folder used in place of / when reading /proc and /sys"
    )
    more = argparse.ArgumentParser(add_help=False)
    more.add_argument(
        "--runtime-file", action="append", default=[], help="Python code that registers further runtimes"
    )
    engine = argparse.ArgumentParser(add_help=False, parents=[more])
    engine.add_argument("--runtime", default="onnxruntime", help="as in onnxruntime or tensorrt")
    engine.add_argument("--threads", type=int, default=1)
    engine.add_argument("--batch", type=int, default=1)
    engine.add_argument(
        "--shape", type=named_shape, action="append", default=[], help="as in input=1x3x32x32"
    )
    engine.add_argument("--precision", default="fp16", help="of an engine that is built: fp32, fp16 or int8")
    engine.add_argument("--workspace-mb", type=int, help="memory that a kernel may use beside the tensors")
    engine.add_argument("--timing-cache", help="a file of kernel timings, read and written when building")
    engine.add_argument("--engines", help="the folder where engines are kept")
    engine.add_argument("--calibration", help=".npy of real images, for int8")
    model = argparse.ArgumentParser(add_help=False, parents=[engine])
    model.add_argument("--model", required=True, help="the model's file")
    verbs.add_parser("probe", parents=[machine, more], help="describe this machine and its state")
    verbs.add_parser(
        "sensors", parents=[machine], help="probe all of --sensors, not only the first available"
    )
    timing = verbs.add_parser("measure", parents=[machine, model], help="time one model for a while")
    timing.add_argument(
        "--seconds", type=float, default=1.0, help="of timed inference; loading and warm-up are extra"
    )
    timing.add_argument(
        "--cool-to", type=float, help="wait first until the warmest zone has cooled down to this, degrees C"
    )
    timing.add_argument(
        "--total",
        type=total_argument,
        action="append",
        default=[],
        help="rails of the total power, the first whose rails all answer: measured_input=VDD_IN or rail_sum=CPU+GPU",
    )
    verbs.add_parser("build", parents=[machine, model], help="build the engine, if the runtime needs one")
    layering = verbs.add_parser(
        "layers", parents=[machine, model], help="time every layer, in a separate pass"
    )
    layering.add_argument("--seconds", type=float, default=1.0, help="of the pass")
    small = verbs.add_parser("times", parents=[engine], help="time several small models in turn")
    small.add_argument("--models", nargs="+", required=True, help="the models' files")
    scoring = verbs.add_parser("accuracy", parents=[model], help="score a model on images in .npy files")
    scoring.add_argument("--images", required=True, help=".npy, float32, N x C x H x W, normalised")
    scoring.add_argument("--labels", required=True, help=".npy, integers: N labels, or N x H x W masks")
    scoring.add_argument("--scorer", default="classification", help="name of what is counted")
    return top


def do_probe(options: argparse.Namespace, _emit: Emit) -> dict:
    """Run the verb ``probe``."""
    from edgeprune_target.fingerprint import probe

    return probe(options.sensors.split(","), options.root)


def do_sensors(options: argparse.Namespace, _emit: Emit) -> list:
    """Run the verb ``sensors``."""
    from edgeprune_target.sensors import probe_all

    return probe_all(options.sensors.split(","), options.root)


def do_measure(options: argparse.Namespace, _emit: Emit) -> dict:
    """Run the verb ``measure``."""
    from edgeprune_target.measure import measure

    return measure(
        options.model,
        runtime=options.runtime,
        batch=options.batch,
        threads=options.threads,
        seconds=options.seconds,
        shapes=dict(options.shape),
        options=engine_options(options),
        sensors=options.sensors.split(","),
        totals=options.total,
        cool_to=options.cool_to,
        root=options.root,
    )


def do_accuracy(options: argparse.Namespace, emit: Emit) -> dict:
    """Run the verb ``accuracy``."""
    from edgeprune_target.accuracy import accuracy

    return accuracy(
        options.model,
        options.images,
        options.labels,
        scorer=options.scorer,
        runtime=options.runtime,
        batch=options.batch,
        threads=options.threads,
        options=engine_options(options),
        emit=emit,
    )


def missing(package: Any) -> str:
    """Return the message for a package that this Python does not have."""
    return (
        f"the Python {sys.executable} has no {package}: install it there, as in: "
        f"{os.path.basename(sys.executable)} -m pip install {package}"
    )


def do_build(options: argparse.Namespace, _emit: Emit) -> dict:
    """Run the verb ``build``."""
    from edgeprune_target.layering import build_if_needed

    return build_if_needed(
        options.model, runtime=options.runtime, threads=options.threads, options=engine_options(options)
    )


def do_layers(options: argparse.Namespace, _emit: Emit) -> dict:
    """Run the verb ``layers``."""
    from edgeprune_target.layering import layers

    return layers(
        options.model,
        runtime=options.runtime,
        batch=options.batch,
        threads=options.threads,
        seconds=options.seconds,
        options=engine_options(options),
    )


def do_times(options: argparse.Namespace, _emit: Emit) -> dict:
    """Run the verb ``times``."""
    from edgeprune_target.quiet import times

    return times(
        options.models,
        runtime=options.runtime,
        batch=options.batch,
        threads=options.threads,
        options=engine_options(options),
    )


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """Return the engine options of the command line."""
    return EngineOptions(
        precision=options.precision,
        batch=options.batch,
        shapes=dict(options.shape),
        workspace_mb=options.workspace_mb,
        timing_cache=options.timing_cache,
        folder=options.engines,
        calibration=options.calibration,
        root=getattr(options, "root", "/"),
    )


VERBS: dict = {
    "probe": do_probe,
    "sensors": do_sensors,
    "build": do_build,
    "measure": do_measure,
    "layers": do_layers,
    "times": do_times,
    "accuracy": do_accuracy,
}


def main(argv: list | None = None, out: TextIO | None = None) -> int:
    """Run one request and return the exit code; JSON lines go to ``out``."""
    target = out or sys.stdout

    def emit(event: dict) -> None:
        target.write(json.dumps(event) + "\n")
        target.flush()

    options = parser().parse_args(argv)
    try:
        if getattr(options, "runtime_file", []):
            from edgeprune_target.runtimes import load_file

            for path in options.runtime_file:
                load_file(path)
        result: Any = VERBS[options.verb](options, emit)
    except TargetError as error:
        emit({"event": "error", "message": str(error)})
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("edgeprune_target"):
            raise
        emit({"event": "error", "message": missing(error.name)})
        return 1
    emit({"event": "result", "result": result})
    return 0


def run() -> None:
    """Run one request as a process, for ``python -m`` and the .pyz, with only JSON lines on standard output.

    Native libraries may print to file descriptor 1, so it is redirected to standard error, and the JSON goes to a
    copy of the original.
    """
    end_with_parent()
    if any(word in ("-h", "--help", "--version") for word in sys.argv[1:]):
        sys.exit(main())
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        code = main(out=out)
    sys.exit(code)


if __name__ == "__main__":
    run()
