"""Load a checkpoint into a model in place, without running any code of the file."""

from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgeprune.errors import WeightsError, printable
from edgeprune.models.checkpoint_files import SAVE, joined, read_checkpoint
from edgeprune.models.checkpoint_fit import COUNTER, Fit, Matcher, choose, elsewhere, where

SHOWN = 3  # names in a message
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # fp8 needs a scale, which files lack


def load_weights(model: nn.Module, path: str | Path, *, key: str | None = None, of_data: bool = True) -> None:
    """Copy the tensors of a checkpoint into ``model``; on error the model is as it was.

    The tensors are selected by the model's own names and shapes: they may be nested in dicts (``state_dict``,
    ``model``, ``net``), have prefixes of wrappers and trainers (``module.``, ``_orig_mod.``, ``model.``), and
    stand beside an optimizer's.

    Args:
        model: every parameter and buffer of it must be in the file, but for BatchNorm's step
            counters, which old checkpoints lack.
        path: a .safetensors file, or one saved by torch: .pt, .pth, .th, .ckpt, .bin, .pth.tar.
        key: where in the file the weights are, with dots between the keys of dicts ("state_dict_ema", "." for
            the file itself); needed if several sets of weights fit.
        of_data: whether the model has the classes of a data set, for messages; else somebody typed them, or nobody.

    Raises:
        WeightsError: the file is missing, truncated, of another format, a pickle of more than tensors, or of
            another model or class count; several sets of weights fit; or values are not finite or invalid.
    """
    path = Path(path)
    if key is not None:
        key = "" if key == "." else key.rstrip(".") or key
    own = _own_tensors(model)
    matcher = Matcher(own, _required(model, own), read_checkpoint(path))
    fit = choose(matcher, key)
    if fit is None:
        _refuse(model, matcher, matcher.nearest(key), of_data)
    weights = {name: matcher.holdings.tensors[stored] for name, stored in fit.names.items()}
    check_values(weights, own, path)
    _fill_tied(model, weights, path)
    model.load_state_dict(weights, strict=False)


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state by name; raises WeightsError if a part of it is not a tensor."""
    own = model.state_dict()
    for name, value in own.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"the model keeps a {type(value).__name__} in its state ({name}), which no file of weights is read "
                "for: load its weights in a factory of your own (`model=package.module:factory`)"
            )
    return own


def _required(model: nn.Module, own: dict[str, Tensor]) -> list[set[str]]:
    """Return groups of names, of which a file must have at least one each: tied tensors form a group."""
    groups: dict[int, set[str]] = {}
    shared = dict(model.named_parameters(remove_duplicate=False))
    for name in own:
        if not name.endswith(COUNTER):
            groups.setdefault(id(shared.get(name, own[name])), set()).add(name)
    return list(groups.values())


def check_values(weights: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that would break a model although their names and shapes fit.

    Args:
        weights: tensors of a file, by name.
        own: the model's tensors; names that it lacks are ignored.
        path: the file, for messages.

    Raises:
        WeightsError: a tensor is quantised, sparse, without values or of another kind than the model's;
            numbers are not finite, or variances are negative.
    """
    weights = {name: tensor for name, tensor in weights.items() if name in own}
    for name, tensor in weights.items():
        _check_kind(name, tensor, own[name], path)
    bad = {name: count for name, tensor in weights.items() if (count := _not_finite(tensor, own[name]))}
    if bad:
        raise WeightsError(
            f"{path} holds numbers that are not finite: {_counted(bad)}; was it saved as training diverged?"
        )
    negative = {
        name: int((tensor < 0).sum())
        for name, tensor in weights.items()
        if name.rpartition(".")[2] == "running_var" and bool((tensor < 0).any())
    }
    if negative:
        raise WeightsError(f"{path} holds negative variances: {_counted(negative)}; the file is damaged")


def _check_kind(name: str, tensor: Tensor, own: Tensor, path: Path) -> None:
    """Refuse a tensor of another kind than the model's; floats of another precision are rounded, as in torch."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized or kind.startswith("q"):
        problem, remedy = f"a quantised tensor ({kind})", "save the float model's state dict"
    elif tensor.is_meta:
        problem, remedy = "a tensor without values (meta)", "materialise the model before saving it"
    elif tensor.layout != torch.strided:
        problem, remedy = f"a sparse tensor ({tensor.layout})", "save it with .to_dense()"
    elif own.is_floating_point() and tensor.dtype not in FLOATS:
        problem, remedy = f"{kind}, where the model has {_dtype_name(own)}", "save it with .float()"
    elif _loses(name, tensor, own):
        problem, remedy = f"{kind}, where the model has {_dtype_name(own)}", "save it as the model has it"
    else:
        return
    raise WeightsError(f"{path}: {name} is {problem}: {remedy}")


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _loses(name: str, tensor: Tensor, own: Tensor) -> bool:
    """Return whether a cast to the model's kind would lose more than digits; BatchNorm's step counters are integers."""
    if own.is_floating_point() or name.endswith("num_batches_tracked"):
        return tensor.is_complex()
    fractions = tensor.is_floating_point() and not own.is_complex()
    return (
        fractions
        or tensor.is_complex() != own.is_complex()
        or (own.dtype == torch.bool) != (tensor.dtype == torch.bool)
    )


def _not_finite(tensor: Tensor, own: Tensor) -> int:
    """Count the numbers that are NaN or infinite in the model's dtype; where the model itself has -inf, none."""
    if is_lazy(own):  # it has no numbers yet, and keeps the file's dtype
        return tensor.numel() - int(torch.isfinite(tensor).sum())
    if not (own.is_floating_point() or own.is_complex()) or (
        own.numel() and not own.is_meta and not bool(torch.isfinite(own).all())
    ):
        return 0
    return tensor.numel() - int(torch.isfinite(tensor.to(own.dtype)).sum())


