"""Build the model that a source names, and what its forward is given: a saved network, a name, a factory, a run."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.flat import Example, example_of
from edgeprune.backends.inputs import ModelInput, parse_inputs
from edgeprune.errors import ModelError, WeightsError, known, one_line
from edgeprune.models import DETECTORS, build, check_name, is_cifar_sized
from edgeprune.records.trust import trusted_packages
from edgeprune.runs.run import Run
from edgeprune.runs.subject_options import SubjectOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

SAVED, ONNX, TORCHVISION = (".safetensors",), ".onnx", "torchvision:"
CIFAR, IMAGENET, DETECTION = (3, 32, 32), (3, 224, 224), (3, 320, 320)


def check_source(source: str, options: SubjectOptions) -> None:
    """Refuse a source that is no file and no model, before anything is built.

    Raises:
        WeightsError: a file is missing. ModelError: there is no such model, or an option has no effect on it.
    """
    if source.endswith(SAVED):
        if not Path(source).is_file():
            raise WeightsError(f"no such file: {source}; edgeprune.save writes one")
        if options.classes is not None:
            raise ModelError(f"{source} is a saved network, which has its classes: leave `classes` out")
    elif source.endswith(ONNX):
        raise ModelError(
            f"{source} is an ONNX file, which holds no torch network: name what it was exported from"
        )
    elif options.into is not None:
        raise ModelError(f"`into` is for saved networks (.safetensors), which {source} is not: leave it out")
    else:
        check_name(source)
    if options.inputs is not None and options.example is not None:
        raise ModelError("`inputs` and `example` both say what is fed: give one of them")


def weights_of(source: str, options: SubjectOptions) -> str | None:
    """Return the checkpoint of one model that is named; None where the source has weights of its own.

    Raises:
        ModelError: the model would have random weights, or weights are given more than once, or to a saved network.
    """
    weights, saved = options.weights or [], source.endswith(SAVED)
    if len(weights) > 1 or (weights and saved):
        raise ModelError(
            f"`weights` is of one model that is named, not of {source}: give it once, or leave it out"
        )
    makes_its_own = saved or (":" in source and not source.startswith(TORCHVISION))  # a factory may load some
    if not weights and not makes_its_own:
        raise ModelError(f"{source} alone has random weights, which say nothing: give `weights`")
    return weights[0] if weights else None


def load_source(source: str, options: SubjectOptions, weights: str | None = None) -> "nn.Module":
    """Build a model in evaluation mode.

    Args:
        source: a file of `edgeprune.save`, a model's name, or ``package.module:factory``.
        options: what was typed of it.
        weights: a checkpoint for a model by name.

    Raises:
        ModelError: it cannot be built. WeightsError: a file does not fit.
    """
    if source.endswith(SAVED):
        from edgeprune.saving.networks import load

        into = None if options.into is None else built(options.into, options)
        return load(Path(source), trusted_packages(), into).eval()
    model = built(source, options)
    if weights is not None:
        from edgeprune.models import load_weights

        load_weights(model, weights, of_data=False)
    return model.eval()


def built(name: str, options: SubjectOptions) -> "nn.Module":
    """Build a model by name, or by a factory, with random weights.

    Args:
        name: of the model, or ``package.module:factory``.
        options: what was typed of it.
    """
    shape = image_shape(name, options)
    classes = (10 if is_cifar_sized(name) else 1000) if options.classes is None else options.classes
    more: dict[str, Any] = {}
    if name.removeprefix(TORCHVISION) in DETECTORS:
        classes = 90 if options.classes is None else options.classes
        more["image_shape"] = shape[-2:]
    elif _is_torchvision_detector(name) or _is_segmenter(name):
        classes = 21 if options.classes is None else options.classes
    return build(name, num_classes=classes, in_channels=shape[0] if len(shape) == 3 else 3, **more)


def image_shape(name: str, options: SubjectOptions) -> tuple[int, ...]:
    """Return (C, H, W) of an image: of the first input that was typed, else the default of the model's family."""
    typed = parse_inputs(options.inputs or ())
    if typed:
        sizes = tuple(size for size in typed[0].shape if size is not None)
        return sizes if not typed[0].name else sizes[1:]
    if is_cifar_sized(name):
        return CIFAR
    return DETECTION if name.removeprefix(TORCHVISION) in DETECTORS else IMAGENET


def _is_torchvision_detector(name: str) -> bool:
    return name.startswith("torchvision:") and any(
        part in name for part in ("rcnn", "retinanet", "fcos", "ssd")
    )


def _is_segmenter(name: str) -> bool:
    return any(part in name for part in ("deeplabv3", "lraspp", "fcn_resnet"))


