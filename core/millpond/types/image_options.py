"""Options of image sizes (``mm_processor_kwargs``) for a loaded model and for a prompt."""

from collections.abc import Mapping
from dataclasses import dataclass

PARAMETER = "mm_processor_kwargs"


@dataclass(frozen=True)
class ImageOption:
    """An option of the image size: a number, with larger images for larger numbers, or a flag.

    Attributes:
        value: The default value; a bool for a flag.
        most: The maximum value.
    """

    value: int
    most: int = 1


@dataclass(frozen=True)
class ImageOptions:
    """The options of the images of a prompt, not yet checked.

    Attributes:
        values: The values by name.
        may_grow: True if images may become larger than with the options of the loaded model; False for requests of
            clients.
    """

    values: Mapping[str, object]
    may_grow: bool = True
