"""A user's optimizer, kept consistent with its parameters when these become smaller."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgeprune.errors import TrainError
from edgeprune.processes.distributed import world

RATE, MOMENTUM = 0.01, 0.9  # for the pruner's own parameters, without an optimizer
STATES = ("slice", "reset")

Cutter = Callable[[str, Tensor], Tensor]


class OptimizerLink:
    """Connects a pruner to the user's optimizer: its steps, its learning rate, and its state after a removal.

    Args:
        optimizer: any of torch's kind, or a wrapper with that in its ``optimizer`` (as accelerate's); None for none.
        scaler: the loss's scaler under AMP, so that the pruner's own gradients are divided as the optimizer's are.
        model: whose parameters it trains.

    Attributes:
        rate: the learning rate of the first group at the last step.
        stepped: whether a step was taken since `next_step`; always True without an optimizer.

    Raises:
        TrainError: ``optimizer`` is not an optimizer, or holds none of the model's parameters.
    """

    def __init__(self, optimizer: Any, scaler: Any, model: nn.Module) -> None:
        while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = optimizer.optimizer
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TrainError(
                f"a torch.optim.Optimizer is wanted as optimizer, not {type(optimizer).__name__}"
            )
        self.optimizer: Optimizer | None = optimizer
        self.scaler = scaler
        self.check(model)
        self.rate = RATE if optimizer is None else float(optimizer.param_groups[0]["lr"])
        self.scale = 1.0
        self.stepped = optimizer is None
        self.steps = 0  # that it has taken
        self._hook = None if optimizer is None else optimizer.register_step_pre_hook(self._before_step)
        self.before_step: Callable[[], None] = lambda: None

    def check(self, model: nn.Module) -> None:
        """Raise TrainError where the optimizer trains none of the parameters that the model has now."""
        if self.optimizer is None:
            return
        held = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        if not any(id(parameter) in held for parameter in model.parameters()):
            raise TrainError(
                "the optimizer holds none of the model's parameters: make it from model.parameters() of the very "
                "model that is given to the pruner"
            )

    def check_steps(self, taken: int) -> None:
        """Raise TrainError where the loop has taken steps, but none with this optimizer: another one trains the model.

        Args:
            taken: steps of the pruner.
        """
        if self.optimizer is not None and taken and not self.steps:
            raise TrainError(
                f"step() was called {taken} times, but the optimizer that the pruner was given took no step: give the "
                "pruner the one that trains this model, and call optimizer.step() before"
            )

    def _before_step(self, *_: Any) -> None:
        assert self.optimizer is not None
        self.steps += 1
        self.rate, self.stepped = float(self.optimizer.param_groups[0]["lr"]), True
        self.scale = 1.0 if self.scaler is None else float(self.scaler.get_scale())
        self.before_step()

    def next_step(self) -> None:
        """Wait for the next step of the optimizer."""
        self.stepped = self.optimizer is None

    @property
    def momentum(self) -> float:
        """Return the momentum of its first group; 0 where it has none."""
        if self.optimizer is None:
            return MOMENTUM
        group = self.optimizer.param_groups[0]
        return float(group.get("momentum", 0.0))

    @property
    def planned_rate(self) -> float:
        """Return the rate that a schedule started from, or the one of now."""
        if self.optimizer is None:
            return RATE
        group = self.optimizer.param_groups[0]
        return max(float(group["lr"]), float(group.get("initial_lr", 0.0)))

    def another(self, parameters: list[nn.Parameter]) -> Optimizer | None:
        """Return an optimizer of the same kind and options for the pruner's own parameters; None for no parameters."""
        if not parameters:
            return None
        if self.optimizer is None:
            return torch.optim.SGD(parameters, lr=RATE, momentum=MOMENTUM, weight_decay=1e-4)
        kind, group = type(self.optimizer), self.optimizer.param_groups[0]
        taken = inspect.signature(kind).parameters
        options = {name: value for name, value in group.items() if name in taken and name != "params"}
        try:
            return kind(parameters, **options)
        except Exception:  # a custom class that needs other arguments than its groups have
            return torch.optim.SGD(parameters, lr=self.rate, momentum=MOMENTUM, weight_decay=1e-4)

    def update(self, own: Optimizer) -> None:
        """Take a step with the pruner's own optimizer at the user's learning rate, unless AMP skipped that step."""
        parameters = [parameter for group in own.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients and self.stepped:
            world().average(gradients)
        if self.scale != 1.0:
            for gradient in gradients:
                gradient.div_(self.scale)
        finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        if self.stepped and finite:
            for group in own.param_groups:
                group["lr"] = self.rate
            own.step()
        own.zero_grad(set_to_none=True)

    # --- after a removal ---------------------------------------------------------------------------

    def cut_states(
        self, named: Mapping[str, nn.Parameter], cut: Cutter
    ) -> "tuple[dict[int, Any], list[str]]":
        """Return every parameter's state after a removal, by the parameter's id; nothing is changed yet.

        Args:
            named: the parameters before, by name.
            cut: of (name, tensor shaped like that parameter).

        Returns:
            The states, and the names of parameters whose state cannot be cut and is reset.
        """
        states: dict[int, Any] = {}
        anew: list[str] = []
        if self.optimizer is None:
            return states, anew
        for name, parameter in named.items():
            state = self.optimizer.state.get(parameter)
            if not state:
                continue
            resized = cut(name, parameter.detach()).shape != parameter.shape
            cut_state = {key: _cut(value, name, parameter, cut) for key, value in state.items()}
            if resized and any(value is None and state[key] is not None for key, value in cut_state.items()):
                states[id(parameter)] = None
                anew.append(name)
            else:
                states[id(parameter)] = {
                    key: state[key] if value is None else value for key, value in cut_state.items()
                }
        return states, anew

    def put(self, states: Mapping[int, Any], before: Iterable[nn.Parameter], model: nn.Module) -> None:
        """Give the optimizer the states of `cut_states`, and the parameters that the model has now.

        Args:
            states: by a parameter's id; None resets one.
            before: the parameters that the model had.
            model: after the removal; parameters that are new in it join the first group.
        """
        if self.optimizer is None:
            return
        now = {id(parameter): parameter for parameter in model.parameters()}
        known = {id(parameter) for parameter in before}
        gone = known - set(now)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in gone:
                    self.optimizer.state.pop(parameter, None)
                elif id(parameter) in states:
                    self._give(parameter, states[id(parameter)])
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
        new = [parameter for number, parameter in now.items() if number not in known]
        self.optimizer.param_groups[0]["params"].extend(new)

    def _give(self, parameter: nn.Parameter, state: Any) -> None:
        assert self.optimizer is not None
        if state is None:
            self.optimizer.state.pop(parameter, None)
            return
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(
                    value
                )  # in the parameter's memory format
            self.optimizer.state[parameter][key] = value

    def close(self) -> None:
        """Detach from the optimizer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def _cut(value: Any, name: str, parameter: nn.Parameter, cut: Cutter) -> Any:
    """Return a part of a state after the cut: a tensor of the parameter's shape is cut, a number stays; else None."""
    if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape:
        return cut(name, value)
    if (
        value is None
        or isinstance(value, (int, float, bool, str))
        or (isinstance(value, Tensor) and not value.dim())
    ):
        return value
    return None