def _counted(tensors: dict[str, int]) -> str:
    first = ", ".join(f"{count} in {name}" for name, count in list(tensors.items())[:SHOWN])
    more = f" and in {len(tensors) - SHOWN} more tensors" if len(tensors) > SHOWN else ""
    return first + more


def _fill_tied(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Check that tied parameters are equal in the file: otherwise the last would silently win.

    Some writers store a tied parameter once; its other names are added to ``weights``.
    """
    first: dict[int, str] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name in [*filter(weights.__contains__, parameters), *parameters]:
        other = first.setdefault(id(parameters[name]), name)
        if not torch.equal(weights[other], weights.setdefault(name, weights[other])):
            raise WeightsError(f"{path}: {other} and {name} are one tensor in the model, and differ here")


def _refuse(model: nn.Module, matcher: Matcher, nearest: Fit, of_data: bool) -> NoReturn:
    """Raise an error that says why the tensors that match the model best do not fit it."""
    holdings = matcher.holdings
    if not nearest.names and holdings.unnamed:
        raise WeightsError(f"{holdings.path} has {holdings.unnamed[0]}: {SAVE}")
    missing = [
        name for group in matcher.required if not group & nearest.names.keys() for name in [min(group)]
    ]
    for name in missing:
        if (kind := holdings.others.get(joined(nearest.key, name))) is not None:
            raise WeightsError(
                f"{holdings.path} holds no tensors by name alone: {name!r} is a {kind}; {SAVE}"
            )
    if missing or nearest.extra:
        others = elsewhere(matcher)
        counts = [_listed(missing, "missing"), _listed(nearest.extra, "unexpected")]
        raise WeightsError(
            f"{where(matcher, nearest)} is of another model: {', '.join(filter(None, counts))}; is `model` right?"
            + (f" {others[0].upper()}{others[1:]}" if others else "")
        )
    _refuse_shapes(model, matcher, nearest, of_data)


def _listed(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > SHOWN else ""
    noun = "names" if len(names) > 1 else "name"
    return f"{len(names)} {noun} {what} ({', '.join(map(printable, names[:SHOWN]))}{more})"


def _refuse_shapes(model: nn.Module, matcher: Matcher, nearest: Fit, of_data: bool) -> NoReturn:
    """Raise an error that says which shapes differ, and what to do if only the classifier's do."""
    tensors = {
        name: matcher.holdings.tensors[nearest.names[name]] for name in matcher.own if name in nearest.names
    }
    shapes = {
        name: (tuple(tensor.shape), tuple(matcher.own[name].shape))
        for name, tensor in tensors.items()
        if not matcher.fits(name, tensor)
    }
    differ = [f"{name} is {stored}, not {own}" for name, (stored, own) in list(shapes.items())[:SHOWN]]
    more = f" and {len(shapes) - SHOWN} more" if len(shapes) > SHOWN else ""
    text, place = f"{', '.join(differ)}{more}", where(matcher, nearest)
    counts = _class_counts(model, shapes)
    if counts is None:
        raise WeightsError(
            f"{place} is of a model of other widths: {'; '.join(filter(None, (text, elsewhere(matcher))))}"
        )
    if not of_data:
        raise WeightsError(
            f"{place}: the weights have {counts[0]} classes, the model has {counts[1]} ({text}): say "
            f"`classes={counts[0]}`"
        )
    raise WeightsError(
        f"{place}: the weights have {counts[0]} classes, the data has {counts[1]} ({text}): give data of "
        f"{counts[0]} classes; or load all but {' and '.join(sorted({_layer(name) for name in shapes}))} in a factory "
        "of your own (`model=package.module:factory`) and leave `weights` out, and the baseline is trained from there"
    )


def _class_counts(
    model: nn.Module, shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
) -> tuple[int, int] | None:
    """Return (classes of the file, classes of the model) if only layers that give logits differ; else None."""
    layers = dict(model.named_modules())
    counts = {(stored[:1], own[:1]) for stored, own in shapes.values()}
    only_heads = all(
        isinstance(layers.get(_layer(name)), nn.Linear | nn.Conv2d) and stored[1:] == own[1:]
        for name, (stored, own) in shapes.items()
    )
    if not only_heads or len(counts) != 1:
        return None
    stored, own = next(iter(counts))
    return (stored[0], own[0]) if stored and own else None


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
