"""Rebuild the lists of weights that a recurrent layer keeps besides its hyperparameters and parameters."""

import weakref
from typing import Any

from torch import nn

from edgeprune.errors import ModelError

DERIVED = frozenset(["_flat_weights", "_flat_weights_names", "_flat_weight_refs", "_all_weights"])
_HYPERPARAMETERS = (
    "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
)  # fmt: skip


def revive(layer: nn.RNNBase, path: str) -> None:
    """Add to a layer that was built from its hyperparameters and parameters the lists that its forward reads.

    Args:
        layer: of the exact class nn.RNN, nn.LSTM or nn.GRU.
        path: its name, for the message.

    Raises:
        ModelError: its parameters do not match its hyperparameters.
    """
    values = {name: vars(layer).get(name) for name in _HYPERPARAMETERS}
    count = values["num_layers"]
    if isinstance(count, bool) or not isinstance(count, int) or count > len(layer._parameters):
        raise ModelError(f"layer {path} lacks parameters of its layers")
    fresh = _of(layer, values)
    expected = {name: value.shape for name, value in fresh.named_parameters()}
    own = {name: value.shape for name, value in layer._parameters.items() if value is not None}
    if own != expected or vars(layer).get("mode") != fresh.mode:
        name = next((n for n in (*expected, *own) if own.get(n) != expected.get(n)), "mode")
        raise ModelError(f"layer {path} has another {name} than its numbers ask for")
    layer._flat_weights_names = fresh._flat_weights_names
    layer._all_weights = fresh._all_weights
    layer._flat_weights = [layer._parameters[name] for name in fresh._flat_weights_names]
    layer._flat_weight_refs = [None if w is None else weakref.ref(w) for w in layer._flat_weights]
    layer.flatten_parameters()


def _of(layer: nn.RNNBase, values: dict[str, Any]) -> nn.RNNBase:
    """Build a layer of the same hyperparameters on the meta device."""
    kind = type(layer)
    if kind is not nn.LSTM and values.pop("proj_size") != 0:
        raise ModelError(f"a projection belongs to an LSTM, not to a {kind.__name__}")
    if kind is nn.RNN:
        nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}.get(str(vars(layer).get("mode")), "")
        values = {**values, "nonlinearity": nonlinearity}
    try:
        return kind(**values, device="meta")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{(str(error).splitlines() or [''])[0]}") from error
