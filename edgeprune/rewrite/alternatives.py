"""Methods that another package puts in the place of a module's forward when it exports the network."""

from types import MethodType

from torch import nn

# Ultralytics' exporter says ``m.forward = m.forward_split`` of its CSP blocks: the same computation, but it splits by a
# number of the module that its forward never reads, so that no run shows which number of channels it should be.
ALTERNATIVES = ("forward_split",)


def follow_forward(model: nn.Module, original: nn.Module) -> None:
    """Let such methods of the modules that were cut do what their forward does.

    Args:
        model: the cut network, changed in place.
        original: the network before the cut.
    """
    before = dict(original.named_modules(remove_duplicate=False))
    for name, module in model.named_modules(remove_duplicate=False):
        names = [method for method in ALTERNATIVES if hasattr(type(module), method)]
        if names and name in before and _shapes(module) != _shapes(before[name]):
            _set(module, names)


def take_alternatives(module: nn.Module, part: nn.Module) -> None:
    """Let the methods of a module follow its own forward where those of its cut copy do.

    Args:
        module: the user's.
        part: its cut copy, see `follow_forward`.
    """
    _set(module, [name for name in ALTERNATIVES if name in vars(part)])


def _set(module: nn.Module, names: list[str]) -> None:
    own = vars(module).get("forward")
    forward = MethodType(type(module).forward, module) if own is None else own
    for name in names:
        vars(module)[name] = forward


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in module.state_dict(keep_vars=True).values()]