def example_for(model: "nn.Module", source: str, options: SubjectOptions) -> Example:
    """Return what a model's forward is given: what was typed, what its file says, or an image of its family's size.

    Args:
        model: built from the source.
        source: its file or name.
        options: what was typed of it.

    Raises:
        ModelError: an input is none of forward's, or the function cannot be called.
    """
    import torch

    if options.example is not None:
        return example_of(model, _called(options.example))
    typed = parse_inputs(options.inputs or ())
    if typed and (typed[0].name or len(typed) > 1):
        return _typed_example(model, typed)
    if typed:
        return Example((torch.randn(1, *(size or 1 for size in typed[0].shape)),))
    if source.endswith(SAVED):
        arguments = _saved_example(Path(source), model)
        if arguments is not None:
            return _named_simply(example_of(model, arguments))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, *image_shape(source, options), generator=generator)
    if _is_torchvision_detector(source) and source.removeprefix("torchvision:") not in DETECTORS:
        return Example(([image[0]],), ("image",))
    return Example((image,))


def _named_simply(example: Example) -> Example:
    """Return an example whose only tensor is called as the input of every other exported file."""
    return Example(example.arguments) if len(example.names) == 1 else example


def _typed_example(model: "nn.Module", typed: Sequence[ModelInput]) -> Example:
    """Return the example of inputs by forward's names.

    Raises:
        ModelError: one is none of forward's parameters, or a parameter without default is missing.
    """
    tensors = {item.name: _numbers(item) for item in typed}
    signature = inspect.signature(model.forward)
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return Example(tuple(tensors.values()), tuple(tensors))
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    for name in tensors:
        if name not in names:
            raise ModelError(f"`inputs`: {known('input', name, names)} (of {type(model).__name__}.forward)")
    try:
        bound = signature.bind(**tensors)
    except TypeError as error:
        raise ModelError(
            f"`inputs`: {type(model).__name__}.forward cannot be called with {', '.join(tensors)}: {one_line(error)}"
        ) from error
    last = max(names.index(name) for name in tensors)
    bound.apply_defaults()
    if bound.kwargs:
        raise ModelError(
            f"`inputs`: {type(model).__name__}.forward takes {next(iter(bound.kwargs))} by keyword alone: wrap it in "
            "a module whose forward takes its inputs in order"
        )
    order = [name for name in names[: last + 1] if name in tensors]
    return Example(bound.args[: last + 1], tuple(order))


def _numbers(item: ModelInput) -> "Tensor":
    import torch

    shape, dtype = [size or 1 for size in item.shape], getattr(torch, item.dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.ones(shape, dtype=dtype) if dtype is torch.bool else torch.zeros(shape, dtype=dtype)


def _saved_example(path: Path, model: "nn.Module") -> tuple[Any, ...] | None:
    """Return the inputs that a file's plans were made on; None where it has none."""
    import torch

    from edgeprune.files.tensors import read_tensor_file
    from edgeprune.records.saved import read_saved
    from edgeprune.rewrite.history import example_of as inputs_of
    from edgeprune.saving.networks import PLANS

    _, metadata = read_tensor_file(path)
    if PLANS not in metadata:
        return None
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    return inputs_of(read_saved(metadata[PLANS], path).steps[-1], like.detach())


def _called(function: str) -> tuple[Any, ...]:
    """Return forward's arguments from a function of the user's.

    Raises:
        ModelError: it cannot be imported or called, or returns nothing that is a tensor.
    """
    from edgeprune.models.factory import called
    from edgeprune.recording.values import tensors_of

    value = called(function)
    arguments = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not tensors_of(arguments):
        raise ModelError(
            f"{function} returned a {type(value).__name__}: it must return a tensor, or a tuple of them"
        )
    return arguments


def run_example(folder: Path) -> "tuple[nn.Module, tuple[Any, ...]]":
    """Return a run's unpruned model, and what its forward is given."""
    import torch

    run = Run.open(folder)
    return run.build(), (torch.zeros(1, *run.config["input_shape"]),)


def model_and_example(source: str, options: SubjectOptions) -> "tuple[nn.Module, tuple[Any, ...]]":
    """Return the model that a source names, and what its forward is given.

    Args:
        source: a run folder, a file of `edgeprune.save`, a model's name, or ``package.module:factory``.
        options: what was typed of it.

    Raises:
        ModelError: there is no such model, or an option has no effect on it.
    """
    if Path(source).is_dir():
        for name in options.typed:
            raise ModelError(f"{source} is a run folder, which defines it: leave `{name}` out")
        return run_example(Path(source))
    check_source(source, options)
    weights = options.weights or []
    if len(weights) > 1 or (weights and source.endswith(SAVED)):
        raise ModelError(
            f"`weights` is given {len(weights)} times for {source}: leave it out, or give it once"
        )
    model = load_source(source, options, weights[0] if weights else None)
    return model, example_for(model, source, options).arguments
