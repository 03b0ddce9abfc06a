"""The table of operations, and the step of a walk that looks into it. A new operation is one record.

An operation that is not in it protects the channels that reach it: nothing is broken silently.
"""

from typing import Any

from torch import Tensor, nn

from edgeprune.errors import one_line
from edgeprune.graph import labels as lb
from edgeprune.graph import mixers, movers, norms, pointwise
from edgeprune.graph.call import Call, reason_unknown
from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import OPS, OpSpec, op_name, register_op, spec_of, title
from edgeprune.recording.opaque import FLOPS, OPAQUE, WHY

_POOLS = nn.modules.pooling
_PADS = nn.modules.padding


def _enter(names: str, rule: Any, **facts: Any) -> None:
    """Enter operations of which the same is known."""
    layers = facts.pop("layers", {})
    for name in names.split():
        register_op(OpSpec(name, rule, layers.get(name, ()), **facts))


# --- one element at a time ---------------------------------------------------------------------------

_ACTIVATIONS = {
    "relu": (nn.ReLU,), "relu6": (nn.ReLU6,), "gelu": (nn.GELU,), "silu": (nn.SiLU,), "tanh": (nn.Tanh,),
    "hardswish": (nn.Hardswish,), "elu": (nn.ELU,), "selu": (nn.SELU,), "celu": (nn.CELU,), "mish": (nn.Mish,),
    "leaky_relu": (nn.LeakyReLU,), "softsign": (nn.Softsign,), "tanhshrink": (nn.Tanhshrink,),
    "softshrink": (nn.Softshrink,), "hardshrink": (nn.Hardshrink,), "sigmoid": (nn.Sigmoid,),
    "hardsigmoid": (nn.Hardsigmoid,), "hardtanh": (nn.Hardtanh,), "softplus": (nn.Softplus,),
    "logsigmoid": (nn.LogSigmoid,), "threshold": (nn.Threshold,), "rrelu": (nn.RReLU,),
    "dropout": (nn.Dropout,), "dropout1d": (nn.Dropout1d,), "dropout2d": (nn.Dropout2d,),
    "dropout3d": (nn.Dropout3d,), "alpha_dropout": (nn.AlphaDropout,),
    "feature_alpha_dropout": (nn.FeatureAlphaDropout,),
    "stochastic_depth": ("StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d"),
}  # fmt: skip


def _elementwise(names: str, **facts: Any) -> None:
    _enter(names, pointwise.pointwise, elementwise=True, layers=_ACTIVATIONS, **facts)


_elementwise(
    """
    relu6 gelu silu hardswish elu selu celu leaky_relu mish softsign tanhshrink softshrink hardshrink sin floor
    ceil sign expm1 log1p erf stochastic_depth
    """,
    keeps_zero=True,
)
_elementwise("relu tanh neg abs square sqrt round double half", keeps_zero=True, computes_weights=True)
_elementwise("float to type", keeps_zero=True, views=True, computes_weights=True)
_elementwise("detach", keeps_zero=True, views=True, free=True, computes_weights=True)
_elementwise("dropout", keeps_zero=True, views=True, free=True, computes_weights=True, random=True)
_elementwise("dropout1d dropout2d dropout3d rrelu", keeps_zero=True, random=True)
_elementwise("sigmoid softplus exp clamp maximum minimum pow where bfloat16", computes_weights=True)
_elementwise("add sub div mul", computes_weights=True, arithmetic=True)
_elementwise("alias", free=True, computes_weights=True)
_elementwise("alpha_dropout feature_alpha_dropout bernoulli uniform normal rand_like randn_like", random=True)
_elementwise(
    """
    hardsigmoid hardtanh logsigmoid threshold clip clamp_min clamp_max log log2 rsqrt reciprocal cos logit
    nan_to_num positive data requires_grad cuda cpu zeros_like ones_like full_like empty_like fill zero
    masked_fill copy logical_not bitwise_not lerp addcmul addcdiv fmod remainder floor_divide atan2 rsub ne eq gt
    lt ge le floordiv mod rdiv and or xor bitwise_and bitwise_or bitwise_xor logical_and logical_or logical_xor
    """
)
register_op(
    OpSpec("identity", pointwise.passed, (nn.Identity,), elementwise=True, keeps_zero=True, free=True)
)
register_op(OpSpec("type_as", pointwise.passed, elementwise=True, shape_only=True))
register_op(OpSpec("glu", pointwise.glu, (nn.GLU,), views=True))

# --- layers ------------------------------------------------------------------------------------------

