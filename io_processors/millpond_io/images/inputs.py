"""The images in ``multi_modal_data`` of a prompt: paths, bytes, URLs, arrays or Pillow images, read with limits."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from millpond.context import Context
from millpond.pipeline.cancellation import check_cancelled
from millpond.types.errors import InvalidInputError
from millpond_io.images.decode_slots import DECODE_SLOTS
from millpond_io.images.files import (
    LOCAL_LIMITS,
    PARAMETER,
    UNTRUSTED_LIMITS,
    ImageLimits,
    check_pixels,
    count_pixels,
    decode_image,
    file_too_large,
    hide_decoder_errors,
    missing_pillow,
)
from millpond_io.media.urls import Media

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
EXPECTED = (
    "expected a PIL image, an array of uint8, a pathlib.Path, the bytes of a file, or a URL: data:image/..., "
    "http(s)://... or file://..."
)


@dataclass(frozen=True)
class UndecodedImage:
    """An image whose size is known, but that is not decoded yet.

    Attributes:
        value: The image in the form that the prompt contains.
        content: The bytes of the file; None if the value is not a file.
        pixels: The number of pixels.
    """

    value: object
    content: bytes | None
    pixels: int

    def decode(self) -> "Image":
        """Decode the image.

        Raises:
            InvalidInputError: If it is damaged.
            RequestCancelledError: If the request was cancelled.
        """
        check_cancelled()
        limits = _limits(self.value)
        with hide_decoder_errors(limits):
            return as_image(self.value if self.content is None else decode_image(self.content, limits))


class ImageInputs:
    """Reads the images of prompts.

    Args:
        ctx: The context of the model.
        max_images: The maximum number of images per prompt.
    """

    def __init__(self, ctx: Context, *, max_images: int) -> None:
        self.model = ctx.model.model
        self.max_images = max_images
        self.media = Media(ctx.inputs.allowed_media_domains, ctx.inputs.allowed_local_media_path)

    def values_of(self, data: Mapping[str, object]) -> list[object]:
        """Return the images of ``multi_modal_data``, at least one, in the forms that it contains.

        Raises:
            InvalidInputError: If there are no images, too many, or other media.
        """
        other = sorted(str(key) for key in data if key != "image" and data[key] is not None)
        if other:
            message = f"the model {self.model!r} reads images; 'multi_modal_data' has {other[0]!r}"
            raise InvalidInputError(message, parameter=PARAMETER)
        value = data.get("image")
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not 0 < len(values) <= self.max_images:
            message = f"At most {self.max_images} image(s) may be provided in one prompt; got {len(values)}"
            raise InvalidInputError(message, parameter=PARAMETER)
        return values

    def read(self, value: object, convert: Callable[["Image"], T]) -> T:
        """Decode one image and return the result of ``convert`` for it. Few images are decoded at the same time.

        Raises:
            InvalidInputError: If the value is not an image, or must not be read.
        """
        image = self.open(value)
        with DECODE_SLOTS.acquire(image.pixels), hide_decoder_errors(_limits(value)):
            return convert(image.decode())

    def open(self, value: object) -> UndecodedImage:
        """Fetch the bytes of an image and read its header.

        Raises:
            InvalidInputError: If the value is not an image, is too large, or must not be read.
            RequestCancelledError: If the request was cancelled.
        """
        check_cancelled()
        content = self._content(value)
        if content is not None:
            return UndecodedImage(value, content, count_pixels(content, _limits(value)))
        with hide_decoder_errors(_limits(value)):
            image = as_image(value)
        return UndecodedImage(image, None, image.width * image.height)

    def _content(self, value: Any) -> bytes | None:
        """Return the bytes of an image file; None if the value is not a file."""
        if isinstance(value, str):
            return self.media.read(value)
        if isinstance(value, os.PathLike):
            return _read_local_file(Path(os.fsdecode(value)))
        return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


def _limits(value: object) -> ImageLimits:
    """Return the limits for an image: a path comes from the program, a text or bytes may come from a request."""
    return LOCAL_LIMITS if isinstance(value, os.PathLike) else UNTRUSTED_LIMITS


def _read_local_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LOCAL_LIMITS.max_bytes + 1)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise InvalidInputError(message, parameter=PARAMETER) from error
    if len(content) > LOCAL_LIMITS.max_bytes:
        raise file_too_large(path.stat().st_size, LOCAL_LIMITS)
    return content


def as_image(value: Any) -> "Image":
    """Return a Pillow image for a Pillow image or an array.

    Args:
        value: The image; an array is [height, width], [height, width, channels] or [channels, height, width].

    Raises:
        InvalidInputError: If the value is not an image, or is too large.
    """
    try:
        from PIL import Image as images  # noqa: N813, PLC0415  an optional dependency
    except ImportError as error:
        raise missing_pillow() from error
    if isinstance(value, np.ndarray):
        value = images.fromarray(_channels_last(value))
    if not isinstance(value, images.Image):
        raise InvalidInputError(f"{EXPECTED}; got {type(value).__name__}", parameter=PARAMETER)
    check_pixels(value, LOCAL_LIMITS)
    return value


def _channels_last(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return the array as [height, width] or [height, width, channels]."""
    channels = (1, 3, 4)
    if array.ndim == 3 and array.shape[0] in channels and array.shape[2] not in channels:  # noqa: PLR2004
        array = np.moveaxis(array, 0, -1)
    is_grey = array.ndim == 2  # noqa: PLR2004
    if array.dtype != np.uint8 or not (is_grey or (array.ndim == 3 and array.shape[2] in channels)):  # noqa: PLR2004
        message = (
            "an array must have the dtype uint8 and the shape [height, width], [height, width, channels] or [channels, "
            f"height, width] with 1, 3 or 4 channels; got {list(array.shape)} of {array.dtype}. Convert values from 0 "
            "to 1 with (array * 255).round().astype('uint8')"
        )
        raise InvalidInputError(message, parameter=PARAMETER)
    return np.ascontiguousarray(array if is_grey or array.shape[2] > 1 else array[..., 0])
