"""Decoding images that come as bytes: their size is looked at first, and what a decoder says is not passed on."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from millpond.types.errors import InvalidInputError, MillpondError, MissingDependencyError
from millpond_io.images.heads import has_more_parts

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
BOMBS = ("DecompressionBombError", "DecompressionBombWarning")  # Pillow's own names for images of too many pixels
ORIENTATION = 0x0112  # the tag of EXIF that says how the camera was held
JPEG, SCAN = b"\xff\xd8", b"\xff\xda"
MOST_SCANS = 64  # of a JPEG: each is a pass over all pixels, and a small file may hold thousands
PARAMETER = "multi_modal_data"
DAMAGED = f"the image cannot be read: it is damaged, or none of {', '.join(FORMATS)}"


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """How large an image may be before it is decoded.

    Attributes:
        size: Of its file, in bytes.
        pixels: Of its width times its height.
        side: Of its width, and of its height: lines of a pixel each cost more than the pixels.
        parts: Of its file before the pixels, or of a PNG in all.
    """

    size: int = 8 * 2**20
    pixels: int = 2**24
    side: int = 2**16
    parts: int = 2**13


OF_OTHERS = ImageLimits()
OWN = ImageLimits(size=2**28, pixels=2**26, side=2**20, parts=2**20)  # of files that the program itself names


def no_pillow() -> MissingDependencyError:
    """The error for images in an environment without Pillow."""
    return MissingDependencyError("images need Pillow: pip install pillow", parameter=PARAMETER)


def decoded(content: bytes, limits: ImageLimits) -> "Image":
    """The image in a file, the first of several, turned as the camera was held.

    Raises:
        InvalidInputError: If it is too large, damaged, or of another format; never in the decoder's words.
    """
    with in_our_words(limits):
        return _decoded(content, limits)


def pixels_in(content: bytes, limits: ImageLimits) -> int:
    """The pixels of the image in a file, by its head: nothing is decoded.

    Raises:
        InvalidInputError: As ``decoded``, for what the head tells.
    """
    with in_our_words(limits), _opened(content, limits) as image:
        return image.width * image.height


@contextmanager
def in_our_words(limits: ImageLimits) -> Iterator[None]:
    """Whatever goes wrong with an image, told without a word of the library that found it; that is in the log.

    Raises:
        InvalidInputError: If anything does.
    """
    try:
        yield
    except MillpondError:
        raise
    except MemoryError as error:
        raise InvalidInputError("there is not enough memory to read the image", parameter=PARAMETER) from error
    except Exception as error:  # noqa: BLE001  decoders raise what comes
        logger.info("an image cannot be read: %r", error)
        if type(error).__name__ in BOMBS:
            raise _too_many_pixels(limits) from None
        raise InvalidInputError(DAMAGED, parameter=PARAMETER) from None


def _decoded(content: bytes, limits: ImageLimits) -> "Image":
    with _opened(content, limits) as image:
        image.load()
        return _in_eight_bits(_turned(image))


@contextmanager
def _opened(content: bytes, limits: ImageLimits) -> Iterator["Image"]:
    """The image in a file whose head was read."""
    if len(content) > limits.size:
        raise too_large(len(content), limits)
    try:
        from PIL import Image as images  # noqa: N813, PLC0415  only for who has images
    except ImportError as error:
        raise no_pillow() from error

    if content.startswith(JPEG) and content.count(SCAN) > MOST_SCANS:
        message = f"the image is a JPEG of more than {MOST_SCANS} scans: save it anew"
        raise InvalidInputError(message, parameter=PARAMETER)
    if has_more_parts(content, limits.parts):
        message = f"the image's file has more than {limits.parts} parts, such as comments: save it anew, without them"
        raise InvalidInputError(message, parameter=PARAMETER)
    with images.open(io.BytesIO(content), formats=FORMATS) as image:
        check_pixels(image, limits)
        yield image


def _in_eight_bits(image: "Image") -> "Image":
    """An image whose grey has 16 bits, in 8: Pillow takes its numbers for those of 8, and what is above for white."""
    from PIL import Image as images  # noqa: N813, PLC0415  as above

    if not image.mode.startswith("I;16"):
        return image
    grey = (np.asarray(image).astype(np.uint32) + 128) // 257
    return images.fromarray(grey.astype(np.uint8))


def _turned(image: "Image") -> "Image":
    """An image as its camera was held; what its EXIF data say besides is not looked at, and may be damaged."""
    from PIL.Image import Transpose  # noqa: PLC0415  as above

    turns: dict[object, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(ORIENTATION))
    except Exception as error:  # noqa: BLE001  whatever they hold, the pixels are there
        logger.info("the EXIF data of an image cannot be read: %r", error)
        turn = None
    return image.copy() if turn is None else image.transpose(turn)


def check_pixels(image: "Image", limits: ImageLimits) -> None:
    """Refuse an image of too many pixels, or of none, or that is too long."""
    if max(image.width, image.height) > limits.side:
        message = f"the image is {image.width} by {image.height} pixels, and a side may have {limits.side}: cut it"
        raise InvalidInputError(message, parameter=PARAMETER)
    if image.width * image.height > limits.pixels:
        raise _too_many_pixels(limits)
    if not image.width * image.height:
        raise InvalidInputError("the image has no pixels", parameter=PARAMETER)


def too_large(size: int, limits: ImageLimits) -> InvalidInputError:
    """The error of a file of too many bytes."""
    message = (
        f"the image is {size} bytes, and may be {limits.size}: make it smaller, the model reads a small one anyway"
    )
    return InvalidInputError(message, parameter=PARAMETER)


def _too_many_pixels(limits: ImageLimits) -> InvalidInputError:
    message = f"the image has more than {limits.pixels} pixels: make it smaller, the model reads a small one anyway"
    return InvalidInputError(message, parameter=PARAMETER)
