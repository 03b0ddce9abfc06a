"""What the command line may be told of models that no run folder describes. Nothing heavy is imported."""

from dataclasses import dataclass, fields

from edgeprune.errors import ModelError
from edgeprune.options.bounds import CLASSES, PIXELS
from edgeprune.options.fields import check_fields, option

FLAGS = {"inputs": "--input"}  # a field as it is typed, where that differs
OF_MODELS = ("inputs", "example", "weights", "into", "classes")


@dataclass(frozen=True)
class SubjectOptions:
    """Inputs and data of models that are named, or given as files.

    Raises:
        ModelError: a value that makes no sense; names the field.
    """

    inputs: list[str] | None = option(
        None,
        "Feed images of this size, as 3x224x224; or an input by its name, batch included, as x=1x3x224x224 or "
        "mask=1x16:int64. May be repeated.",
        "model",
        main=True,
        metavar="NAME=SHAPE",
    )
    example: str | None = option(
        None,
        "Feed what this function returns, package.module:function: a tensor, or a tuple of forward's arguments.",
        "model",
        metavar="FUNCTION",
    )
    weights: list[str] | None = option(
        None,
        "Load these weights into a model that is named. Once for each model, in their order.",
        "model",
        metavar="FILE",
    )
    into: str | None = option(
        None,
        "Load a saved network into what this makes, package.module:factory, where its file needs its class.",
        "model",
        metavar="FACTORY",
    )
    classes: int | None = option(
        None, "Build a model that is named with this many classes.", "model", CLASSES, unset="10 or 1000"
    )
    data: str | None = option(
        None,
        "Use the images of this data set: a name, or a folder of images.",
        "data",
        main=True,
        metavar="NAME_OR_DIR",
    )
    data_root: str | None = option(
        None,
        "Keep torchvision's data sets in this folder.",
        "data",
        metavar="DIR",
        unset="~/.cache/edgeprune",
    )
    image_size: int | None = option(
        None, "Resize the images to this many pixels a side.", "data", PIXELS, unset="the model's input"
    )
    out: str | None = option(
        None,
        "Write exported files and results to this folder.",
        "run",
        main=True,
        metavar="DIR",
    )

    def __post_init__(self) -> None:
        check_fields(self, ModelError)

    @property
    def typed(self) -> list[str]:
        """The names of the fields that were typed."""
        return [name for name, value in vars(self).items() if value is not None]


SUBJECT_FIELDS = tuple(item.name for item in fields(SubjectOptions))
