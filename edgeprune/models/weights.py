"""Loading a checkpoint into a model, in place, without ever running code that a file holds."""

import pickle
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgeprune.errors import WeightsError

TORCH_SUFFIXES = (".pt", ".pth", ".th")
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts put it
SHOWN = 3  # names in a message


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy the tensors of a checkpoint into ``model``; on error the model is as it was.

    Args:
        model: every parameter and buffer of it must be in the file, but for BatchNorm's step
            counters, which old checkpoints lack.
        path: a .safetensors file, or a state dict saved by torch as .pt, .pth or .th.

    Raises:
        WeightsError: for a file that is missing, truncated, foreign, a pickle of more than tensors,
            or of another model or class count.
    """
    path = Path(path)
    weights = read_weights(path)
    own = model.state_dict()
    _check_names(own, weights, path)
    _check_shapes(model, own, weights, path)
    model.load_state_dict(weights, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers and ``module.`` prefixes."""
    if not path.exists():
        raise WeightsError(f"no such weights file: {path}")
    if not path.is_file():
        raise WeightsError(f"{path} is a folder: give the weights file itself")
    if path.suffix == ".safetensors":
        return _without_prefix(_read_safetensors(path))
    if path.suffix in TORCH_SUFFIXES:
        return _without_prefix(_state_dict(_read_torch(path), path))
    raise WeightsError(f"{path} is of no known kind: use .safetensors, or a state dict as .pt or .pth")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no safetensors file, or a truncated one ({_brief(error)})") from error


def _read_torch(path: Path) -> Any:
    import torch

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
    tensors = isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values())
    if not tensors or not content:
        raise WeightsError(
            f"{path} holds no tensors by name: save model.state_dict(), or {{'state_dict': ...}}"
        )
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
