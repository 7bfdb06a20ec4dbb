"""Decoding of image files: limits are checked first, and errors of the decoder are logged, not returned."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from millpond.types.errors import InvalidInputError, MillpondError, MissingDependencyError
from millpond_io.images.headers import has_more_parts

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
DECOMPRESSION_BOMB_ERRORS = ("DecompressionBombError", "DecompressionBombWarning")  # of Pillow, for too many pixels
ORIENTATION = 0x0112  # the EXIF tag for the orientation of the camera
JPEG_SIGNATURE, JPEG_SCAN_MARKER = b"\xff\xd8", b"\xff\xda"
MAX_JPEG_SCANS = 64  # each scan is a pass over all pixels, and a small file can contain thousands
PARAMETER = "multi_modal_data"
RESIZE_HINT = "Resize it: the model reads small images"
DAMAGED = f"the image cannot be read: it is damaged, or its format is not one of {', '.join(FORMATS)}"


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Limits that are checked before an image is decoded.

    Attributes:
        max_bytes: The maximum size of the file, in bytes.
        max_pixels: The maximum number of pixels.
        max_side: The maximum width and height; many lines of one pixel cost more than their pixels.
        max_parts: The maximum number of parts of the file before the pixels; for PNG, of all parts.
    """

    max_bytes: int = 8 * 2**20
    max_pixels: int = 2**24
    max_side: int = 2**16
    max_parts: int = 2**13


UNTRUSTED_LIMITS = ImageLimits()
LOCAL_LIMITS = ImageLimits(max_bytes=2**28, max_pixels=2**26, max_side=2**20, max_parts=2**20)  # for pathlib.Path


def missing_pillow() -> MissingDependencyError:
    """Return the error for an environment without Pillow."""
    return MissingDependencyError("images need Pillow: pip install pillow", parameter=PARAMETER)


def decode_image(content: bytes, limits: ImageLimits) -> "Image":
    """Decode a file: only its first frame, rotated according to its EXIF data.

    Raises:
        InvalidInputError: If it is too large, damaged, or has another format.
    """
    with hide_decoder_errors(limits):
        return _decode(content, limits)


def count_pixels(content: bytes, limits: ImageLimits) -> int:
    """Return the number of pixels in a file, from its header, without decoding it.

    Raises:
        InvalidInputError: If it is too large, has another format, or its header is damaged.
    """
    with hide_decoder_errors(limits), _open(content, limits) as image:
        return image.width * image.height


@contextmanager
def hide_decoder_errors(limits: ImageLimits) -> Iterator[None]:
    """Convert exceptions of libraries to errors without their texts, which are logged.

    Raises:
        InvalidInputError: If a library raises an exception.
    """
    try:
        yield
    except MillpondError:
        raise
    except MemoryError as error:
        raise InvalidInputError("there is not enough memory to read the image", parameter=PARAMETER) from error
    except Exception as error:  # noqa: BLE001  decoders raise any exception
        logger.info("an image cannot be read: %r", error)
        if type(error).__name__ in DECOMPRESSION_BOMB_ERRORS:
            raise _too_many_pixels(limits) from None
        raise InvalidInputError(DAMAGED, parameter=PARAMETER) from None


def _decode(content: bytes, limits: ImageLimits) -> "Image":
    with _open(content, limits) as image:
        image.load()
        return _as_8_bit(_apply_orientation(image))


@contextmanager
def _open(content: bytes, limits: ImageLimits) -> Iterator["Image"]:
    """Open a file and read its header."""
    if len(content) > limits.max_bytes:
        raise file_too_large(len(content), limits)
    try:
        from PIL import Image as images  # noqa: N813, PLC0415  an optional dependency
    except ImportError as error:
        raise missing_pillow() from error

    if content.startswith(JPEG_SIGNATURE) and content.count(JPEG_SCAN_MARKER) > MAX_JPEG_SCANS:
        message = f"the image is a JPEG with more than {MAX_JPEG_SCANS} scans; save it again"
        raise InvalidInputError(message, parameter=PARAMETER)
    if has_more_parts(content, limits.max_parts):
        message = f"the image file has more than {limits.max_parts} parts, such as comments; save it without them"
        raise InvalidInputError(message, parameter=PARAMETER)
    with images.open(io.BytesIO(content), formats=FORMATS) as image:
        check_pixels(image, limits)
        yield image


def _as_8_bit(image: "Image") -> "Image":
    """Convert 16-bit grey to 8 bits. Pillow would treat the values as 8 bits, and larger ones as white."""
    from PIL import Image as images  # noqa: N813, PLC0415  as above

    if not image.mode.startswith("I;16"):
        return image
    grey = (np.asarray(image).astype(np.uint32) + 128) // 257
    return images.fromarray(grey.astype(np.uint8))


def _apply_orientation(image: "Image") -> "Image":
    """Rotate an image according to its EXIF data; damaged EXIF data is ignored."""
    from PIL.Image import Transpose  # noqa: PLC0415  as above

    transposes: dict[object, Transpose] = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        transpose = transposes.get(image.getexif().get(ORIENTATION))
    except Exception as error:  # noqa: BLE001  damaged EXIF data raises any exception; the pixels are valid
        logger.info("the EXIF data of an image cannot be read: %r", error)
        transpose = None
    return image.copy() if transpose is None else image.transpose(transpose)


def check_pixels(image: "Image", limits: ImageLimits) -> None:
    """Check that an image has pixels, and neither too many of them nor a side that is too long."""
    if max(image.width, image.height) > limits.max_side:
        message = f"the image is {image.width} by {image.height} pixels; the maximum for a side is {limits.max_side}"
        raise InvalidInputError(message, parameter=PARAMETER)
    if image.width * image.height > limits.max_pixels:
        raise _too_many_pixels(limits)
    if not image.width * image.height:
        raise InvalidInputError("the image has no pixels", parameter=PARAMETER)


def file_too_large(size: int, limits: ImageLimits) -> InvalidInputError:
    """Return the error for a file with too many bytes."""
    message = f"the image has {size} bytes; the maximum is {limits.max_bytes}. {RESIZE_HINT}"
    return InvalidInputError(message, parameter=PARAMETER)


def _too_many_pixels(limits: ImageLimits) -> InvalidInputError:
    message = f"the image has more than {limits.max_pixels} pixels. {RESIZE_HINT}"
    return InvalidInputError(message, parameter=PARAMETER)
