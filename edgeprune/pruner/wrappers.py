"""Networks inside of torch's wrappers; DistributedDataParallel follows a removal."""

from typing import Any

from torch import nn

from edgeprune.errors import TrainError
from edgeprune.graph.arguments import check_model


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside of torch's own wrappers, such as DistributedDataParallel or AveragedModel.

    Raises:
        ModelError: it is no module, or its parameters are sharded over processes.
    """
    check_model(model)
    inner = getattr(model, "module", None)
    return inner if type(model).__module__.startswith("torch.") and isinstance(inner, nn.Module) else model


class Parallel:
    """DistributedDataParallel around a network, if that is what the pruner was given."""

    def __init__(self, model: nn.Module) -> None:
        """Note the wrapper.

        Args:
            model: as the user gave it.

        Raises:
            TrainError: its processes are some of a larger group.
        """
        self.wrapper = model if isinstance(model, nn.parallel.DistributedDataParallel) else None
        if self.wrapper is not None:
            from torch.distributed import get_world_size

            if get_world_size(self.wrapper.process_group) != get_world_size():
                raise TrainError(
                    "the model is in a DistributedDataParallel over some of the processes, and a pruner needs all of "
                    "them: leave out its process_group"
                )

    def follow(self) -> None:
        """Let the wrapper average gradients of the sizes that parameters have now.

        It keeps gradients of all parameters in buckets, made when it was: this makes them anew, as unpickling does.
        The wrapper stays the user's object, with its options, hooks and communication hooks.
        """
        if self.wrapper is None:
            return
        hooks: list[tuple[Any, Any]] = [*getattr(self.wrapper, "_comm_hooks", ())]
        self.wrapper.__setstate__(self.wrapper.__getstate__())
        self.wrapper._comm_hooks = []
        for hook, state in hooks:
            self.wrapper.register_comm_hook(state, hook)