_CONVOLUTIONS = {
    "conv1d": (nn.Conv1d,), "conv2d": (nn.Conv2d,), "conv3d": (nn.Conv3d,),
    "conv_transpose1d": (nn.ConvTranspose1d,), "conv_transpose2d": (nn.ConvTranspose2d,),
    "conv_transpose3d": (nn.ConvTranspose3d,),
}  # fmt: skip
for _name, _layers in _CONVOLUTIONS.items():
    _axis = 1 if "transpose" in _name else 0
    register_op(OpSpec(_name, mixers.convolution, _layers, has_weights=True, output_axis=_axis))
register_op(OpSpec("linear", mixers.linear, (nn.Linear,), has_weights=True, output_axis=0))
_enter("matmul bmm", mixers.matmul)
register_op(
    OpSpec(
        "batch_norm", norms.batch_norm, (nn.modules.batchnorm._BatchNorm,), has_weights=True, folds=True,
        overwrites=True, scales_channels=True,
    )
)  # fmt: skip
register_op(
    OpSpec(
        "instance_norm", norms.instance_norm, (nn.modules.instancenorm._InstanceNorm,), has_weights=True,
        takes_statistics=True, scales_channels=True,
    )
)  # fmt: skip
register_op(
    OpSpec(
        "group_norm",
        norms.group_norm,
        (nn.GroupNorm,),
        has_weights=True,
        takes_statistics=True,
        scales_channels=True,
    )
)
register_op(OpSpec("layer_norm", norms.layer_norm, (nn.LayerNorm,), has_weights=True, takes_statistics=True))
register_op(OpSpec("prelu", norms.prelu, (nn.PReLU,), has_weights=True, keeps_zero=True, folds=True))
register_op(OpSpec("_weight_norm", norms.weight_norm))

# --- positions ---------------------------------------------------------------------------------------

_enter("max_pool1d max_pool2d max_pool3d", pointwise.spatial, layers={"max_pool2d": (_POOLS._MaxPoolNd,)})
_enter("avg_pool1d avg_pool2d avg_pool3d", pointwise.spatial, layers={"avg_pool2d": (_POOLS._AvgPoolNd,)})
_enter("lp_pool2d", pointwise.spatial, layers={"lp_pool2d": (_POOLS._LPPoolNd,)})
_enter(
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d",
    pointwise.spatial,
    keeps_zero=True,
    folds=True,
    layers={
        "adaptive_avg_pool2d": (_POOLS._AdaptiveAvgPoolNd,),
        "adaptive_max_pool2d": (_POOLS._AdaptiveMaxPoolNd,),
    },
)
_enter(
    "interpolate upsample upsample_nearest upsample_bilinear",
    pointwise.spatial,
    layers={"interpolate": (nn.Upsample,)},
)
_enter("roi_align roi_pool", pointwise.spatial, keeps_zero=True)  # boxes of maps, channel by channel
_enter("amax amin mean", pointwise.reduce, keeps_zero=True)
_enter("sum std var prod norm max min logsumexp median any all", pointwise.reduce)
_enter(
    "softmax log_softmax softmin normalize cumsum cumprod",
    pointwise.softmax,
    layers={"softmax": (nn.Softmax,), "log_softmax": (nn.LogSoftmax,), "softmin": (nn.Softmin,)},
)

# --- moves -------------------------------------------------------------------------------------------

_MOVING_LAYERS = {
    "flatten": (nn.Flatten,), "unflatten": (nn.Unflatten,), "pixel_unshuffle": (nn.PixelUnshuffle,),
    "channel_shuffle": (nn.ChannelShuffle,),
}  # fmt: skip


def _moves(names: str, **facts: Any) -> None:
    _enter(names, movers.mover, layers=_MOVING_LAYERS, **facts)


_moves("view reshape", views=True, free=True, sizes_from=1)
_moves("expand", views=True, sizes_from=1)
_moves("unflatten", views=True, free=True, sizes_from=2)
_moves("chunk split", views=True, free=True, splits=True)
_moves("split_with_sizes tensor_split", views=True, splits=True)
_moves("flatten getitem squeeze unsqueeze unbind", views=True, free=True)
_moves("expand_as reshape_as", views=True, shape_only=True)
_moves(
    "T adjoint channel_shuffle mT movedim narrow numpy_T pixel_unshuffle ravel select swapaxes t", views=True
)
_moves("permute transpose", views=True, keeps_zero=True, folds=True)
_moves("contiguous", views=True, free=True, keeps_zero=True, folds=True, computes_weights=True)
_moves("clone", keeps_zero=True, folds=True, computes_weights=True)
_moves("flip index_select repeat repeat_interleave roll stack tile")
register_op(OpSpec("cat", movers.concatenate))
register_op(OpSpec("getattr", movers.getattr_view, asks_shape=True))
register_op(OpSpec("setitem", movers.assignment))
register_op(OpSpec("pixel_shuffle", movers.pixel_shuffle, (nn.PixelShuffle,)))
register_op(
    OpSpec(
        "pad",
        movers.pad,
        (_PADS._ConstantPadNd, _PADS._ReflectionPadNd, _PADS._ReplicationPadNd, _PADS._CircularPadNd),
    )
)

