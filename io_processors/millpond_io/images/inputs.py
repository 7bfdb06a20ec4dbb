"""What a prompt says under ``multi_modal_data``: images, in any of their forms, decoded within limits."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from millpond.context import Context
from millpond.pipeline.cancellation import check_cancelled
from millpond.types.errors import InvalidInputError
from millpond_io.images.files import (
    OF_OTHERS,
    OWN,
    PARAMETER,
    ImageLimits,
    check_pixels,
    decoded,
    in_our_words,
    no_pillow,
    pixels_in,
    too_large,
)
from millpond_io.images.turns import TURNS
from millpond_io.media.urls import Media

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
EXPECTED = (
    "expected a PIL image, a numpy array of uint8, a pathlib.Path, the bytes of a file, or a URL: data:image/..., "
    "http(s)://... or file://..."
)


@dataclass(frozen=True)
class Source:
    """An image that is not decoded yet.

    Attributes:
        given: As the prompt has it.
        content: The bytes of its file; None if it is an image already.
        pixels: Of its width times its height.
    """

    given: object
    content: bytes | None
    pixels: int

    def decoded(self) -> "Image":
        """The image.

        Raises:
            InvalidInputError: If it is damaged.
            RequestCancelledError: If nobody waits for it any more.
        """
        check_cancelled()
        limits = _limits(self.given)
        with in_our_words(limits):
            return as_image(self.given if self.content is None else decoded(self.content, limits))


class Images:
    """Reads the images of prompts."""

    def __init__(self, ctx: Context, *, most: int) -> None:
        self.model = ctx.model.model
        self.most = most
        self.media = Media(ctx.inputs.allowed_media_domains, ctx.inputs.allowed_local_media_path)

    def each(self, data: Mapping[str, object]) -> list[object]:
        """The images of a prompt as they were given, at least one.

        Raises:
            InvalidInputError: If there are too many, or other media.
        """
        other = sorted(str(key) for key in data if key != "image" and data[key] is not None)
        if other:
            message = f"the model {self.model!r} reads images; 'multi_modal_data' has {other[0]!r}"
            raise InvalidInputError(message, parameter=PARAMETER)
        given = data.get("image")
        several = list(given) if isinstance(given, list | tuple) else [given]
        if not 0 < len(several) <= self.most:
            message = f"At most {self.most} image(s) may be provided in one prompt; got {len(several)}"
            raise InvalidInputError(message, parameter=PARAMETER)
        return several

    def read(self, given: object, use: Callable[["Image"], T]) -> T:
        """What is made of one image, which is decoded first; few are at a time.

        Raises:
            InvalidInputError: If it is none, or may not be read.
        """
        source = self.source(given)
        with TURNS.taken(source.pixels), in_our_words(_limits(given)):
            return use(source.decoded())

    def source(self, given: object) -> Source:
        """An image whose bytes are here, and whose head was read.

        Raises:
            InvalidInputError: If it is none, too large, or may not be read.
            RequestCancelledError: If nobody waits for it any more.
        """
        check_cancelled()
        content = self._content(given)
        if content is not None:
            return Source(given, content, pixels_in(content, _limits(given)))
        with in_our_words(_limits(given)):
            image = as_image(given)
        return Source(image, None, image.width * image.height)

    def _content(self, given: Any) -> bytes | None:
        """The bytes of an image's file; None if it is an image already."""
        if isinstance(given, str):
            return self.media.read(given)
        if isinstance(given, os.PathLike):
            return _own_file(Path(os.fsdecode(given)))
        return bytes(given) if isinstance(given, bytes | bytearray | memoryview) else None


def _limits(given: object) -> ImageLimits:
    """A path is the program's own; text and bytes may be anybody's."""
    return OWN if isinstance(given, os.PathLike) else OF_OTHERS


def _own_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(OWN.size + 1)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise InvalidInputError(message, parameter=PARAMETER) from error
    if len(content) > OWN.size:
        raise too_large(path.stat().st_size, OWN)
    return content


def as_image(given: Any) -> "Image":
    """An image of Pillow's, or of an array, [height, width], [height, width, channels] or [channels, height, width].

    Raises:
        InvalidInputError: If it is neither, or too large.
    """
    try:
        from PIL import Image as images  # noqa: N813, PLC0415  only for who has images
    except ImportError as error:
        raise no_pillow() from error
    if isinstance(given, np.ndarray):
        given = images.fromarray(_by_rows(given))
    if not isinstance(given, images.Image):
        raise InvalidInputError(f"{EXPECTED}; got {type(given).__name__}", parameter=PARAMETER)
    check_pixels(given, OWN)
    return given


def _by_rows(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The array as [height, width] or [height, width, channels]."""
    channels = (1, 3, 4)
    if array.ndim == 3 and array.shape[0] in channels and array.shape[2] not in channels:  # noqa: PLR2004
        array = np.moveaxis(array, 0, -1)
    plane = array.ndim == 2  # noqa: PLR2004
    if array.dtype != np.uint8 or not (plane or (array.ndim == 3 and array.shape[2] in channels)):  # noqa: PLR2004
        message = (
            f"an array must be of uint8, [height, width] or with 1, 3 or 4 channels before or behind; got "
            f"{list(array.shape)} of {array.dtype}. Of values from 0 to 1: (array * 255).round().astype('uint8')"
        )
        raise InvalidInputError(message, parameter=PARAMETER)
    return np.ascontiguousarray(array if plane or array.shape[2] > 1 else array[..., 0])
