"""Reading of images from clients, and writing of masks."""

import base64
import binascii
import io
import logging

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from millpond.types.errors import InvalidInputError

logger = logging.getLogger(__name__)
FILE_FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 2**22  # the scores of all classes of all pixels are in memory at once
MAX_BYTES = 2**24  # of a file
NUM_CHANNELS = 3
IMAGE_NDIM = 3  # height, width, channels


def read_image(data: object) -> NDArray[np.uint8]:
    """Return the pixels of an image, [height, width, 3].

    The orientation in EXIF data is ignored: a mask has the rows and columns of the file.

    Args:
        data: An array of uint8, the content of a PNG or JPEG file, or its base64.

    Raises:
        InvalidInputError: If it has another type, or is too large or damaged.
    """
    if isinstance(data, np.ndarray):
        return _checked_array(data)
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _invalid(f"is not base64: {error}") from error
    if not isinstance(data, bytes):
        raise _invalid(f"must be base64, bytes, or an array [height, width, 3] of uint8; got {type(data).__name__}")
    if len(data) > MAX_BYTES:
        raise _invalid(f"has {len(data)} bytes; the maximum is {MAX_BYTES}")
    return _decoded(data)


def _checked_array(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != IMAGE_NDIM or array.shape[2] != NUM_CHANNELS:
        raise _invalid(f"must be an array [height, width, 3] of uint8; got {list(array.shape)} of {array.dtype}")
    _check_size(array.shape[0], array.shape[1])
    return array.astype(np.uint8, copy=False)


def _decoded(content: bytes) -> NDArray[np.uint8]:
    """Decode a file after checking the size in its header."""
    try:
        with Image.open(io.BytesIO(content), formats=FILE_FORMATS) as image:
            _check_size(image.height, image.width)
            return np.asarray(image.convert("RGB"))
    except InvalidInputError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise any exception
        logger.info("an image cannot be read: %r", error)
        message = f"cannot be read: it is damaged, or its format is not one of {', '.join(FILE_FORMATS)}"
        raise _invalid(message) from None


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        raise _invalid(f"is {height} by {width} pixels; it must have from 1 to {MAX_PIXELS} pixels")


def write_mask(mask: NDArray[np.uint8]) -> bytes:
    """Return a mask [height, width] as a PNG file with one channel."""
    content = io.BytesIO()
    Image.fromarray(mask).save(content, format="PNG")
    return content.getvalue()


def _invalid(problem: str) -> InvalidInputError:
    return InvalidInputError(f"the image {problem}", parameter="data")
