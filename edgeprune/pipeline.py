"""train-prune: baseline, pruning, fine-tuning, one look at the test images; resumable at any point."""

import contextlib
import hashlib
import platform
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune import training
from edgeprune.budget import TOLERANCE, Target, select
from edgeprune.compaction import compact
from edgeprune.data import DataBundle, load_data
from edgeprune.errors import ModelError, RunError, TrainError, WeightsError
from edgeprune.files import explained, write_json
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.scale import restore_scale
from edgeprune.models import build, load_weights
from edgeprune.recipe import TrainPruneOptions, check_choices, dashed, resolve
from edgeprune.runs import Run
from edgeprune.training import Progress, Stage, TrainOptions


@dataclass
class Pipeline:
    """The stages of one run. ``progress(stage share...)`` and ``stop`` come from whoever calls."""

    run: Run
    data: DataBundle
    options: TrainPruneOptions
    progress: Progress
    stop: Callable[[], bool]
    scalars: Callable[[str, float, int], None]

    def execute(self) -> dict[str, Any]:
        """Every stage that is not done yet; returns the summary."""
        if not self.run.has("baseline.safetensors"):
            if self.options.weights:
                self._given_baseline()
            else:
                self._baseline()
        if not self.run.has("settled.safetensors"):
            self._prune()
        if not self.run.has("pruned.safetensors"):
            self._finetune()
        summary = self._judge()
        write_json(self.run.path / "summary.json", summary)
        self.run.drop_checkpoint()
        return summary

    def _train_options(self, lr: float, schedule: str) -> TrainOptions:
        o = self.options
        return TrainOptions(
            batch_size=o.batch_size or 128,
            lr=lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            schedule=schedule,
            precision=o.precision,
            device=o.device,
            seed=o.seed,
        )

    def _stage(self, name: str, model: nn.Module, options: TrainOptions, steps: int, **more: Any) -> Stage:
        return Stage(
            name, model, self.data, options, steps, run=self.run, progress=self.progress, stop=self.stop,
            scalars=self.scalars, **more,
        )  # fmt: skip

    def _steps(self, epochs: int | None) -> int:
        return self.data.steps(self.options.batch_size or 1) * (epochs or 0)

    def _given_baseline(self) -> None:
        """The run was killed before the given weights were copied into it."""
        path = self.options.weights or ""
        model = self.run.build()
        load_weights(model, path)
        if _sha256(path) != self.run.config["weights_sha256"]:
            raise WeightsError(f"{path} has changed since this run began: restore it, or start the run anew")
        self.run.save_tensors("baseline", model.state_dict())

    def _baseline(self) -> None:
        torch.manual_seed(self.options.seed)
        model = self.run.build()
        options = replace(
            self._train_options(self.options.baseline_lr or 0.1, "cosine"),
            nesterov=True,
            weight_decay=max(self.options.weight_decay, 5e-4),  # from scratch: the field's usual decay
        )
        stage = self._stage("baseline", model, options, self._steps(self.options.baseline_epochs))
        stage.train()
        self.run.save_tensors("baseline", model.state_dict())

    def _prune(self) -> None:
        o = self.options
        torch.manual_seed(o.seed + 1)
        baseline = self.run.load("baseline")
        analyser = OutputAnalyser(
            baseline,
            torch.zeros(1, *self.data.shape),
            max_iter=o.prune_iterations or 1,
            offset=o.offset,
            images=o.mask_images,
            floor=o.floor,
            autocast=training.PRECISIONS[o.precision],
        )
        target = Target.parse(o.target)
        phase = PruningPhase(analyser, target, self.run)
        whole = self._steps(o.epochs)
        stage = self._stage(
            "prune",
            analyser,
            self._train_options(o.lr or 0.01, o.schedule or "thesis"),
            o.prune_iterations or 1,
            span=(0, whole),
            extra=phase,
            recalibrate_for_evaluation=True,
        )
        stage.train()
        analyser.cpu()
        plan = analyser.settle(None if phase.manual else target, align=o.align)
        if phase.manual:
            note = f"steered by hand to the end: the masks are as they came out, {target} was not enforced"
            plan = replace(plan, notes=(*plan.notes, note))
        done = analyser.finish(plan)
        restore_scale(done.model, baseline.state_dict())
        training.recalibrate(done.model, self.data, batch_size=o.batch_size or 128)
        self.run.save_plan(done.plan.to_dict(analyser.graph))
        self.run.save_tensors("settled", done.model.state_dict())

    def _finetune(self) -> None:
        o = self.options
        model = self.run.load("settled")
        before, whole = o.prune_iterations or 0, self._steps(o.epochs)
        options = self._train_options(o.lr or 0.01, o.schedule or "thesis")
        stage = self._stage("finetune", model, options, whole - before, span=(before, whole))
        stage.train()
        model.cpu()
        training.recalibrate(model, self.data, batch_size=o.batch_size or 128)
        self.run.save_tensors("pruned", model.state_dict())

    def _judge(self) -> dict[str, Any]:
        """The only look at the test images."""
        self.progress(0, 1, "test images")
        models = {which: self.run.load(which) for which in ("baseline", "settled", "pruned")}
        records = {which: self._record(which, model) for which, model in models.items()}
        base, pruned = records["baseline"], records["pruned"]
        target = Target.parse(self.options.target)
        got = {k: pruned[k] / base[k] for k in ("params", "flops")}
        return {
            "schema": 1,
            "target": {"kind": target.kind, "fraction": target.fraction, "got_fraction": got[target.kind]},
            "params_fraction": got["params"],
            "flops_fraction": got["flops"],
            "accuracy_drop": base["accuracy"] - pruned["accuracy"],
            "models": records,
            "notes": [*self.run.plan()[1].notes, *_missed(target, got[target.kind]), *self.data.notes],
        }

    def _record(self, which: str, model: nn.Module) -> dict[str, Any]:
        example, device = torch.zeros(1, *self.data.shape), self.options.device
        return {
            "accuracy": training.accuracy(model.to(device), self.data.batches("test"), device),
            "test_images": self.data.sizes["test"],
            "params": sum(p.numel() for p in model.parameters()),
            "flops": flops_of(model.cpu(), example),
            "size_bytes": (self.run.path / f"{which}.safetensors").stat().st_size,
        }


