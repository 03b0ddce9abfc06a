"""Optimizer steps of a model: gradients of a scaled loss, momentum, the average of the weights."""

from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.training.average import Average
from edgeprune.training.callbacks import Callback
from edgeprune.training.options import TrainOptions


class ModelUpdater:
    """Updates one model.

    Attributes:
        optimizer: over the model's parameters.
        scaler: of the loss: fp16's range is small, so it is scaled up before the backward pass, and gradients down
            after it.
        average: of the weights; None without one.

    Args:
        model: on the device of the options.
        options: of the training.
        momentum: initial momentum by parameter name.
    """

    def __init__(self, model: nn.Module, options: TrainOptions, momentum: dict[str, Tensor]) -> None:
        self.model = model
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.nesterov and options.momentum > 0,
            weight_decay=options.weight_decay,
        )
        for name, parameter in model.named_parameters():
            if name in momentum:
                self._give_momentum(parameter, momentum[name])
        kind, fp16 = options.device.split(":")[0], options.precision == "fp16"
        self.scaler = torch.amp.GradScaler(kind, init_scale=2.0**10, enabled=fp16)
        self.average = Average(model, options.ema) if options.ema else None

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def clear(self) -> None:
        """Forget the gradients of the last update."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scaled loss."""
        self.scaler.scale(loss).backward()

    def update(self, callback: Callback, rate: float) -> None:
        """Take an optimizer step by the gradients.

        Args:
            callback: of the stage; its leaves have gradients, too.
            rate: the learning rate.
        """
        self.scaler.unscale_(self.optimizer)
        for leaf in callback.leaves():
            if leaf.grad is not None:
                leaf.grad /= self.scaler.get_scale()
        callback.before_update(rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()

    def momenta(self) -> dict[str, Tensor]:
        """Return the optimizer's momentum by parameter name, for parameters that have one."""
        state, named = self.optimizer.state, self.model.named_parameters()
        buffers = {name: state.get(p, {}).get("momentum_buffer") for name, p in named}
        return {name: value for name, value in buffers.items() if value is not None}

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds of the model, the momentum and the average."""
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for index, parameter in enumerate(self.model.parameters()):
            momentum = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum/{index}"] = momentum
        if self.average is not None:
            tensors.update({f"ema/{k}": v for k, v in self.average.tensors.items()})
        return tensors

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the tensors."""
        updates = 0 if self.average is None else self.average.taken
        return {"ema": updates, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Restore what `tensors` and `state` returned."""
        model = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.model.load_state_dict(model)
        for index, parameter in enumerate(self.model.parameters()):
            momentum = tensors.get(f"momentum/{index}")
            if momentum is not None:
                self._give_momentum(parameter, momentum)
        if self.average is not None:
            for name, held in self.average.tensors.items():
                held.copy_(tensors[f"ema/{name}"])
            self.average.taken = state["ema"]
        self.scaler.load_state_dict(state["scaler"])

    def _give_momentum(self, parameter: nn.Parameter, momentum: Tensor) -> None:
        buffer = torch.empty_like(parameter).copy_(momentum)
        self.optimizer.state[parameter]["momentum_buffer"] = buffer
