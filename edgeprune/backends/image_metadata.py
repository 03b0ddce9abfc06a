"""Say in an ONNX file how its images are laid, so that whoever gets the file need not ask."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgeprune.data import DataBundle

KEY = "edgeprune.images"  # of the file's metadata_props
NAMES = ("scale", "mean", "std", "color")  # without which images cannot be laid
COLORS = {1: "gray", 3: "rgb"}


def image_metadata(data: "DataBundle") -> dict[str, str]:
    """Return what a file says of images of a data set: ``(pixel * scale - mean) / std``, in the order of ``color``.

    Args:
        data: its images have uint8 pixels; means and deviations are of those in [0, 1].
    """
    color = COLORS.get(data.shape[0])
    if color is None:
        return {}
    laid = {"scale": "1/255", "mean": _joined(data.mean), "std": _joined(data.std), "color": color}
    return {KEY: json.dumps(laid)}


def _joined(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:.7g}" for number in numbers)


def read_image_metadata(model: "ModelProto") -> dict[str, Any]:
    """Return what a file says of its images; {} where it says nothing that `image_metadata` writes."""
    text = next((item.value for item in model.metadata_props if item.key == KEY), "{}")
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: content[name] for name in NAMES if isinstance(content.get(name), str)}
