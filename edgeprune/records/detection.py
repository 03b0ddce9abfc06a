"""Schemas of annotation files of detection: COCO's JSON, and the data.yaml of YOLO's layout."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from edgeprune.records.fields import Name, Side

Number = Annotated[float, Meta(ge=-1e7, le=1e7)]  # pixels
Identity = Annotated[int, Meta(ge=-(2**53), le=2**53)]


class CocoImage(Struct):
    """An image of a COCO file."""

    id: Identity
    file_name: Name
    width: Side | None = None
    height: Side | None = None


class CocoAnnotation(Struct):
    """An object of a COCO file: ``bbox`` is [x, y, width, height] in pixels from the top left."""

    image_id: Identity
    category_id: Identity
    bbox: Annotated[list[Number], Meta(min_length=4, max_length=4)]
    id: Identity | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] = 0


class CocoCategory(Struct):
    """A class of a COCO file."""

    id: Identity
    name: Name


class CocoFile(Struct):
    """COCO's instances_*.json."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: Annotated[list[CocoCategory], Meta(min_length=1)]


class YoloFile(Struct):
    """The data.yaml of YOLO's layout; ``names`` is a list, or a table from number to name."""

    names: (
        Annotated[list[Name], Meta(min_length=1, max_length=10_000)]
        | Annotated[dict[Annotated[int, Meta(ge=0, le=10_000)], Name], Meta(min_length=1, max_length=10_000)]
    )
    path: Name | None = None
    train: Name | UnsetType = UNSET
    val: Name | None = None
    test: Name | None = None
    nc: Annotated[int, Meta(ge=1, le=10_000)] | None = None
