"""What was done to a network: kept on the network itself, so that it can be saved and pruned again."""

from typing import Any

import msgspec
import torch
from torch import Tensor, nn

HISTORY = "edgeprune_history"


class Input(msgspec.Struct):
    """One tensor of the example."""

    shape: tuple[int, ...]
    dtype: str


class History(msgspec.Struct):
    """The keep-plans that were carried out, in order, and the example they were made on.

    ``inputs`` is the example with an `Input` in place of each tensor.
    """

    inputs: list[Any]
    plans: list[dict[str, Any]]
    schema: int = 1


def remember(model: nn.Module, before: nn.Module, inputs: tuple[Any, ...], plan: dict[str, Any]) -> None:
    """Note on ``model`` that ``plan`` was carried out on ``before``."""
    earlier = history_of(before)
    plans = [*(earlier.plans if earlier else ()), plan]
    vars(model)[HISTORY] = History([_described(value) for value in inputs], plans)


def history_of(model: nn.Module) -> History | None:
    """Return what was done to ``model``; None where edgeprune did nothing."""
    history = vars(model).get(HISTORY)
    return history if isinstance(history, History) else None


def example_of(history: History, like: Tensor) -> tuple[Any, ...]:
    """Return inputs of the example's shapes: random numbers, zeros for integers, on the device of ``like``."""
    return tuple(_made(value, like) for value in history.inputs)


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, (tuple, list)):
        return [_described(item) for item in value]
    if isinstance(value, dict):
        return {"items": {str(key): _described(item) for key, item in value.items()}}
    return {"plain": value} if isinstance(value, (int, float, str, bool, type(None))) else {"plain": None}


def _made(value: Any, like: Tensor) -> Any:
    if isinstance(value, (tuple, list)):
        return [_made(item, like) for item in value]
    if "items" in value:
        return {key: _made(item, like) for key, item in value["items"].items()}
    if "plain" in value:
        return value["plain"]
    dtype = getattr(torch, value["dtype"], torch.float32)
    if not isinstance(dtype, torch.dtype):
        dtype = torch.float32
    if not dtype.is_floating_point:
        return torch.zeros(value["shape"], dtype=dtype, device=like.device)
    generator = torch.Generator().manual_seed(0)
    kind = like.dtype if like.is_floating_point() and dtype == torch.float32 else dtype
    return torch.randn(value["shape"], generator=generator).to(like.device, kind)
