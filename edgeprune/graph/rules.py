"""Which rule each operation has. A new operation is one short rule, entered in a table here.

A rule takes the walk and the call (arguments already labels) and gives the labels of the result.
An operation without a rule protects the channels that reach it: nothing is broken silently.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph import mixers, movers, norms, pointwise
from edgeprune.graph.flow import Call, Flow, reason_unknown
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import (
    BINARY,
    CREATED,
    CREATORS,
    MOVERS,
    POOLS,
    QUESTIONS,
    REDUCERS,
    SOFTMAXES,
    UNARY,
    op_name,
    title,
)

Rule = Callable[[Flow, Call], Any]

_FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(REDUCERS, pointwise.reduce),
    **dict.fromkeys(SOFTMAXES, pointwise.softmax),
    **dict.fromkeys(POOLS, pointwise.spatial),
    **dict.fromkeys(MOVERS, movers.mover),
    **dict.fromkeys(UNARY | BINARY, pointwise.pointwise),
    **dict.fromkeys(CREATORS, pointwise.create),
    **{f"conv{t}{d}d": mixers.convolution for t in ("", "_transpose") for d in (1, 2, 3)},
    "linear": mixers.linear,
    "matmul": mixers.matmul,
    "bmm": mixers.matmul,
    "batch_norm": norms.batch_norm,
    "instance_norm": norms.instance_norm,
    "group_norm": norms.group_norm,
    "layer_norm": norms.layer_norm,
    "prelu": norms.prelu,
    "cat": movers.concatenate,
    "getattr": movers.getattr_view,
    "pixel_shuffle": movers.pixel_shuffle,
    "pad": movers.pad,
    "setitem": movers.assignment,
    "glu": pointwise.glu,
    "type_as": pointwise.passed,
    "_weight_norm": norms.weight_norm,
}

_POOLS = nn.modules.pooling
_PADS = nn.modules.padding

_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh),
    *(nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.RReLU, nn.Mish, nn.Softplus, nn.Softsign, nn.LogSigmoid),
    *(nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold, nn.Identity, nn.modules.dropout._DropoutNd),
)
_RESIZING = (
    *(nn.Upsample, _POOLS._MaxPoolNd, _POOLS._AvgPoolNd, _POOLS._LPPoolNd),
    *(_POOLS._AdaptiveAvgPoolNd, _POOLS._AdaptiveMaxPoolNd),
)
_PADDING = (_PADS._ConstantPadNd, _PADS._ReflectionPadNd, _PADS._ReplicationPadNd, _PADS._CircularPadNd)

_MODULES: dict[type[nn.Module], Rule] = {
    nn.Linear: mixers.linear,
    nn.modules.conv._ConvNd: mixers.convolution,
    nn.modules.batchnorm._BatchNorm: norms.batch_norm,
    nn.modules.instancenorm._InstanceNorm: norms.instance_norm,
    nn.GroupNorm: norms.group_norm,
    nn.LayerNorm: norms.layer_norm,
    nn.PReLU: norms.prelu,
    nn.GLU: pointwise.glu,
    nn.PixelShuffle: movers.pixel_shuffle,
    **dict.fromkeys((nn.Flatten, nn.PixelUnshuffle, nn.ChannelShuffle), movers.mover),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin), pointwise.softmax),
    **dict.fromkeys(_RESIZING, pointwise.spatial),
    **dict.fromkeys(_PADDING, movers.pad),
    **dict.fromkeys(_ELEMENTWISE, pointwise.passed),
}


def rule_for(call: Call) -> Rule:
    """The rule of a call, or `unknown`."""
    if call.module is not None:
        if type(call.module).__name__ in ("StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d"):
            return pointwise.passed
        return next((_MODULES[kind] for kind in type(call.module).__mro__ if kind in _MODULES), unknown)
    return _FUNCTIONS.get(call.op, unknown)


def has_rule(op: str) -> bool:
    """Whether an operation of this name has a rule."""
    return op in _FUNCTIONS or op == "getitem"


def unknown(flow: Flow, call: Call) -> Any:
    """No rule: protect everything that comes in."""
    return flow.stop(call, reason_unknown(call))


def apply_rule(flow: Flow, call: Call) -> Any:
    """Labels of one call's result; plain values (sizes, flags) come from the example."""
    call.op = op_name(call.node)
    if isinstance(call.node.target, type) and isinstance(call.value, tuple):  # a named tuple, a dataclass
        return (*call.args, *call.kwargs.values())
    if not tensors_in(call.value):
        if call.op not in QUESTIONS and tensors_in([call.args, call.kwargs]):
            flow.protect([call.args, call.kwargs], f"{title(call.node)} reads the content", call.node)
        return call.value
    if call.op in CREATED and isinstance(call.value, Tensor):
        return flow.created_channels(call.value)
    if not tensors_in([call.args, call.kwargs]):
        return lb.constants_like(call.value)
    if call.op == "getitem" and not isinstance(call.x, Tensor):
        return call.x[call.args[1]]
    return rule_for(call)(flow, call)
