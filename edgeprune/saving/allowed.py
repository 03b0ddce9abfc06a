"""The closed list of functions, methods, attributes and layers that a saved graph may name.

None of them reads or writes a file, starts a program, or calls a function that is passed to it. A file cannot
reach anything that is not listed here, whatever torch itself offers.
"""

import math
import operator
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


_ELEMENTWISE = """
abs absolute acos acosh add addcdiv addcmul angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin
asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor
ceil celu clamp clamp_max clamp_min clip complex conj copysign cos cosh deg2rad digamma div divide elu eq erf
erfc erfinv exp exp2 expm1 fill fix float_power floor floor_divide fmax fmin fmod frac gcd ge gelu glu greater
greater_equal hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 imag isclose isfinite isinf isnan
isneginf isposinf isreal ldexp le leaky_relu lerp less less_equal lgamma log log10 log1p log2 log_sigmoid
logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit logsigmoid lt gt masked_fill maximum
minimum mish mul multiply nan_to_num ne neg negative not_equal polar positive pow prelu rad2deg real
reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh
softplus softshrink softsign sqrt square sub subtract tan tanh tanhshrink threshold true_divide trunc where
xlogy
"""
_REDUCING = """
all amax amin aminmax any argmax argmin count_nonzero cummax cummin cumprod cumsum dist kthvalue logcumsumexp
log_softmax logsumexp max mean median min mode nanmean nanmedian nansum norm normalize prod quantile softmax
softmin std std_mean sum trace var var_mean cosine_similarity pairwise_distance
"""
_MOVING = """
adjoint argsort atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to bucketize cat
channel_shuffle chunk clone column_stack concat concatenate constant_pad_nd detach diag diag_embed diagonal
dsplit dstack expand_copy flatten flip fliplr flipud fold gather hsplit hstack index_add index_copy index_fill
index_select masked_select meshgrid moveaxis movedim msort narrow native_channel_shuffle nonzero one_hot pad
permute pixel_shuffle pixel_unshuffle ravel repeat_interleave reshape roll rot90 row_stack scatter scatter_add
searchsorted select slice_scatter sort split split_with_sizes squeeze stack swapaxes swapdims t take
take_along_dim tensor_split tile topk transpose tril triu unbind unflatten unfold unique unique_consecutive
unsqueeze view_as_complex view_as_real vsplit vstack
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d affine_grid alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear conv1d
conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d dropout dropout1d dropout2d dropout3d
embedding feature_alpha_dropout grid_sample group_norm instance_norm interpolate layer_norm linear
local_response_norm lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool2d max_pool3d max_unpool1d max_unpool2d
max_unpool3d multi_head_attention_forward rms_norm scaled_dot_product_attention upsample upsample_bilinear
upsample_nearest addbmm addmm addmv baddbmm bmm cdist corrcoef cov cross det diff dot einsum inner inverse
kron matmul matrix_exp matrix_power mm mv outer tensordot
"""
_CREATING = """
arange as_tensor bernoulli empty empty_like eye full full_like linspace logspace multinomial normal ones
ones_like rand rand_like randint randint_like randn randn_like randperm scalar_tensor tensor tril_indices
triu_indices zeros zeros_like broadcast_shapes can_cast is_complex is_floating_point is_nonzero is_same_size
is_tensor numel promote_types result_type allclose equal
"""
_TENSOR_FUNCTIONS = _words(_ELEMENTWISE, _REDUCING, _MOVING, _LAYERS, _CREATING)
_TENSOR_METHODS = _TENSOR_FUNCTIONS | _words(
    """
    T H mT mH as_strided bfloat16 bool byte char contiguous copy cpu cuda dense_dim dim double element_size
    expand expand_as fill_diagonal float get_device half int is_contiguous item items keys long ndimension
    nelement new_empty new_full new_ones new_tensor new_zeros repeat requires_grad reshape_as short size
    storage_offset stride sum_to_size to tolist type type_as uniform values view view_as zero
    """
)
ATTRIBUTES = _words(
    """
    shape dtype device ndim T H mT mH real imag layout is_cuda is_floating_point is_complex is_sparse
    requires_grad itemsize nbytes values indices type data
    """
)
_OPERATORS = _words(
    """
    abs add and_ eq floordiv ge getitem gt iadd iand ifloordiv imod imul index inv invert ior ipow isub
    itruediv ixor is_ is_not le lt matmul mod mul ne neg not_ or_ pos pow sub truediv truth xor
    """
)
_MATH = _words(
    """
    acos asin atan atan2 ceil copysign cos cosh degrees dist erf exp expm1 fabs floor fmod gcd hypot isclose
    isfinite isinf isnan isqrt log log10 log1p log2 pow prod radians sin sinh sqrt tan tanh trunc
    """
)
# Functions of torchvision that torch.fx does not trace into, because torchvision wraps them.
_TORCHVISION = {
    "torchvision.ops.stochastic_depth": "stochastic_depth",
    "torchvision.ops.drop_block": "drop_block2d drop_block3d",
    "torchvision.ops.deform_conv": "deform_conv2d",
    "torchvision.models.swin_transformer": (
        "_get_relative_position_bias shifted_window_attention _patch_merging_pad"
    ),
}
SPACES: dict[str, Any] = {
    "torch": torch,
    "F": F,
    "operator": operator,
    "math": math,
    "torch._C._nn": torch._C._nn,
    "torch.ops.torchvision": torch.ops.torchvision,
}
_LISTED = {
    "torch": _TENSOR_FUNCTIONS,
    "F": _TENSOR_FUNCTIONS,
    "torch._C._nn": _TENSOR_FUNCTIONS,
    "torch.ops.torchvision": _words("deform_conv2d"),
    "operator": _OPERATORS,
    "math": _MATH,
    **{module: _words(names) for module, names in _TORCHVISION.items()},
}
_NN = _words(
    """
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d
    Bilinear CELU ChannelShuffle CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d
    ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d CosineSimilarity
    Dropout Dropout1d Dropout2d Dropout3d ELU Embedding FeatureAlphaDropout Flatten Fold GELU GLU GRU
    GRUCell GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh Identity InstanceNorm1d InstanceNorm2d
    InstanceNorm3d LPPool1d LPPool2d LPPool3d LSTM LSTMCell LayerNorm LeakyReLU Linear LocalResponseNorm
    LogSigmoid LogSoftmax MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish Module
    MultiheadAttention PReLU PixelShuffle PixelUnshuffle RMSNorm RNN RNNCell RReLU ReLU ReLU6
    ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d
    SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign SyncBatchNorm Tanh Tanhshrink
    Threshold Unflatten Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ZeroPad2d
    ZeroPad3d
    """
)
_VISION_LAYERS = _words("DeformConv2d DropBlock2d DropBlock3d FrozenBatchNorm2d Permute StochasticDepth")
_OWN = ("torch", "torchvision", "operator", "_operator", "math", "builtins")


