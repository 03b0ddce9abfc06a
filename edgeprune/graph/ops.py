"""One name for each operation, whether it comes as function, method or operator."""

import operator
from typing import Any

import torch
import torch.fx as fx
import torch.nn.functional as F

from edgeprune.recording.record import CALL

_SPACES = (torch, F, operator, torch._C._nn, torch.special, torch.Tensor)

# Operators and in-place operators that mean the same as a torch function.
_SAME = {
    "truediv": "div",
    "itruediv": "div",
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "true_divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "view_as": "reshape_as",
    "matmul": "matmul",
    "silu_": "silu",
}

# Functional layers: their weights are read through get_attr nodes.
LAYER_FUNCTIONS = {
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "batch_norm",
    "instance_norm",
    "group_norm",
    "layer_norm",
    "prelu",
}


def _words(text: str) -> set[str]:
    return set(text.split())


def assign(target: Any, index: Any, value: Any) -> Any:
    """``target[index] = value`` as a function that gives the target."""
    target[index] = value
    return target


UNARY = _words(
    """
    relu relu6 gelu silu sigmoid tanh hardswish hardsigmoid hardtanh elu selu celu leaky_relu rrelu mish
    softplus softsign logsigmoid tanhshrink softshrink hardshrink threshold clamp clip clamp_min clamp_max
    abs neg exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos erf floor ceil round sign logit
    nan_to_num positive dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
    stochastic_depth float double half bfloat16 to type type_as detach data requires_grad cuda cpu zeros_like
    ones_like full_like rand_like logical_not bitwise_not alias ne eq gt lt ge le
    empty_like randn_like fill zero bernoulli uniform normal masked_fill copy
    """
)
BINARY = _words(
    """
    add sub mul div maximum minimum pow where lerp addcmul addcdiv fmod remainder floor_divide atan2 rsub ne
    eq gt lt ge le floordiv mod rdiv and or xor bitwise_and bitwise_or bitwise_xor logical_and logical_or logical_xor
    """
)
MOVERS = _words(
    """
    stack split chunk tensor_split split_with_sizes narrow flatten reshape view permute transpose squeeze
    unsqueeze index_select select unbind flip roll movedim tile repeat repeat_interleave getitem expand
    expand_as unflatten t T mT contiguous clone channel_shuffle pixel_unshuffle ravel numpy_T adjoint
    swapaxes reshape_as
    """
)
POOLS = _words(
    """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    lp_pool2d interpolate upsample upsample_nearest upsample_bilinear
    """
)
REDUCERS = _words("mean sum amax amin std var prod norm max min logsumexp median any all")
SOFTMAXES = {"softmax", "log_softmax", "softmin", "normalize", "cumsum", "cumprod"}
CREATORS = _words("new_zeros new_ones new_full new_empty new_tensor")
# They make a tensor from sizes alone, with all its channels alike.
CREATED = _words("zeros ones full empty rand randn new_zeros new_ones new_full new_empty")

# Weights computed by these alone may be cut along every axis.
ELEMENTWISE = _words(
    """
    add sub mul div neg abs tanh sigmoid exp clamp round float double half bfloat16 to type contiguous clone detach
    where maximum minimum softplus relu pow square sqrt dropout alias
    """
)

# Movers whose second tensor only gives a shape or a type; every other further tensor is an index.
LIKE = {"expand_as", "reshape_as", "type_as"}

# Plain values that come from a tensor's shape or type; a number that comes from its content is none of these.
QUESTIONS = _words(
    """
    getattr size dim ndimension numel nelement stride is_floating_point is_complex is_contiguous is_tensor
    element_size get_device storage_offset result_type is_same_size keys values items item
    """
)

# Their result may share memory with their first argument.
VIEWS = MOVERS - {"roll", "flip", "repeat", "tile", "repeat_interleave", "stack", "clone", "index_select"}
VIEWS |= {"detach", "dropout", "to", "float", "type", "glu"}

# Zero in, zero out: what an emptied branch without biases gives stays nothing.
ZERO_STAYS = _words(
    """
    relu relu6 gelu silu tanh hardswish elu selu celu leaky_relu rrelu mish softsign tanhshrink softshrink
    hardshrink neg abs square sqrt sin floor ceil round sign expm1 log1p erf dropout dropout1d dropout2d
    dropout3d stochastic_depth float double half to type detach contiguous clone permute transpose mean amax
    amin adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d identity droppath stochasticdepth adaptiveavgpool1d adaptiveavgpool2d
    adaptiveavgpool3d adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d leakyrelu prelu
    """
)


def _names() -> dict[Any, str]:
    table: dict[Any, str] = {}
    for space in reversed(_SPACES):
        for name in dir(space):
            function = getattr(space, name, None)
            if callable(function) and not name.startswith("__"):
                try:
                    table[function] = name
                except TypeError:
                    continue
    return table


_NAMES = _names()


def source_of(node: fx.Node) -> Any:
    """The first argument, by position or by the names torch gives it."""
    if node.args:
        return node.args[0]
    named = (node.kwargs[key] for key in ("input", "tensors", "self", "x") if key in node.kwargs)
    return next(named, next(iter(node.kwargs.values()), None))


def title(node: fx.Node) -> str:
    """What a person would call an operation that `op_name` does not know."""
    return op_name(node) or getattr(node.target, "__name__", None) or str(node.target)


def op_name(node: fx.Node) -> str:
    """Canonical name: 'add' for torch.add, x.add_, x + y and x += y; '' for a function we do not know."""
    site = node.meta.get(CALL)
    if site is not None:
        return site.op
    if node.op == "call_method":
        name = str(node.target)
    elif node.op == "call_function":
        try:
            name = _NAMES.get(node.target, "")
        except TypeError:
            return ""
        if node.target is getattr:
            return "getattr"
        if node.target is assign:
            return "setitem"
    else:
        return ""
    name = name if name.startswith("_") else name.rstrip("_")
    return _SAME.get(name, name)


def nodes_in(value: Any) -> list[fx.Node]:
    """Return every node among the arguments of a call, in order, as often as it is there."""
    nodes: list[fx.Node] = []

    def note(node: fx.Node) -> fx.Node:
        nodes.append(node)
        return node

    fx.node.map_arg(value, note)
    return nodes