def _missed(target: Target, got: float) -> list[str]:
    if abs(got / target.fraction - 1) <= TOLERANCE:
        return []
    return [f"{target} was asked, {got:.3f} of the {target.kind} remains"]


def flops_of(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of one forward pass, as fvcore counts them (batch included)."""
    import logging

    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model.eval(), example)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    return int(analysis.total())


# --- entry -------------------------------------------------------------------------------------------


def train_prune(
    out: str | Path,
    options: TrainPruneOptions | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = lambda done, total, text: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Train (unless weights are given), prune, fine-tune and judge a model; leaves a run folder.

    Args:
        out: the run folder.
        options: what to do. With ``resume``, the run's own stand, and these are not looked at.
        resume: go on where an interrupted run stopped.
        force: replace a run of that name.
        progress: called with (done, total, text).

    Returns:
        The summary, as in summary.json.

    Raises:
        EdgePruneError: any mistake in the input; nothing is written before all of it is checked.
        Interrupted: Ctrl-C; a checkpoint is left.
    """
    if resume:
        run = Run.open(out)
        options = _stored_options(run)
        if run.has("summary.json"):
            return run.summary()
        run.sweep()
        data = run.data()
    else:
        run, data, options = _begin(Path(out), options or TrainPruneOptions(), force, progress)
    with _scalar_writer(run) as scalars, stop_on_interrupt() as stop:
        return Pipeline(run, data, options, progress, stop, scalars).execute()


def _begin(
    out: Path, options: TrainPruneOptions, force: bool, progress: Progress
) -> tuple[Run, DataBundle, TrainPruneOptions]:
    """Check everything, then make the folder."""
    Run.check_free(out, force=force)
    _check_names(options)
    data = load_data(
        options.data, root=options.data_root, download=options.download, image_size=options.image_size,
        val_fraction=options.val_fraction, seed=options.seed, progress=progress,
    )  # fmt: skip
    options = resolve(options, data)
    args: dict[str, Any] = {"num_classes": len(data.classes), "in_channels": data.shape[0]}
    torch.manual_seed(options.seed)
    model = build(options.model, **args)
    if options.weights:
        load_weights(model, options.weights)
    _check_logits(model, data, options)
    _check_reachable(model, data, options)
    run = Run.create(out, _config(options, data, args), force=force)
    if options.weights:
        run.save_tensors("baseline", model.state_dict())
    return run, data, options


def _check_names(options: TrainPruneOptions) -> None:
    """What can be known to be wrong before any data is read."""
    check_choices(options)
    if ":" not in options.model:  # a factory may refuse a made-up number of classes
        build(options.model, num_classes=10)
    if options.weights:
        for name in ("baseline_epochs", "baseline_lr"):
            if getattr(options, name) is not None:
                raise TrainError(
                    f"--{dashed(name)} and --weights exclude each other: the weights are the baseline"
                )


def _check_logits(model: nn.Module, data: DataBundle, options: TrainPruneOptions) -> None:
    """The model must give one logit for each class of the data."""
    mode = model.training
    with torch.no_grad():
        try:
            out = model.eval()(torch.zeros(2, *data.shape))
        except Exception as error:  # the user's own code
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ModelError(
                f"{options.model} does not run on images of shape {data.shape}: {why}"
            ) from error
    model.train(mode)
    if not isinstance(out, torch.Tensor) or out.shape != (2, len(data.classes)):
        got = tuple(out.shape[1:]) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ModelError(
            f"{options.model} gives {got} for an image, the data has {len(data.classes)} classes: "
            "it must return logits of shape (N, num_classes)"
        )


def _check_reachable(model: nn.Module, data: DataBundle, options: TrainPruneOptions) -> None:
    """Try the whole way, with made-up scores, before hours go into training."""
    graph = OutputAnalyser(model, torch.zeros(1, *data.shape)).graph
    scores = np.arange(graph.classes, dtype=float)
    compact(graph, select(graph, scores, options.target, align=options.align, floor=options.floor))


def _config(options: TrainPruneOptions, data: DataBundle, args: dict[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    packages = ("edgeprune", "torch", "torchvision", "numpy")
    return {
        "options": asdict(options),
        "model": {"factory": options.model, "args": args},
        "data_spec": data.spec(),
        "input_shape": list(data.shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "weights_sha256": _sha256(options.weights) if options.weights else None,
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
    }


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_same_options(run_path: str | Path, given: dict[str, Any]) -> None:
    """With --resume, options that were given must be those the run was started with."""
    stored = asdict(_stored_options(Run.open(run_path)))
    for name, value in given.items():
        if name in stored and value != "auto" and not _same(name, stored[name], value):
            raise RunError(
                f"this run was started with {name}={stored[name]}, not {value}: leave --{dashed(name)} out, "
                "or start another run"
            )


def _same(name: str, stored: Any, given: Any) -> bool:
    return bool(Target.parse(stored) == Target.parse(given) if name == "target" else stored == given)


def _stored_options(run: Run) -> TrainPruneOptions:
    try:
        return TrainPruneOptions(**run.config["options"])
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{run.path} was made by another version of edgeprune ({error}): start another run"
        ) from error


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks for a stop after the current step; the second is Python's own."""
    asked = False

    def ask(signum: int, frame: Any) -> None:  # noqa: ARG001
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not the main thread: whoever runs us handles signals
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _scalar_writer(run: Run) -> Iterator[Callable[[str, float, int], None]]:
    """TensorBoard events under the run; a viewer shows the latest where a resumed run repeats steps."""
    from torch.utils.tensorboard import SummaryWriter

    place = run.path / "tensorboard"
    with explained(place):
        writer = SummaryWriter(str(place))

    def add(tag: str, value: float, step: int) -> None:
        with explained(place):
            writer.add_scalar(tag, value, step)

    try:
        yield add
    finally:
        with explained(place):
            writer.close()
