"""Write and read tensors as safetensors files, with a digest of the content that reveals damage."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeprune.errors import ModelError, WeightsError
from edgeprune.files.writing import write_bytes

if TYPE_CHECKING:
    from torch import Tensor, nn

DIGEST = "sha256"  # its key in a file's metadata
CHANNELS_LAST = "channels-last"  # names of the tensors of that layout, which the file's bytes do not preserve


def save_tensors(
    path: Path,
    tensors: "Mapping[str, Tensor]",
    metadata: Mapping[str, str] | None = None,
    *,
    layouts: bool = False,
) -> None:
    """Write a safetensors file with its digest under a temporary name and rename it into place.

    Args:
        path: of the file.
        tensors: by name; of any layout and on any device.
        metadata: texts to store beside them.
        layouts: record which tensors are channels_last. Not in a run's files: training chooses the layout, and equal
            weights give equal files.

    Raises:
        WeightsError: a tensor is of a type that such a file cannot hold.
        StorageError: the file cannot be written.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    texts = dict(metadata or {})
    channels_last = [name for name, tensor in tensors.items() if _is_channels_last(tensor)]
    if channels_last and layouts:
        texts[CHANNELS_LAST] = json.dumps(channels_last)
    # Written by Python instead of safetensors, whose errors do not say that the disk is full.
    try:
        content = save(plain, {**texts, DIGEST: digest_of(plain, texts)})
    except KeyError as error:  # safetensors' error for an unsupported type: complex128
        name = next((name for name, tensor in plain.items() if tensor.dtype in error.args), "a tensor")
        raise WeightsError(
            f"{path}: {name} is of type {error}, which a safetensors file cannot hold: convert the network first"
        ) from error
    write_bytes(path, content)


def check_savable(name: str, tensor: "Tensor") -> None:
    """Raise ModelError if a tensor of a model cannot be stored in a file."""
    import torch

    if tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        raise ModelError(f"cannot save this model: {name} is not a plain tensor with values")


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file; see `read_tensor_file`."""
    return read_tensor_file(path)[0]


def read_tensor_file(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read a safetensors file: its tensors, and its texts without the digest.

    Raises:
        WeightsError: the file is missing, truncated, of another format, or does not match its digest.
    """
    from safetensors import SafetensorError
    from safetensors.torch import safe_open

    if path.exists() and not path.is_file() and not path.is_dir():  # opening a fifo may never return
        raise WeightsError(f"{path} is no regular file: give the file itself")
    try:
        with safe_open(str(path), "pt") as handle:
            metadata = dict(handle.metadata() or {})
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise WeightsError(f"no such file: {path}") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is not a whole safetensors file ({reason})") from error
    digest = metadata.pop(DIGEST, None)  # files of earlier versions have none
    if digest is not None and digest != digest_of(tensors, metadata):
        raise WeightsError(f"{path} is damaged (its content is not what was written): restore it from a copy")
    _restore_layout(tensors, metadata.pop(CHANNELS_LAST, "[]"), path)
    return tensors, metadata


def _is_channels_last(tensor: "Tensor") -> bool:
    layout = _channels_last(tensor.dim())
    if layout is None or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=layout)


def _channels_last(dimensions: int) -> Any:
    import torch

    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(dimensions)


def _restore_layout(tensors: "dict[str, Tensor]", text: str, path: Path) -> None:
    """Restore the layout that the file's bytes do not preserve."""
    try:
        names = msgspec.json.decode(text, type=list[str])
        for name in names:
            tensors[name] = tensors[name].contiguous(memory_format=_channels_last(tensors[name].dim()))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} names tensors of a layout that they cannot have: was it edited?"
        ) from error


def digest_of(tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of all tensors, and of the texts."""
    import torch

    digest = hashlib.sha256()
    for key, text in sorted(metadata.items()):
        digest.update(f"{key}\0{text}\0".encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        if tensor.numel():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_exactly(model: "nn.Module", tensors: "Mapping[str, Tensor]", path: Path, what: str) -> None:
    """Load tensors into a model that match its own in name, shape and type, and are finite where its own are.

    Args:
        model: changed in place.
        tensors: by the names of its state.
        path: their file, for the message.
        what: the file that describes the model, such as "model.json", for the message.

    Raises:
        WeightsError: they do not match; the first difference is named.
    """
    own = model.state_dict()
    fault = next(_differences(own, tensors), None)
    if fault is not None:
        raise WeightsError(f"{path} does not fit {what}: {fault}")
    model.load_state_dict(dict(tensors), strict=True)


def _differences(own: "Mapping[str, Tensor]", tensors: "Mapping[str, Tensor]") -> Iterator[str]:
    for name in sorted(own.keys() - tensors.keys()):
        yield f"it lacks {name}"
    for name in sorted(tensors.keys() - own.keys()):
        yield f"it has {name[:80]!r}, which the model does not"
    for name, value in own.items():
        other = tensors[name]
        if other.shape != value.shape:
            yield f"{name} has shape {tuple(other.shape)}, the model's has {tuple(value.shape)}"
        elif other.dtype != value.dtype:
            yield f"{name} is of type {other.dtype}, the model's of {value.dtype}"
        elif other.is_floating_point() and not bool(other.isfinite().all()) and bool(value.isfinite().all()):
            yield f"{name} has values that are not finite"


def check_momentum(model: "nn.Module", momentum: "Mapping[str, Tensor]", path: Path) -> None:
    """Check that an optimizer's momentum fits the model.

    Args:
        model: the model of the optimizer.
        momentum: by parameter name; some parameters may have none.
        path: its file, for the message.

    Raises:
        WeightsError: it belongs to another model, or is not finite.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name, value in momentum.items():
        if shapes.get(name) != value.shape or not value.is_floating_point() or not value.isfinite().all():
            raise WeightsError(
                f"{path} does not fit model.json: the momentum of {name[:80]!r} is another model's"
            )
