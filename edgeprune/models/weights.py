"""Loading a checkpoint into a model, in place, without ever running code that a file holds."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import WeightsError

TORCH_SUFFIXES = (".pt", ".pth", ".th")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts put it
SHOWN = 3  # names in a message
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # fp8 needs a scale that no file names


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy the tensors of a checkpoint into ``model``; on error the model is as it was.

    Args:
        model: every parameter and buffer of it must be in the file, but for BatchNorm's step
            counters, which old checkpoints lack.
        path: a .safetensors file, or a state dict saved by torch as .pt, .pth or .th.

    Raises:
        WeightsError: for a file that is missing, truncated, foreign, a pickle of more than tensors,
            of another model or class count, or with values that no model can compute with.
    """
    path = Path(path)
    weights = read_weights(path)
    own = model.state_dict()
    _check_names(own, weights, path)
    _check_shapes(model, own, weights, path)
    check_values(weights, own, path)
    _check_tied(model, weights, path)
    model.load_state_dict(weights, strict=False)


def check_values(weights: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that would spoil a model although their names and shapes fit.

    Args:
        weights: tensors of a file, by name.
        own: the model's; names that it lacks are passed over.
        path: the file, for messages.

    Raises:
        WeightsError: a tensor is not a dense one of plain numbers, or of another kind than the model's;
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
    """Refuse a tensor of another kind than the model's; floats of other widths are rounded, as always."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized or kind.startswith("q"):
        problem, remedy = f"a quantised tensor ({kind})", "save the float model's state dict"
    elif tensor.is_meta:
        problem, remedy = "a tensor without values (meta)", "materialise the model before saving it"
    elif tensor.layout != torch.strided:
        problem, remedy = f"a sparse tensor ({tensor.layout})", "save it with .to_dense()"
    elif own.is_floating_point() and tensor.dtype not in FLOATS:
        problem, remedy = f"{kind}, where the model has {_plain(own)}", "save it with .float()"
    elif _loses(name, tensor, own):
        problem, remedy = f"{kind}, where the model has {_plain(own)}", "save it as the model has it"
    else:
        return
    raise WeightsError(f"{path}: {name} is {problem}: {remedy}")


def _plain(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _loses(name: str, tensor: Tensor, own: Tensor) -> bool:
    """Whether a cast to the model's kind would lose more than digits; BatchNorm's step counters are whole."""
    if own.is_floating_point() or name.endswith("num_batches_tracked"):
        return tensor.is_complex()
    fractions = tensor.is_floating_point() and not own.is_complex()
    return (
        fractions
        or tensor.is_complex() != own.is_complex()
        or (own.dtype == torch.bool) != (tensor.dtype == torch.bool)
    )


def _not_finite(tensor: Tensor, own: Tensor) -> int:
    """Count the numbers that are NaN or infinite as the model will have them; masks of -inf are its own."""
    if not (own.is_floating_point() or own.is_complex()) or (
        own.numel() and not own.is_meta and not bool(torch.isfinite(own).all())
    ):
        return 0
    return tensor.numel() - int(torch.isfinite(tensor.to(own.dtype)).sum())


def _counted(tensors: dict[str, int]) -> str:
    first = ", ".join(f"{count} in {name}" for name, count in list(tensors.items())[:SHOWN])
    more = f" and in {len(tensors) - SHOWN} more tensors" if len(tensors) > SHOWN else ""
    return first + more


def _check_tied(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Parameters that are one in the model must be equal in the file, or the last would silently win."""
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name and not torch.equal(weights[other], weights[name]):
            raise WeightsError(f"{path}: {other} and {name} are one tensor in the model, and differ here")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers and ``module.`` prefixes."""
    if not path.exists():
        raise WeightsError(f"no such weights file: {path}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise WeightsError(f"{path} is {kind}: give the weights file itself")
    if path.suffix == ".safetensors":
        return _without_prefix(_read_safetensors(path))
    if path.suffix in TORCH_SUFFIXES:
        return _without_prefix(_state_dict(_read_torch(path), path))
    raise WeightsError(f"{path} is of no known kind: use .safetensors, or a state dict as .pt or .pth")


_SAVE = "save model.state_dict(), or {'state_dict': ...}"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no safetensors file, or a truncated one ({_brief(error)})") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the pickle protocol before it refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is a pickle of more than tensors, or no checkpoint at all; "
            "save model.state_dict() alone, best as .safetensors"
        ) from error
    except Exception as error:  # a cut zip gives RuntimeError, an empty file EOFError, and so on
        raise WeightsError(f"{path} is no torch checkpoint, or a truncated one ({_brief(error)})") from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no tensors by name: {_SAVE}")
    for name, value in content.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path} has {name!r} for a tensor's name, a {type(name).__name__}: {_SAVE}")
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise WeightsError(f"{path} holds no tensors by name alone: {name!r} is a {kind}; {_SAVE}")
    return dict(content)


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo the ``module.`` that nn.DataParallel puts before every name."""
    if not all(name.startswith("module.") for name in weights):
        return weights
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def _check_names(own: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        counts = [_listed(missing, "missing"), _listed(unexpected, "unexpected")]
        raise WeightsError(
            f"{path} is of another model: {', '.join(filter(None, counts))}; is --model right?"
        )


def _listed(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} names {what} ({', '.join(names[:SHOWN])}{more})"


def _check_shapes(model: nn.Module, own: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    wrong = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if not wrong:
        return
    head = _head(model)
    if all(name in (f"{head}.weight", f"{head}.bias") for name in wrong):
        there, here = weights[wrong[0]].shape, own[wrong[0]].shape
        if there[1:] == here[1:]:
            raise WeightsError(f"{path}: the weights have {there[0]} classes, the data has {here[0]}")
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(own[name].shape)}" for name in wrong[:SHOWN]
    ]
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    raise WeightsError(f"{path} is of a model of other widths: {', '.join(shapes)}{more}")


def _head(model: nn.Module) -> str | None:
    """Name of the last layer with weights, which gives the logits."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else None


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
