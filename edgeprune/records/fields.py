"""Kinds of fields that several schemas share, with their ranges.

Upper limits are far beyond any network or measurement: they keep a damaged number from causing an allocation of
terabytes or a loop of years.
"""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=10**15)]  # FLOPs, parameters, bytes
Positive = Annotated[int, Meta(ge=1, le=10**15)]
Steps = Annotated[int, Meta(ge=0, le=10**10)]  # of training
Side = Annotated[int, Meta(ge=1, le=10**5)]  # pixels, channels of an image
Width = Annotated[int, Meta(ge=1, le=10**7)]  # channels of a layer
Index = Annotated[int, Meta(ge=0, le=10**7)]
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Above0 = Annotated[float, Meta(gt=0)]
Name = Annotated[str, Meta(min_length=1, max_length=4096)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