# --- what is made, and what is asked -----------------------------------------------------------------

_enter("new_zeros new_ones new_full new_empty", pointwise.create, creates=True)
_enter("new_tensor", pointwise.create)
_enter("zeros ones full empty", None, creates=True)
_enter("rand randn", None, creates=True, random=True)
_enter("randint randperm multinomial exponential native_dropout gumbel_softmax", None, random=True)
_enter("nms batched_nms topk nonzero masked_select argmax sort argsort unique", None, selects=True)
_enter(
    """
    size dim ndimension numel nelement stride is_floating_point is_complex is_contiguous is_tensor element_size
    get_device storage_offset result_type is_same_size keys values items
    """,
    None,
    asks_shape=True,
)
_enter(
    "item", None, asks_shape=True, reads_content=True
)  # what a single number protects it has protected before
_enter("tolist numpy equal allclose is_nonzero", None, reads_content=True)


def has_rule(op: str) -> bool:
    """Return whether an operation of this name has a rule."""
    return op in OPS and OPS[op].rule is not None


def kept_whole(flow: Flow, call: Call) -> Any:
    """Follow an opaque part: protect what enters and leaves it, with all that it is added to."""
    flow.writing.append(call.node)  # it runs for what it may do besides
    if call.node.meta[FLOPS]:
        flow.cost(call.node, call.node.meta[FLOPS])
    label = flow.fresh(1)[0]
    flow.protect([call.args, label], call.node.meta[WHY], call.node)
    return tuple(
        label.expand(value.shape) if value.is_floating_point() else lb.constants_like(value)
        for value in call.value
    )


register_op(OpSpec(OPAQUE, kept_whole))


def apply_rule(flow: Flow, call: Call) -> Any:
    """Give the labels of one call's result; plain values (sizes, flags) come from the example."""
    call.op = op_name(call.node)
    if call.op == OPAQUE:
        return kept_whole(flow, call)
    if isinstance(call.node.target, type) and isinstance(call.value, tuple):  # a named tuple, a dataclass
        return (*call.args, *call.kwargs.values())
    spec = spec_of(call.node, call.module)
    if not tensors_in(call.value):
        if not spec.asks_shape and tensors_in([call.args, call.kwargs]):
            flow.protect([call.args, call.kwargs], f"{title(call.node)} reads the content", call.node)
        return call.value
    if isinstance(call.kwargs.get("out"), Tensor) and isinstance(call.value, Tensor):
        return _written_out(flow, call)
    if spec.creates and isinstance(call.value, Tensor):
        return flow.created_channels(call.value)
    if not tensors_in([call.args, call.kwargs]):
        return lb.constants_like(call.value)
    if call.op == "getitem" and not isinstance(call.x, Tensor):
        return call.x[call.args[1]]
    if spec.rule is None:
        return flow.stop(call, reason_unknown(call))
    try:
        return spec.rule(flow, call)
    except (RuntimeError, IndexError, ValueError) as error:  # a way to call it that its rule does not know
        reason = one_line(error)
        return flow.stop(call, f"the rule of {title(call.node)} does not fit this call ({reason[:80]})")


def _written_out(flow: Flow, call: Call) -> Any:
    """A call with out=: what it gives is tied to the tensor that it is written into, whose size must be right."""
    out = call.kwargs["out"]
    call.kwargs = {name: value for name, value in call.kwargs.items() if name != "out"}
    result = apply_rule(flow, call)
    if not isinstance(result, Tensor) or result.shape != out.shape:
        return flow.stop(call, f"{title(call.node)} writes into a tensor of another size")
    flow.tie(lb.core(result), lb.core(out))
    if bool(((lb.core(result) == 0) != (lb.core(out) == 0)).any()):
        flow.protect(
            [result, out], f"{title(call.node)} is written into a tensor of constant channels", call.node
        )
    return result