def is_own(module: str) -> bool:
    """Return whether a module belongs to a package for which only the closed list counts, whatever else is allowed."""
    return module in SPACES or module.split(".")[0] in _OWN


def pure_function(space: str, name: str) -> Callable[..., Any] | None:
    """Return the listed function of that name, in-place ones included; None for any other."""
    if (space, name) == ("builtins", "getattr"):
        return getattr
    if not _is_listed(name, _LISTED.get(space, frozenset())):
        return None
    if space == "torch.ops.torchvision":
        import_module("torchvision")  # registers its operators
    home = SPACES[space] if space in SPACES else import_module(space)
    function: Callable[..., Any] | None = getattr(home, name, None)
    return function


def is_pure_method(name: str) -> bool:
    """Return whether a graph may call a tensor's method of that name, in-place ones included."""
    return _is_listed(name, _TENSOR_METHODS)


def _is_listed(name: str, listed: frozenset[str]) -> bool:
    in_place = name.endswith("_") and not name.endswith("__") and name[:-1] in _TENSOR_METHODS & listed
    return name in listed or in_place


@cache
def pure_layers() -> dict[str, type[nn.Module]]:
    """Return every layer class that a saved graph may contain: 'module:Class' -> class."""
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear  # part of nn.MultiheadAttention

    try:
        from torchvision import ops
    except (ImportError, RuntimeError):  # of another build than torch: no network has layers of it
        ops = None

    kinds = [getattr(nn, name, None) for name in _NN] + [getattr(ops, name, None) for name in _VISION_LAYERS]
    listed = [kind for kind in (*kinds, NonDynamicallyQuantizableLinear) if kind is not None]
    return {f"{kind.__module__}:{kind.__qualname__}": kind for kind in listed}
